"""Apply prefect.yaml and the alerts to a server: ``python -m flows._cli.apply``; the same however often.

With ``changed`` nothing is done where the server has all of it already: an installation that is started again after a
kill goes on some ten seconds earlier, and no automation is made anew while crashed runs are told.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from flows._cli.alerts import apply_alerts, blocks_of
from flows._server import Server
from flows.settings import settings
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


@dataclass(frozen=True, slots=True)
class Asked:
    """What a server shall have.

    Parameters
    ----------
    digest : str
        Changes with anything that deployments, triggers and alerts are made of.
    entrypoints, triggers : frozenset of str
        The deployments of prefect.yaml by their code, and the names of their triggers.
    """

    digest: str
    entrypoints: frozenset[str]
    triggers: frozenset[str]

    @classmethod
    def of(cls, usecases: Path, notify: str) -> Asked:
        """Return what this code asks for with these use cases, and these notification blocks."""
        import yaml

        code = [PROJECT / "prefect.yaml", *sorted((PROJECT / "flows").rglob("*.py"))]
        rules = [usecases / name / "usecase.yaml" for name in list_usecases(usecases)]
        found = [text.encode() for text in (version("prefect"), notify, str(usecases), str(PROJECT))]
        found += [path.read_bytes() for path in (*code, *rules)]
        declared = yaml.safe_load(code[0].read_text(encoding="utf-8"))["deployments"]
        return cls(
            hashlib.sha256(b"\0".join(found)).hexdigest(),
            frozenset(item["entrypoint"] for item in declared),
            frozenset(trigger["name"] for item in declared for trigger in item.get("triggers", ())),
        )

    def is_on(self, server: Server) -> bool:
        """Whether the server has it: it was applied, and nobody has removed a deployment or a trigger since."""
        return (
            server.variable(_APPLIED) == self.digest
            and self.entrypoints <= {item["entrypoint"] for item in server.deployments()}
            and self.triggers <= {item["name"] for item in server.automations()}
        )


def apply_changed() -> list[str]:
    """Apply, unless the server has what this code, these use cases and settings ask for; return what is missing."""
    here = settings()
    server, asked = Server.of(here), Asked.of(here.usecases, here.notify)
    if asked.is_on(server):
        return []
    missing = apply()
    if not missing:  # a block that is made later is looked for again
        server.put_variable(_APPLIED, asked.digest)
    return missing


if __name__ == "__main__":
    try:
        for sentence in apply_changed() if sys.argv[1:] == ["changed"] else apply():
            print(sentence)  # noqa: T201
    except MLOpsError as problem:
        sys.exit(str(problem))
