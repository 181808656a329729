"""Apply prefect.yaml and the alerts to a server: ``python -m flows._cli.apply``; the same however often.

With ``changed`` nothing is done where the server has all of it already: an installation that is started again after a
kill goes on some ten seconds earlier, and no automation is made anew while crashed runs are told.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Final

from flows._cli.alerts import apply_alerts, blocks_of
from flows._server import Server
from flows.settings import Settings, settings
from mlcore.errors import MLOpsError, ServerError
from mlcore.usecase import list_usecases, load_usecase

PROJECT = Path(__file__).parent.parent.parent
POOL = "mlops"
#: Variable of the server that says what was applied to it.
_APPLIED: Final = "mlops_applied"


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


def apply_changed() -> list[str]:
    """Apply, unless the server has what this code, these use cases and settings ask for; return what is missing."""
    here = settings()
    server, wanted = Server.of(here), _digest(here)
    if server.variable(_APPLIED) == wanted and _is_whole(server):
        return []
    missing = apply()
    if not missing:  # a block that is made later is looked for again
        server.put_variable(_APPLIED, wanted)
    return missing


def _digest(here: Settings) -> str:
    """Return what changes with anything that deployments, triggers and alerts are made of."""
    code = [PROJECT / "prefect.yaml", *sorted((PROJECT / "flows").rglob("*.py"))]
    rules = [here.usecases / name / "usecase.yaml" for name in list_usecases(here.usecases)]
    found = [version("prefect"), here.notify, str(here.usecases), str(PROJECT)]
    found += [path.read_text(encoding="utf-8") for path in (*code, *rules)]
    return hashlib.sha256("\0".join(found).encode()).hexdigest()


def _is_whole(server: Server) -> bool:
    """Whether nobody has removed a deployment or a trigger since it was applied."""
    import yaml

    declared = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    entrypoints = {item["entrypoint"] for item in server.deployments()}
    names = {item["name"] for item in server.automations()}
    triggers = {trigger["name"] for item in declared for trigger in item.get("triggers", ())}
    return entrypoints >= {item["entrypoint"] for item in declared} and names >= triggers


if __name__ == "__main__":
    try:
        for sentence in apply_changed() if sys.argv[1:] == ["changed"] else apply():
            print(sentence)  # noqa: T201
    except MLOpsError as problem:
        sys.exit(str(problem))
