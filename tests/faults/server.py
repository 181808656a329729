"""What a Prefect server is to this library, over HTTP: it keeps events, each id once, lists them, and knows no runs."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Events:
    """The events of many installations, each below a path of its own."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, dict[str, Any]]] = {}
        self.seen: dict[str, set[str]] = {}
        events = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or "null")
                _, name, *path = self.path.split("/")
                answer = json.dumps(events.answer(name, "/".join(path), body)).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def address(self, name: str) -> str:
        """Return the API of one installation."""
        return f"http://127.0.0.1:{self._server.server_port}/{name}"

    def copy(self, source: str, target: str) -> None:
        """Give an installation the events of another."""
        self.kept[target] = dict(self.kept.get(source, {}))
        self.seen[target] = set(self.seen.get(source, ()))

    def answer(self, name: str, path: str, body: Any) -> Any:
        """Answer one request."""
        kept, seen = self.kept.setdefault(name, {}), self.seen.setdefault(name, set())
        if path == "events":
            for event in body:
                kept.setdefault(event["id"], event)
            return None
        if path == "events/filter":
            names = body["filter"]["event"]["name"]
            return {"events": [event for event in kept.values() if event["event"] in names]}
        if path == "unseen":
            found = [event for event in kept.values() if event["id"] not in seen]
            seen.update(event["id"] for event in found)
            return found
        return []

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
