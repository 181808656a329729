"""Announcing sealed segments: a well-formed event, and no wait for a server that hangs or is not there."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bentos.announce import Announcer
from tests.support import PATIENCE_SECONDS

received: list[tuple[str, str | None, list[dict]]] = []


class _Server(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        received.append((self.path, self.headers["Authorization"], body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the test's output quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    """A place that takes events."""
    received.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    server.server_close()


def test_an_event_reaches_the_server(server):
    """A list of one event, with the segment's name and the server's password."""
    Announcer(server, "churn", "admin:secret").announce("seg-1")
    until = time.monotonic() + PATIENCE_SECONDS
    while not received and time.monotonic() < until:
        time.sleep(0.01)
    ((path, authorization, (event,)),) = received
    assert path == "/api/events"
    assert authorization == "Basic YWRtaW46c2VjcmV0"
    assert event["event"] == "ml.capture.sealed"
    assert event["resource"]["prefect.resource.id"] == "ml.usecase.churn"
    assert event["payload"] == {"usecase": "churn", "segment": "seg-1"}


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/api", "no address", "http://[::1"])
def test_a_server_that_is_away_ends_nothing(url):
    """The thread lives on."""
    announcer = Announcer(url, "churn")
    for number in range(500):
        announcer.announce(f"seg-{number}")
    time.sleep(0.2)
    assert any(thread.name == "announcer" for thread in threading.enumerate())


def test_a_server_that_does_not_answer_keeps_nobody():
    """All is said while the first request still waits for its answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        announcer = Announcer(f"http://127.0.0.1:{silent.getsockname()[1]}/api", "churn")
        announcer.announce("seg-0")
        request, _ = silent.accept()
        with request:
            for number in range(500):
                announcer.announce(f"seg-{number}")
            silent.setblocking(False)
            with pytest.raises(BlockingIOError):
                silent.accept()


def test_without_an_address_nothing_is_announced(monkeypatch):
    """A Bento outside an installation serves just as well."""
    monkeypatch.delenv("MLOPS_EVENTS_URL", raising=False)
    assert Announcer.from_environment("churn") is None
