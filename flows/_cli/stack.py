"""One installation on this machine: Prefect server, worker, service host, deployments and automations."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from flows._cli.apply import PROJECT, Asked
from flows._cli.parts import Part, end_of
from flows._cli.processes import port_is_free, stop_leftovers
from flows._launch import SOCKET
from flows._server import Server
from mlcore.errors import ServerError, SettingsError

_START_SECONDS = 90.0

Progress = Callable[[str], None]


def _silent(_: str) -> None:
    return None


@dataclass
class Stack:
    """Everything that runs for one installation.

    Parameters
    ----------
    home : Path
        Folder of the ledger, the lake, the server's database and the logs.
    server_port, host_port : int
        Ports on the loopback interface.
    usecases : Path
        Folder of the use cases.
    environment : dict of str to str
        Further variables for every process.
    progress : callable
        Told in a few words what is being started.
    """

    home: Path
    server_port: int = 4200
    host_port: int = 8700
    usecases: Path = Path("usecases")
    environment: dict[str, str] = field(default_factory=dict)
    progress: Progress = _silent
    _parts: dict[str, Part] = field(default_factory=dict)

    @property
    def api_url(self) -> str:
        """The Prefect server's API."""
        return f"http://127.0.0.1:{self.server_port}/api"

    @property
    def ui_url(self) -> str:
        """The Prefect UI."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def host_url(self) -> str:
        """The service host."""
        return f"http://127.0.0.1:{self.host_port}"

    @property
    def server(self) -> Server:
        """A client of the Prefect server."""
        return Server(self.api_url, self._auth)

    @property
    def _auth(self) -> str:
        """The credential of the server: who starts an authenticated one is its client, too."""
        names = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")
        given = (source.get(name) for source in (self.environment, os.environ) for name in names)
        return next((value for value in given if value), "")

    @property
    def variables(self) -> dict[str, str]:
        """The environment of every process of this installation."""
        home = self.home.resolve()
        return {
            "MLOPS_HOME": str(home),
            "MLOPS_USECASES": str(self.usecases.resolve()),
            "MLOPS_HOST_URL": self.host_url,
            "MLOPS_EVENTS_URL": self.api_url,
            "MLOPS_SPOOL": str(home / "spool"),
            "BENTOML_HOME": str(home / "bentoml"),
            "PREFECT_API_URL": self.api_url,
            "PREFECT_HOME": str(home / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_EVENTS_MAXIMUM_RELATED_RESOURCES": "100",
            # in-memory leases would be lost with a server restart, and the runs that hold them killed
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            # an event is listed before the run that it wakes looks for it; by default it may take five seconds
            "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "0.5",
            "PREFECT_WORKER_QUERY_SECONDS": "0.5",
            SOCKET: str(home / "forkserver.sock"),
            "PREFECT_CLIENT_RETRY_EXTRA_CODES": "503",
            "PREFECT_CLIENT_MAX_RETRIES": "8",
            "PREFECT_CLI_PROMPT": "false",
            "DO_NOT_TRACK": "1",
            # two cores: the pools of BLAS and OpenMP in several processes at once only fight
            "OMP_NUM_THREADS": "1",
            # Arrow's other allocator would start a thread as it is loaded, and who has threads is not forked
            "JE_ARROW_MALLOC_CONF": "background_thread:false",
            **({"PREFECT_API_AUTH_STRING": self._auth} if self._auth else {}),
            **self.environment,
        }

    def start(self) -> None:
        """Start everything, in order; on any failure stop what was started.

        Raises
        ------
        SettingsError
            If a port is taken.
        ServerError
            If a part does not come up; the error shows the end of its log.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything, in reverse order."""
        while self._parts:
            self._parts.popitem()[1].stop()
        stop_leftovers(self.home.resolve())

    def mend(self) -> None:
        """Start again what has ended by itself, after pauses that grow while it ends at once; to be called often."""
        for part in self._parts.values():
            told = part.mend()
            if told:
                self.progress(told)

    def part(self, name: str) -> Part:
        """Return the ``server``, the ``host`` or the ``worker``."""
        return self._parts[name]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        leftovers = stop_leftovers(self.home.resolve())
        if leftovers:
            self.progress(f"stopped {leftovers} processes left by an earlier run")
        for what, port, variable in (
            ("Prefect server", self.server_port, "--server-port"),
            ("service host", self.host_port, "--host-port"),
        ):
            if not port_is_free(port):
                raise SettingsError(
                    "the port is taken",
                    subject=f"{what}: 127.0.0.1:{port}",
                    expected="a free port",
                    remedy=f"Stop what listens there, or choose another with {variable}.",
                )
        self.progress("starting the Prefect server")
        self._spawn("server", "-m", "flows._cli.server", "127.0.0.1", str(self.server_port))
        self._spawn("forkserver", "-m", "flows._forkserver")
        state = self.home.resolve() / "host"
        self._spawn("host", "-m", "bentos.host", "--port", str(self.host_port), "--state-dir", str(state))
        asked = Asked.of(self.usecases.resolve(), {**os.environ, **self.environment}.get("MLOPS_NOTIFY", ""))
        self._wait_for("server", self.server.healthy)
        if not asked.is_on(self.server):
            self.progress("applying prefect.yaml and the automations")
            self._run("-m", "flows._cli.apply", "changed")
        self.progress("starting the worker")
        self._spawn("worker", "-m", "flows._launch", "worker")

    def _spawn(self, name: str, *arguments: str) -> None:
        part = Part(name, [sys.executable, *arguments], self._log(name), self.variables)
        self._parts[name] = part
        part.start()

    def _log(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"

    def _wait_for(self, name: str, is_up: Callable[[], bool]) -> None:
        until = time.monotonic() + _START_SECONDS
        while not is_up():
            part = self._parts[name]
            if not part.runs or time.monotonic() > until:
                raise ServerError(
                    f"the {name} did not come up",
                    subject=str(part.log),
                    got=part.last_words,
                    remedy="The log says why.",
                )
            time.sleep(0.05)

    def _run(self, *arguments: str) -> None:
        log = self._log("apply")
        with log.open("ab") as output:
            done = subprocess.run(
                [sys.executable, *arguments],
                cwd=PROJECT,
                env={**os.environ, **self.variables},
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise ServerError(
                "the deployments could not be applied",
                subject=str(log),
                got=end_of(log),
                remedy="The log says why; `mlops lint` checks prefect.yaml.",
            )
