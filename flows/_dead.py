"""Runs that died together with the worker that would have said so: the worker that follows it tells their ends."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from flows._server import Server

_UNENDED: Final = ("PENDING", "RUNNING", "CANCELLING")
#: Variable of the process that a run has, and of no other.
RUN: Final = "PREFECT__FLOW_RUN_ID"


def worker_name(home: Path) -> str:
    """Return the name of the worker of an installation on this machine; the one before it had the same."""
    return f"mlops {socket.gethostname()} {hashlib.sha256(str(home).encode()).hexdigest()[:8]}"


def tell_ends(server: Server, worker: str, among: Collection[str] | None = None) -> set[str]:
    """Tell the server which runs of `worker` have no process any more; it wakes what carries them on.

    Parameters
    ----------
    server : Server
    worker : str
        To be called before a worker of this name starts a run, or with `among`: a run has no process at first.
    among : collection of str, default=None
        The ids of the runs that matter; all of them if left out.

    Returns
    -------
    set of str
        The ids of those that are alive.

    Raises
    ------
    ServerError
        If the server does not answer.
    """
    runs = [
        run
        for run in server.find_flow_runs(flow_runs={"state": {"type": {"any_": list(_UNENDED)}}})
        if (run.get("labels") or {}).get("prefect.worker.name") == worker and (among is None or run["id"] in among)
    ]
    alive = set(_alive()) if runs else set()
    for run in runs:
        if run["id"] not in alive:
            kind = "CANCELLED" if run["state"]["type"] == "CANCELLING" else "CRASHED"
            server.end_run(run["id"], kind, "Its process ended after the worker that had started it.")
    return alive & {run["id"] for run in runs}


def _alive() -> Iterator[str]:
    """Yield the runs that have a process on this machine."""
    import psutil

    for process in psutil.process_iter():
        try:
            yield process.environ().get(RUN, "")
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
