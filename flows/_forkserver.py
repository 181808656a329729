"""A process that has imported what a flow run needs, and forks one for each that `flows/_launch.py` asks for.

Python computes for two to three seconds to import Prefect and the flows; a fork has them at once. A fork is only made
of the code and the settings that this process was started with: when a source file or a package has changed, that run
starts by itself and this process imports everything anew; where a variable differs, that run starts by itself. It has
one thread, no connection and no event loop when it forks: there is nothing that a fork could have half of.

It answers as soon as it has what a run's first line needs. What the stages import in their functions follows, a module
at a time, while nobody asks. No use case's own code is among it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import site
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

from flows._launch import GO, NO, NUMBER, PROGRAMS, SOCKET, YES, at

_PROJECT: Final = Path(__file__).parent.parent
_SOURCES: Final = ("flows", "mlcore", "bentos")
#: What is imported when a run's first line runs, and what the worker needs. Nothing of it may start a thread.
NEEDED: Final = (
    "prefect.flow_engine prefect._internal.metrics prefect.events.clients prefect.events.worker prefect.artifacts "
    "prefect.logging.handlers prefect.deployments.steps.core prefect.deployments.steps.pull prefect._internal.pytz "
    "prefect.workers.process anyio._backends._asyncio encodings.idna sqlalchemy.dialects.sqlite alembic.command "
    "mlcore.ledger.migrate mlcore.ledger.store mlcore.ledger.audit mlcore.ledger.outbox bentos.targets.local rfc8785"
)
#: What the stages import where they need it, the large packages first: nobody is answered while one is imported.
#: Not deltalake, which starts a thread, nor what numba compiles, which may take long.
STAGES: Final = (
    "numpy pandas pyarrow.parquet scipy.stats sklearn.ensemble skops.io altair vl_convert great_expectations "
    "mlcore.data.ingest mlcore.data.cleaning mlcore.data.digest mlcore.data.datasets mlcore.data.assemble "
    "mlcore.data.quarantine mlcore.quality.docs mlcore.training.run mlcore.training.importance "
    "mlcore.training.provenance mlcore.modelstore mlcore.validation mlcore.capture.spool mlcore.capture.store "
    "mlcore.capture.collect mlcore.capture.windows mlcore.diagnosis mlcore.drift mlcore.performance mlcore.scoring "
    "mlcore.report.evaluation mlcore.report.trials mlcore.report.card mlcore.report.markdown "
    "mlcore.report.distributions mlcore.report.window bentos.packaging"
)
_IDLE_SECONDS: Final = 2.0
#: Variable in which this process, when it imports everything anew, leaves itself what it must go on with.
_KEPT: Final = "MLOPS_FORKSERVER_KEPT"
#: Variables of one run or of a shell, which may differ.
_OWN: Final = ("PREFECT__", "PWD", "OLDPWD", "SHLVL", "_")
_STALE: Final = "the code has changed"
_PATIENCE_SECONDS: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class Request:
    """What a fork shall be."""

    program: str
    environment: dict[str, str]
    folder: str
    files: tuple[int, ...]


@dataclass
class ForkServer:
    """Makes forks of this process, each for a connection that asks for it.

    Parameters
    ----------
    listener : socket
    settings : mapping of str to tuple of str
        The values that each variable of a request may have.
    code : object
        What `code_state` was before anything was imported.
    asking : dict of int to socket
        The forks that there are, and who asked for each; None where that is gone.
    later : list of str
        Modules to import once somebody has asked and nobody does.
    """

    listener: socket.socket
    settings: Mapping[str, tuple[str | None, ...]]
    code: object
    asking: dict[int, socket.socket | None] = field(default_factory=dict)
    later: list[str] = field(default_factory=list)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def serve(self) -> Request:
        """Fork for whoever asks, for ever; return in each fork what it shall be."""
        woken, waking = socket.socketpair()
        for end in (woken, waking):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waking.fileno())
        self._selector.register(self.listener, selectors.EVENT_READ)
        self._selector.register(woken, selectors.EVENT_READ)
        for fork, asking in self.asking.items():
            if asking is not None:
                self._selector.register(asking, selectors.EVENT_READ, fork)
        self._tell_ends()
        while True:
            happened = self._selector.select(_IDLE_SECONDS if self.asking and self.later else None)
            if not happened:
                self._import_next()
            for key, _ in happened:
                if key.fileobj is woken:
                    woken.recv(4096)
                    self._tell_ends()
                elif key.fileobj is not self.listener:
                    self._pass_on(key.data)
                elif (request := self._answer()) is not None:
                    woken.close()
                    waking.close()
                    return request

    def _answer(self) -> Request | None:
        """Answer one who asks; return, in the fork that is made for it, what it asked for."""
        asking, _ = self.listener.accept()
        asking.settimeout(_PATIENCE_SECONDS)
        try:
            request = _read(asking)
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log(f"a request could not be read: {error}")
            asking.close()
            return None
        try:
            why = self._why_not(request)
            asking.sendall(NO if why else YES)
            # who has lost patience starts by itself, and nobody may run twice
            wanted = not why and asking.recv(len(GO), socket.MSG_WAITALL) == GO
        except OSError as error:
            why, wanted = str(error), False
        if why:
            _log(f"{request.program} starts by itself: {why}")
        fork = os.fork() if wanted else None
        if fork == 0:
            self._leave(asking)
            return request
        for file in request.files:
            os.close(file)
        if fork is None:
            asking.close()
        else:
            asking.settimeout(None)
            self.asking[fork] = asking
            self._selector.register(asking, selectors.EVENT_READ, fork)
        if why == _STALE:
            self._renew()
        return None

    def _import_next(self) -> None:
        """Import one more module; where that starts a thread, begin anew without any of them."""
        _import(module := self.later.pop(0))
        gc.freeze()
        if _threads() > 1:
            _log(f"{module} has started a thread: everything is imported anew, without what the stages need")
            self._renew(light=True)

    def _why_not(self, request: Request) -> str:
        if request.program not in PROGRAMS:
            return "there is no such program"
        if _threads() > 1:
            return "something that was imported has started a thread"
        if code_state() != self.code:
            return _STALE
        found = lasting(request.environment)
        names = sorted(
            name for name in found.keys() | self.settings.keys() if found.get(name) not in self.settings.get(name, ())
        )
        return f"other settings: {', '.join(names)}" if names else ""

    def _pass_on(self, fork: int) -> None:
        """Send a fork the signals that its launcher got; kill it where that is gone."""
        asking = self.asking[fork]
        assert asking is not None
        try:
            signals = asking.recv(16)
        except OSError:
            signals = b""
        if not signals:
            self._selector.unregister(asking)
            asking.close()
            self.asking[fork] = None
        for number in signals:
            os.kill(fork, number)
        if not signals:
            os.kill(fork, signal.SIGKILL)

    def _tell_ends(self) -> None:
        """Tell the launchers of all forks that have ended how they did."""
        while self.asking:
            fork, status = os.waitpid(-1, os.WNOHANG)
            if not fork:
                return
            asking = self.asking.pop(fork, None)
            if asking is not None:
                self._selector.unregister(asking)
                with contextlib.suppress(OSError):
                    asking.sendall(NUMBER.pack(status))
                asking.close()

    def _renew(self, *, light: bool = False) -> NoReturn:
        """Become a new process with the same number, forks and connections, which imports the code as it is now."""
        kept: dict[str, Any] = {"listener": self.listener.fileno(), "forks": {}, "light": light}
        for fork, asking in self.asking.items():
            kept["forks"][fork] = None if asking is None else asking.fileno()
        for file in (kept["listener"], *kept["forks"].values()):
            if file is not None:
                os.set_inheritable(file, True)
        os.environ[_KEPT] = json.dumps(kept)
        os.execv(sys.executable, sys.orig_argv)

    def _leave(self, asking: socket.socket) -> None:
        """Close, in a fork, what is the server's and other forks'."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        self.listener.close()
        for other in (asking, *self.asking.values()):
            if other is not None:
                other.close()


def flow_modules() -> list[str]:
    """Return the modules of all flows."""
    return sorted(f"flows.{path.stem}" for path in (_PROJECT / "flows").glob("[a-z]*.py"))


def code_state() -> object:
    """Return what changes when a source file of the project does, or a package is installed."""
    files = (path for name in _SOURCES for path in (_PROJECT / name).rglob("*.py"))
    packages = (Path(path) for path in site.getsitepackages() if Path(path).is_dir())
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in (*files, *packages)}


def lasting(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a run must share with the process that it is forked from."""
    return {name: value for name, value in environment.items() if not name.startswith("PREFECT__") and name not in _OWN}


def accepted_settings() -> dict[str, tuple[str | None, ...]]:
    """Return each variable with its values here: as it stands, and as Prefect's worker writes it."""
    from prefect.settings import get_current_settings

    written = get_current_settings().to_environment_variables(exclude_unset=True)
    here = lasting(os.environ)
    return {name: (here.get(name), written.get(name, here.get(name))) for name in here.keys() | written.keys()}


def _read(asking: socket.socket) -> Request:
    head, files, _, _ = socket.recv_fds(asking, NUMBER.size, 3)
    size = NUMBER.unpack(head)[0]
    body = asking.recv(size, socket.MSG_WAITALL)
    asked = json.loads(body)
    return Request(asked["program"], asked["environment"], asked["folder"], tuple(files))


def _listen(path: Path) -> socket.socket:
    """Listen on `path`, for this user only."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    here, (folder, name) = Path.cwd(), at(path)
    before = os.umask(0o077)
    try:
        os.chdir(folder)
        listener.bind(name)
    finally:
        os.umask(before)
        os.chdir(here)
    listener.listen(128)
    return listener


def _threads() -> int:
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else threading.active_count()


def _become(request: Request) -> None:
    """Take over the outputs, folder and environment of who asked, in a session of one's own."""
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for number, file in enumerate(request.files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.argv = [request.program]


def _log(sentence: str) -> None:
    print(sentence, flush=True)  # noqa: T201 (the log of this process)


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except Exception as error:  # noqa: BLE001 (whatever is wrong with a module, the run that needs it shall say)
        _log(f"{module} cannot be imported: {type(error).__name__}: {error}")


def _start() -> tuple[socket.socket, dict[int, socket.socket | None], bool]:
    """Return where to listen, the forks made before everything was imported anew, and whether that is all to import."""
    kept = os.environ.pop(_KEPT, "")
    if not kept:
        return _listen(Path(os.environ[SOCKET])), {}, False
    found = json.loads(kept)
    forks = {int(fork): None if file is None else socket.socket(fileno=file) for fork, file in found["forks"].items()}
    for made in (listener := socket.socket(fileno=found["listener"]), *forks.values()):
        if made is not None:
            made.set_inheritable(False)
    return listener, forks, found["light"]


def main(needed: Sequence[str], later: Sequence[str] = ()) -> None:
    """Import `needed`, then fork, and import what is needed `later` meanwhile."""
    code = code_state()
    listener, forks, light = _start()
    for module in needed:
        _import(module)
    gc.collect()
    gc.freeze()  # pages that nobody writes to stay shared
    request = ForkServer(listener, accepted_settings(), code, forks, [] if light else [*later]).serve()
    _become(request)
    module = PROGRAMS[request.program]
    sys.modules.pop(module, None)  # it is run, as __main__
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main([*NEEDED.split(), *flow_modules()], STAGES.split())
