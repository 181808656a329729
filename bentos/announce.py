"""Telling the Prefect server that captured rows wait: only a hint, a schedule collects them anyway."""

from __future__ import annotations

import base64
import logging
import os
import queue
import threading
from datetime import UTC, datetime
from typing import Final

import httpx

from mlcore import events
from mlcore.events import Event

log = logging.getLogger("bentos.announce")
_MOST_WAITING: Final = 100
_TIMEOUT_SECONDS: Final = 5.0


class Announcer:
    """Posts ``ml.capture.sealed`` from a thread of its own: neither requests nor the disk wait for the server.

    Parameters
    ----------
    url : str
        The Prefect API's address.
    usecase : str
    auth : str
        ``user:password`` of an authenticated server, empty where it is open.
    """

    def __init__(self, url: str, usecase: str, auth: str = "") -> None:
        self._url = f"{url.rstrip('/')}/events"
        self._usecase = usecase
        self._headers = {"Authorization": "Basic " + base64.b64encode(auth.encode()).decode()} if auth else {}
        self._queue: queue.Queue[str] = queue.Queue(_MOST_WAITING)
        threading.Thread(target=self._post_all, name="announcer", daemon=True).start()

    @classmethod
    def from_environment(cls, usecase: str) -> Announcer | None:
        """Return one for ``MLOPS_EVENTS_URL``, None where that is not set."""
        url = os.environ.get("MLOPS_EVENTS_URL", "")
        return cls(url, usecase, os.environ.get("PREFECT_API_AUTH_STRING", "")) if url else None

    def announce(self, segment: str) -> None:
        """Say that `segment` is sealed; returns at once."""
        try:
            self._queue.put_nowait(segment)
        except queue.Full:
            log.warning("the server does not keep up, segment %s is not announced", segment)

    def _post_all(self) -> None:
        while True:
            segment = self._queue.get()
            event = Event(
                events.CAPTURE_SEALED,
                self._usecase,
                key=segment,
                occurred=datetime.now(UTC),
                payload={"segment": segment},
            )
            try:
                answer = httpx.post(self._url, json=[event.to_wire()], headers=self._headers, timeout=_TIMEOUT_SECONDS)
                answer.raise_for_status()
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                log.warning("could not announce captured rows: %s", error)
