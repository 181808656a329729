"""The worker of an installation: Prefect's own for processes, except that each run is started by `flows/_launch.py`.

Before it works it looks back: which runs of its forerunner have died, with it or since, and nobody has told. A run that
an event woke for a use case that is not there gets no process: who makes up a thousand names does not fill the memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
from typing import Any, Final

import anyio.abc
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed
from prefect.utilities.processutils import command_to_string
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from flows._cli.apply import POOL
from flows._dead import tell_ends, worker_name
from flows._server import Server
from flows._strays import unknown_to
from flows.settings import settings
from mlcore.errors import ServerError

_AGAIN_SECONDS: Final = 0.5


class Configuration(ProcessJobConfiguration):
    """How a run is started: as the work pool or the deployment says, by the launcher where neither does."""

    def prepare_for_flow_run(self, flow_run: FlowRun, *args: Any, **kwargs: Any) -> None:
        """Fill in the command."""
        if self.command is None:
            self.command = command_to_string([sys.executable, "-m", "flows._launch", "prefect.engine"])
        super().prepare_for_flow_run(flow_run, *args, **kwargs)


class Worker(ProcessWorker):
    """Starts every run but those that have nothing to do."""

    job_configuration = Configuration

    @classmethod
    def __dispatch_key__(cls) -> str:
        """Return a name of its own among Prefect's workers: `process` stays theirs."""
        return "mlops"

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Run `flow_run` in a process, or say that there is no need; `maintain` gives its event a row."""
        given = flow_run.parameters
        unknown = given.get("event_id") and given.get("usecase") and unknown_to(settings(), str(given["usecase"]))
        if not unknown:
            return await super().run(flow_run, configuration, task_status)
        await self.client.set_flow_run_state(flow_run.id, Completed(message=unknown))
        if task_status is not None:
            task_status.started(0)
        return ProcessWorkerResult(status_code=0, identifier="none")


def look_back(server: Server, worker: str, among: set[str] | None = None) -> set[str]:
    """Tell the ends of what the worker before has left; return the runs that live. A server that is away comes back."""
    while True:
        try:
            return tell_ends(server, worker, among)
        except ServerError:
            time.sleep(_AGAIN_SECONDS)


def watch(server: Server, worker: str, living: set[str]) -> None:
    """Go on until the last run that outlived the worker before has ended: nobody else would tell that it died."""
    while living:
        time.sleep(_AGAIN_SECONDS)
        living = look_back(server, worker, living)


def main() -> None:
    """Work until this process is told to stop."""
    here = settings()
    server, name = Server(here.api_url, here.api_auth, attempts=1), worker_name(here.root)
    living = look_back(server, name)
    threading.Thread(target=watch, args=(server, name, living), name="watch", daemon=True).start()
    # no limit: with one, prefect 3.8.8's worker ends when a suspended run is resumed before its process has gone
    worker = Worker(name=name, work_pool_name=POOL)
    # a shell ignores SIGINT in what it starts in the background, and asyncio then leaves it so
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(worker.start())


if __name__ == "__main__":
    main()
