"""Starts a program as a fork of a process that has imported what it needs; as a process of its own where none has.

``python -m flows._launch prefect.engine`` is what our worker starts for a run, in place of ``python -m
prefect.engine``. It asks the fork server (`flows/_forkserver.py`), hands over its environment, folder, input and
outputs, and stands for the fork from then on: signals go on to it, this process ends as it ends, and it is killed when
this process is. Where no fork server answers, or one of other code or other settings, this process becomes the program
itself. Only the standard library is imported here: this is the part of a start that is paid each time.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Final, NoReturn

#: Environment variable: where the fork server listens.
SOCKET: Final = "MLOPS_FORKSERVER"
#: What can be started, and the module that it is; a run is found among the processes by the name Prefect gives it.
PROGRAMS: Final = {"prefect.engine": "prefect.engine", "worker": "flows._worker"}
NUMBER: Final = struct.Struct("!I")
YES, NO, GO = b"yes\n", b"no.\n", b"go!\n"
_PATIENCE_SECONDS: Final = 20.0  # it may be importing yet
_ABSENT_SECONDS: Final = 1.0  # it may have been killed and be started again
_AGAIN_SECONDS: Final = 0.05
_FORWARDED: Final = (signal.SIGTERM, signal.SIGINT)


def main(program: str) -> NoReturn:
    """Run `program`, as a fork if possible, and end as it does."""
    server = _connect(os.environ.get(SOCKET, ""))
    if server is None or not _begun(server, program):
        os.execv(sys.executable, [sys.executable, "-m", PROGRAMS[program]])
    _end_like(_status(server))


def at(path: Path) -> tuple[str, str]:
    """Return a folder and a name in it: a socket's address may have 107 bytes, which only the name has to fit."""
    return str(path.parent), path.name


def _connect(path: str) -> socket.socket | None:
    if not path:
        return None
    here, (folder, name) = Path.cwd(), at(Path(path))
    until = time.monotonic() + _ABSENT_SECONDS
    try:
        os.chdir(folder)
        while True:
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            server.settimeout(_PATIENCE_SECONDS)
            try:
                server.connect(name)
            except OSError:
                server.close()
                if time.monotonic() > until:
                    return None
                time.sleep(_AGAIN_SECONDS)
            else:
                return server
    except OSError:
        return None  # no such folder
    finally:
        os.chdir(here)


def _begun(server: socket.socket, program: str) -> bool:
    """Ask for a fork; once this is true there may be one, and nothing else may be started."""
    request = json.dumps({"program": program, "environment": dict(os.environ), "folder": str(Path.cwd())}).encode()
    try:
        socket.send_fds(server, [NUMBER.pack(len(request))], [0, 1, 2])
        server.sendall(request)
        agreed = server.recv(len(YES), socket.MSG_WAITALL) == YES
    except OSError:
        agreed = False
    if not agreed:
        server.close()
        return False
    # from here on signals are for the fork: this process goes on until that has ended
    for number in _FORWARDED:
        signal.signal(number, lambda number, _: server.send(bytes([number])))
    server.settimeout(None)
    try:
        server.sendall(GO)
    except OSError:
        server.close()  # the server has ended since: no fork
        return False
    return True


def _status(server: socket.socket) -> int:
    """Wait for the end of the fork and return its wait status; it is killed when the server ends."""
    try:
        told = server.recv(NUMBER.size, socket.MSG_WAITALL)
    except OSError:
        told = b""
    return int(NUMBER.unpack(told)[0]) if len(told) == NUMBER.size else int(signal.SIGKILL)


def _end_like(status: int) -> NoReturn:
    """End with the code, or by the signal, that the fork has ended with."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        if code != -signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(abs(code))


if __name__ == "__main__":
    main(*sys.argv[1:])
