"""Apply prefect.yaml and the alerts to a server: ``python -m flows._cli.apply``; the same however often."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from flows._cli.alerts import apply_alerts, blocks_of
from flows._server import Server
from flows.settings import settings
from mlcore.errors import MLOpsError, ServerError
from mlcore.usecase import list_usecases, load_usecase

PROJECT = Path(__file__).parent.parent.parent
POOL = "mlops"


def apply() -> list[str]:
    """Create the work pool, the deployments with their triggers, and the alerts; return which blocks are missing.

    Raises
    ------
    ServerError
        If the server refuses one of them.
    """
    here = settings()
    server = Server.of(here)
    server.ensure_work_pool(POOL, "process")
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServerError("prefect.yaml was refused", subject="prefect deploy --all", got=done.stdout[-1500:].strip())
    usecases = [load_usecase(here.usecases / name) for name in list_usecases(here.usecases)]
    return apply_alerts(server, usecases, blocks_of(here.notify))[1]


if __name__ == "__main__":
    try:
        for sentence in apply():
            print(sentence)  # noqa: T201
    except MLOpsError as problem:
        sys.exit(str(problem))
