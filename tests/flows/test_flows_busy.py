"""A request that found the Prefect server's SQLite busy is made again by the server itself, in a moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flows._cli.server import AgainWhenBusy

PAUSES = (0.0, 0.0)


class App:
    """Answers what it was told to, one after the other, with the body that it got."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        assert scope["path"] == "/"
        scope["path"] = "changed by a router"
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        answer = self.answers.pop(0)
        status = 503 if isinstance(answer, Exception) and str(answer) == "busy" else answer
        if not isinstance(status, Exception):
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": body})
        if isinstance(answer, Exception):
            raise answer


def asked(app: App) -> list[Any]:
    """Post a body in two parts; return what is answered."""
    parts = [
        {"type": "http.request", "body": b"par", "more_body": True},
        {"type": "http.request", "body": b"ts", "more_body": False},
    ]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return parts.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("status", message.get("body")))

    async def ask() -> None:
        await AgainWhenBusy(app, PAUSES)({"type": "http", "path": "/"}, receive, send)

    asyncio.run(ask())
    return sent


@pytest.mark.parametrize("busy", [503, Exception("busy")])
def test_a_busy_request_is_made_again_as_it_was(busy):
    """The client sees one answer, with nothing of the attempts before it."""
    app = App(busy, busy, 201)
    assert asked(app) == [201, b"parts"]


@pytest.mark.parametrize("status", [200, 409, 500])
def test_any_other_answer_is_passed_on(status):
    """It is not asked for twice."""
    app = App(status, 200)
    assert asked(app) == [status, b"parts"]
    assert app.answers == [200]


def test_who_stays_busy_says_so():
    """Then the client waits, as it does with any Prefect server."""
    app = App(503, 503, 503, 200)
    assert asked(app) == [503, b"parts"]
    assert app.answers == [200]


def test_what_fails_for_another_reason_fails():
    """An error that nobody made an answer of is the server's to log."""
    app = App(ValueError("wrong"), 200)
    with pytest.raises(ValueError, match="wrong"):
        asked(app)
    assert app.answers == [200]


def test_a_websocket_is_none_of_its_business():
    """Nothing is read from it before its time."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    asyncio.run(AgainWhenBusy(app)({"type": "websocket"}, 1, 2))  # type: ignore[arg-type]
    assert seen == [({"type": "websocket"}, 1, 2)]
