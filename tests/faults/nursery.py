"""A process that has imported everything, and forks a child for each order: a kill costs what it kills, no imports.

``python -m tests.faults.nursery`` reads orders as lines of JSON and answers each with one: how the child ended, which
failpoints it passed, and the error that it ended with.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

NEEDED = (
    "flows.retrain flows.monitor flows.maintain flows.package flows.promote flows.publish flows.rollback "
    "flows.deploy mlcore.quality._gx mlcore.training.run mlcore.training.fitting mlcore.drift mlcore.validation "
    "mlcore.diagnosis mlcore.capture.store mlcore.modelstore mlcore.report.window mlcore.report.evaluation "
    "mlcore.report.card mlcore.data.ingest mlcore.data.assemble mlcore.data.datasets mlcore.capture.collect "
    "mlcore.ledger.migrate rfc8785 mlcore.performance mlcore.training.preparation mlcore.training.own "
    "mlcore.training.provenance vl_convert mlcore.quality.docs mlcore.report.distributions mlcore.report.markdown "
    "deltalake pyarrow.csv pyarrow.dataset pandas skops.io scipy.stats sklearn.linear_model sklearn.ensemble "
    "alembic.command sqlalchemy.dialects.sqlite yaml jinja2 tests.faults.world"
)


def main() -> None:
    """Answer orders until the input ends."""
    for name in NEEDED.split():
        importlib.import_module(name)
    sys.modules["tests.faults.world"].triggers()
    for line in sys.stdin:
        print(json.dumps(_obey(json.loads(line))), flush=True)  # noqa: T201


def _obey(order: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _live(order, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    return {"code": os.waitstatus_to_exitcode(status), **(json.loads(told) if told else {})}


def _live(order: dict[str, Any], writing: int) -> None:
    from prefect.utilities.engine import capture_sigterm

    from mlcore import failpoints
    from tests.faults import disk, world

    told: dict[str, Any] = {}
    code = 1
    with Path(order["log"]).open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        here = world.World(Path(order["home"]), order["server"], order.get("ahead", 0), order.get("host", ""))
        passed: list[str] = []
        if order.get("trace"):
            failpoints.watch(passed.append)
        failpoints.arm(order["arm"]) if order.get("arm") else None
        with disk.breaking(order.get("write", 0), order.get("errno", 0), Path(order["home"])) as broke:
            try:
                with capture_sigterm():  # as around every flow run
                    told["value"] = getattr(here, order["step"])(**order.get("arguments", {}))
            except Exception as error:  # noqa: BLE001 (whatever it is, the test judges it)
                import traceback

                traceback.print_exc()
                told["error"] = [type(error).__module__, type(error).__name__, str(error)]
        told |= {"passed": passed, "broke": broke()}
        code = 0
    finally:
        sys.stdout.flush()
        os.write(writing, json.dumps(told).encode())
        os._exit(code)


if __name__ == "__main__":
    main()
