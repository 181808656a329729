"""What every parent of a process needs: a free port, and children that do not outlive it."""

from __future__ import annotations

import ctypes
import signal
import socket
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def free_port() -> int:
    """Return a TCP port that is free on the loopback interface now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent() -> None:
    """Have this process asked to stop when its parent ends (Linux); to be run in the child, before it executes."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
