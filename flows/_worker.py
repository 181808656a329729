"""The worker of an installation: Prefect's own for processes, except that each run is started by `flows/_launch.py`.

Before it works it looks back: which runs of its forerunner have died, with it or since, and nobody has told. A run that
an event woke for a use case that is not there gets no process: who makes up a thousand names does not fill the memory.

It asks the server for runs when there are some. To be asked costs the server some 25 ms of a core, since it notes for
every deployment that somebody has; twice a second that was most of what it computed while nothing happened, and all the
time a training ran.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import sys
import threading
import time
from typing import Any, Final
from uuid import UUID

import anyio.abc
from prefect.client.schemas.objects import FlowRun
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.states import Completed
from prefect.utilities.processutils import command_to_string
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult
from websockets.exceptions import WebSocketException

from flows._cli.apply import POOL
from flows._dead import tell_ends, worker_name
from flows._server import Server
from flows._strays import unknown_to
from flows.settings import settings
from mlcore.errors import ServerError

_AGAIN_SECONDS: Final = 0.5
#: How often the server is asked although it has told of no run; for how long each time after it has, and after it has
#: begun to, since runs may wait from before.
_UNTOLD_SECONDS: Final = 5.0
_TOLD_SECONDS: Final = 3.0
_BEGUN_SECONDS: Final = 10.0
#: States in which a run waits for a worker.
_WAITING: Final = ("Scheduled", "Late", "Resuming", "AwaitingRetry", "AwaitingConcurrencySlot")


class Configuration(ProcessJobConfiguration):
    """How a run is started: as the work pool or the deployment says, by the launcher where neither does."""

    def prepare_for_flow_run(self, flow_run: FlowRun, *args: Any, **kwargs: Any) -> None:
        """Fill in the command."""
        if self.command is None:
            self.command = command_to_string([sys.executable, "-m", "flows._launch", "prefect.engine"])
        super().prepare_for_flow_run(flow_run, *args, **kwargs)


class Worker(ProcessWorker):
    """Starts every run but those that have nothing to do; looks for them where the server has told of one."""

    job_configuration = Configuration

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_told = False
        self._waiting: dict[UUID | None, float] = {}
        self._asked = -math.inf

    async def listen(self) -> None:
        """Take note of the runs that the server says wait for a worker; it may go away and come back."""
        names = [f"prefect.flow-run.{state}" for state in _WAITING]
        while True:
            try:
                async with get_events_subscriber(EventFilter(event=EventNameFilter(name=names)), 0) as told:
                    self._is_told, self._waiting[None] = True, time.monotonic() + _BEGUN_SECONDS
                    async for event in told:
                        run = UUID(event.resource.id.removeprefix("prefect.flow-run."))
                        self._waiting[run] = time.monotonic() + _TOLD_SECONDS
            except (OSError, WebSocketException):
                pass
            finally:
                self._is_told = False
            await asyncio.sleep(_AGAIN_SECONDS)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Ask for runs, where nobody tells of them, where a run is known to wait, and now and then in any case."""
        now = time.monotonic()
        self._waiting = {run: until for run, until in self._waiting.items() if until > now}
        if self._is_told and not self._waiting and now < self._asked + _UNTOLD_SECONDS:
            return []
        self._asked = now
        begun = await super().get_and_submit_flow_runs()
        for run in begun:
            self._waiting.pop(run.id, None)
        return begun

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
        asyncio.run(_work(worker))


async def _work(worker: Worker) -> None:
    listening = asyncio.create_task(worker.listen())
    try:
        await worker.start()
    finally:
        listening.cancel()


if __name__ == "__main__":
    main()
