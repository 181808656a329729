"""The Prefect server, its garbage collected beside the event loop and never on it.

The server talks to SQLite through a thread for each connection. A collection that starts on the event loop may find a
cursor of a connection whose thread waits for the write lock; to finalise it the loop must wait for that thread, and
the transaction that holds the lock waits for the loop: for 60 seconds nobody moves (docs/decisions/0008). In a thread
of its own, the collection waits and nobody else.
"""

from __future__ import annotations

import gc
import runpy
import sys
import threading
import time

_EVERY_SECONDS = 1.0
_FULL_EVERY = 60  # a full collection stops the server for some tenths of a second


def _collect() -> None:
    rounds = 0
    while True:
        time.sleep(_EVERY_SECONDS)
        rounds += 1
        gc.collect(2 if rounds % _FULL_EVERY == 0 else 1)


if __name__ == "__main__":
    gc.disable()
    threading.Thread(target=_collect, name="garbage", daemon=True).start()
    sys.argv = ["prefect", "server", "start", *sys.argv[1:]]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)
