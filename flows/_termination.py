"""A run that is told to stop does.

Prefect raises an exception in the handler of SIGTERM, wherever the main thread is at that moment. It is lost where that
is a callback of asyncio's loop, which logs what a callback raises and goes on, or a finaliser. Then nothing ends the
run; where the callback was to wake the flow, nothing goes on either, and the run keeps its lease for ever.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from typing import Final

from flows._dead import RUN

#: Time for what a run does when it is told to stop: undo, give back its lease, tell the server.
GRACE_SECONDS: Final = 10.0
#: As a shell says it of a process that SIGTERM has ended.
EXIT_CODE: Final = 128 + signal.SIGTERM


def end_when_told() -> None:
    """End this process `GRACE_SECONDS` after a SIGTERM, if it is there still; in a run's own process only.

    What a run that was killed leaves is carried on, and so is this.
    """
    if RUN in os.environ and threading.current_thread() is threading.main_thread():
        watch(GRACE_SECONDS)


@functools.cache
def watch(grace_seconds: float) -> None:
    """End this process `grace_seconds` after a SIGTERM, whatever becomes of what its handler raises."""
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    # the interpreter writes the signal's number there before it calls any handler
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    threading.Thread(target=_end, args=(told, grace_seconds), name="ends when told", daemon=True).start()


def _end(told: int, grace_seconds: float) -> None:
    while os.read(told, 1) != bytes([signal.SIGTERM]):
        pass
    time.sleep(grace_seconds)
    os._exit(EXIT_CODE)
