"""The world outside: applications that ask the service, later know the truth, and a mailbox for alerts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import DataContract


@dataclass
class Counter:
    """Requests sent and failed, by all threads."""

    sent: int = 0
    failed: int = 0
    problems: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, problem: str | None) -> None:
        """Count one request."""
        with self._lock:
            self.sent += 1
            if problem is not None:
                self.failed += 1
                self.problems.append(problem)


class Application:
    """An application that uses the model: same address whatever version serves."""

    def __init__(self, base_url: str, contract: DataContract, counter: Counter) -> None:
        self._client = httpx.Client(base_url=base_url, timeout=60.0)
        self._inputs = [column.name for column in contract.inputs]
        self._target = contract.target.name
        self.counter = counter

    def ask(self, rows: pd.DataFrame, *, capture: bool = True) -> list[str]:
        """Ask about `rows` in one request; return the rows' ids, none where the request failed."""
        body = {"rows": json_rows(rows[self._inputs])}
        answer = self._post("/predict", body, {} if capture else {"X-Capture": "off"})
        return [item["id"] for item in answer["predictions"]] if answer else []

    def tell(self, ids: list[str], rows: pd.DataFrame) -> None:
        """Send the true values of rows that were asked about."""
        truths = rows[self._target].tolist()
        self._post("/labels", {"labels": [{"id": i, "value": v} for i, v in zip(ids, truths, strict=True)]}, {})

    def _post(self, path: str, body: Any, headers: dict[str, str]) -> Any:
        try:
            response = self._client.post(path, json=body, headers=headers)
        except httpx.TransportError as error:
            self.counter.add(f"{path}: {type(error).__name__}")
            return None
        self.counter.add(None if response.is_success else f"{path}: HTTP {response.status_code} {response.text[:200]}")
        return response.json() if response.is_success else None


@contextmanager
def steady(application: Application, rows: pd.DataFrame, pause_seconds: float = 0.1) -> Iterator[None]:
    """Keep asking about the same rows, uncaptured, while the block runs: nobody may notice a new version."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(pause_seconds):
            application.ask(rows, capture=False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def mailbox() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Receive alerts over HTTP; yields the address and the list they arrive in."""
    received: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            received.append(json.loads(self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def json_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as JSON values, times in ISO 8601, missing values as null."""
    return list(json.loads(frame.to_json(orient="records", date_format="iso", date_unit="us")))
