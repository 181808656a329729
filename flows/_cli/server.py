"""The Prefect server: `prefect server start`, except for when it collects garbage and what it does when SQLite is busy.

Garbage is collected beside the event loop, never on it. The server talks to SQLite through a thread for each
connection. A collection that starts on the event loop may find a cursor of a connection whose thread waits for the
write lock; to finalise it the loop must wait for that thread, and the transaction that holds the lock waits for the
loop: for 60 seconds nobody moves (docs/decisions/0008). In a thread of its own, the collection waits and nobody else.

A request that found SQLite busy is made again at once. Prefect answers it with 503, and its client, through which the
server also carries out its own automations, sleeps for two seconds before it makes the very same request again.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_EVERY_SECONDS: Final = 1.0
_FULL_EVERY: Final = 60  # a full collection stops the server for some tenths of a second
#: Before each new attempt; the client sees the 503 that comes after them, and waits as it always did.
_PAUSES_SECONDS: Final = (0.05, 0.1, 0.2, 0.4)
_BUSY: Final = 503


class AgainWhenBusy:
    """Makes a request again that was answered with 503: its transaction was rolled back, nothing of it has happened.

    Parameters
    ----------
    app : ASGI application
    pauses_seconds : tuple of float, default=(0.05, 0.1, 0.2, 0.4)
        Before the second attempt, the third, and so on.
    """

    def __init__(self, app: ASGIApp, pauses_seconds: tuple[float, ...] = _PAUSES_SECONDS) -> None:
        self._app = app
        self._pauses = pauses_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = [await receive()]
        while received[-1].get("more_body"):
            received.append(await receive())
        for pause in self._pauses:
            if not await self._is_busy(dict(scope), received, receive, send):
                return
            await asyncio.sleep(pause)
        await self._app(scope, _replayed(received, receive), send)

    async def _is_busy(self, scope: Scope, received: list[Message], receive: Receive, send: Send) -> bool:
        busy = False

        async def hold(message: Message) -> None:
            nonlocal busy
            busy = busy or (message["type"] == "http.response.start" and message["status"] == _BUSY)
            if not busy:
                await send(message)

        try:
            await self._app(scope, _replayed(received, receive), hold)
        except Exception:  # raised again by whoever made a 503 of it, for the log
            if not busy:
                raise
        return busy


def _replayed(received: list[Message], receive: Receive) -> Receive:
    left = iter(received)

    async def again() -> Message:
        return next(left, None) or await receive()

    return again


def _collect() -> None:
    rounds = 0
    while True:
        time.sleep(_EVERY_SECONDS)
        rounds += 1
        gc.collect(2 if rounds % _FULL_EVERY == 0 else 1)
        if rounds == _FULL_EVERY:
            gc.freeze()  # what is there now was made to start, and stays: no later collection looks at it again


def main(host: str, port: int) -> None:
    """Serve until told to stop."""
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    server = get_current_settings().server
    app = create_app(final=True)  # who asks for it later, as automations do, gets this one
    app.add_middleware(AgainWhenBusy)
    uvicorn.run(
        app,
        host=host,
        port=port,
        timeout_keep_alive=server.api.keepalive_timeout,
        ws_ping_interval=server.api.websocket_ping_interval,
        ws_ping_timeout=server.api.websocket_ping_timeout,
        log_level=server.logging_level.lower(),
    )


if __name__ == "__main__":
    gc.disable()
    threading.Thread(target=_collect, name="garbage", daemon=True).start()
    main(sys.argv[1], int(sys.argv[2]))
