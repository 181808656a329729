"""One serving process: a Bento on a free port of the loopback interface."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Final, Self

import aiohttp
import psutil

from bentos.processes import die_with_parent, free_port

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0
_DRAIN_SECONDS: Final = 30.0
#: No spans, which nobody is sent; what the environment says comes after it.
_OPTIONS: Final = "services.tracing.excluded_urls=.*"
_WORKER: Final = "_bentoml_impl.worker.service"


class ChildError(Exception):
    """A serving process does not come up, or answers wrongly."""


class Child:
    """A running ``bentoml serve``; `in_flight` requests are being answered by it."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, log: Path, home: Path) -> None:
        self.in_flight = 0
        self._process = process
        self._workers: dict[int, psutil.Process] = {}
        self.port = port
        self.log = log
        self._home = home

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    async def start(cls, bento_path: str, log: Path, homes: Path, session: aiohttp.ClientSession) -> Self:
        """Start the Bento in `bento_path`, with a home of its own in `homes`, and wait until it is ready.

        Raises
        ------
        ChildError
            If it ends, or is not ready in a minute; the error shows the end of its log.
        """
        if not Path(bento_path).is_dir():
            raise ChildError(f"there is no Bento at {bento_path}")
        log.parent.mkdir(parents=True, exist_ok=True)
        port = free_port()
        home = homes / str(port)
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "bentoml", "serve", bento_path, "--host", "127.0.0.1", "--port", str(port)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent if sys.platform == "linux" else None,
                env={
                    **os.environ,
                    "BENTOML_DO_NOT_TRACK": "true",
                    # several OpenMP pools in one small machine only fight
                    "OMP_NUM_THREADS": "1",
                    # where two services share a home, the start of one empties the counters of the other
                    "BENTOML_HOME": str(home),
                    "BENTOML_CONFIG_OPTIONS": f"{_OPTIONS} {os.environ.get('BENTOML_CONFIG_OPTIONS', '')}".strip(),
                },
            )
        child = cls(process, port, log, home)
        await child._wait_until_ready(session)
        return child

    async def ended(self) -> None:
        """Wait until the process has ended, and end what it started: a killed parent leaves its workers behind."""
        await self._process.wait()
        self._signal(signal.SIGKILL)
        for worker in self._workers.values():
            if worker.is_running():
                worker.kill()
        # one that has not died yet may write into the home while it is removed
        until = asyncio.get_running_loop().time() + _STOP_SECONDS
        while any(map(_lives, self._workers.values())) and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.01)
        shutil.rmtree(self._home, ignore_errors=True)

    async def retire(self) -> None:
        """Let it finish what it was asked, then stop it."""
        until = asyncio.get_running_loop().time() + _DRAIN_SECONDS
        while self.in_flight and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.05)
        await self.stop()

    async def stop(self) -> None:
        """Ask the process to finish, then make it."""
        if self._process.returncode is None:
            self._signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
            except TimeoutError:
                self._signal(signal.SIGKILL)
        await self.ended()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    async def _wait_until_ready(self, session: aiohttp.ClientSession) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + _START_SECONDS
        while loop.time() < until and self._process.returncode is None and self._workers_live():
            try:
                async with session.get(f"{self.url}/readyz", timeout=aiohttp.ClientTimeout(total=2)) as answer:
                    if answer.status == 200:
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.1)
        await self.stop()
        end = self.log.read_text(errors="replace")[-500:].strip() if self.log.is_file() else ""
        raise ChildError(f"the service does not come up; its log {self.log} ends in: {end}")

    def _workers_live(self) -> bool:
        """Note the processes that do the work; bentoml would start a worker that cannot load its model for ever."""
        try:
            found = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return False
        self._workers.update((worker.pid, worker) for worker in found if _is_worker(worker))
        return all(map(_lives, self._workers.values()))


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_worker(process: psutil.Process) -> bool:
    try:
        return _WORKER in process.cmdline()
    except psutil.Error:
        return False
