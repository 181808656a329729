"""The spool: what a service writes without ever making a request wait."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlcore.capture.records import hash_key
from mlcore.capture.segments import SegmentWriter, encode


class Spool:
    """A folder of segments, written by one background thread.

    Parameters
    ----------
    folder : Path
        One folder a use case; several processes may write into it, each its own segments.
    segment_rows : int, default=2000
        A segment with so many records is sealed.
    idle_seconds : float, default=1.5
        A segment that has not grown for so long is sealed.
    age_seconds : float, default=10
        A segment that began so long ago is sealed, although it grows.
    linger_seconds : float, default=0.1
        How long records wait for others: each write to disk costs requests some time, so one serves many.
    capacity : int, default=200_000
        Records that may wait for the disk; more are dropped and counted, a request never waits.
    on_sealed : callable, optional
        Called with the segment's name, in the background thread, after each seal; it must not raise or take long.

    Attributes
    ----------
    dropped : int
        Records not taken because the disk did not keep up.
    failed : int
        Records taken that could not be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_rows: int = 2_000,
        idle_seconds: float = 1.5,
        age_seconds: float = 10.0,
        linger_seconds: float = 0.1,
        capacity: int = 200_000,
        on_sealed: Callable[[str], None] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.hash_key = hash_key(folder.parent)
        self.dropped = 0
        self.failed = 0
        self._segment_rows = segment_rows
        self._idle_seconds = idle_seconds
        self._age_seconds = age_seconds
        self._linger_seconds = linger_seconds
        self._hurry = threading.Event()
        self._on_sealed = on_sealed
        self._queue: queue.Queue[list[dict[str, Any]] | threading.Event | None] = queue.Queue()
        self._waiting = 0
        self._capacity = capacity
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._write_all, name="spool", daemon=True)
        self._thread.start()

    def append(self, records: list[dict[str, Any]]) -> None:
        """Take `records`; returns at once, they are on disk a moment later."""
        with self._lock:
            if self._waiting + len(records) > self._capacity:
                self.dropped += len(records)
                return
            self._waiting += len(records)
        self._queue.put(records)

    def flush(self) -> None:
        """Wait until everything taken so far is on disk and sealed."""
        done = threading.Event()
        self._queue.put(done)
        self._hurry.set()
        done.wait()

    def close(self) -> None:
        """Seal what is there and stop the thread."""
        self._queue.put(None)
        self._hurry.set()
        self._thread.join()

    def _write_all(self) -> None:
        segment: SegmentWriter | None = None
        while True:
            try:
                item = self._queue.get(timeout=self._idle_seconds)
            except queue.Empty:
                self._seal(segment)
                segment = None
                continue
            if isinstance(item, list):
                self._hurry.wait(self._linger_seconds)
                batch = [*item, *self._more()]
                with self._lock:
                    self._waiting -= len(batch)
                segment = self._write(segment, batch)
                continue
            self._hurry.clear()
            self._seal(segment)
            segment = None
            if item is None:
                return
            item.set()

    def _write(self, segment: SegmentWriter | None, batch: list[dict[str, Any]]) -> SegmentWriter | None:
        """Write to the segment, or to a new one; return it while it may grow."""
        lines = self._encode(batch)
        try:
            segment = segment or SegmentWriter(self.folder)
            segment.write(lines)
        except OSError:
            # a full disk must not stop the service; what is lost is counted and shown by /metrics
            self.failed += len(lines)
        else:
            if segment.rows < self._segment_rows and segment.age_seconds < self._age_seconds:
                return segment
        # full, old, or its end may be torn: in each case nothing is written behind it
        self._seal(segment)
        return None

    def _encode(self, batch: list[dict[str, Any]]) -> list[bytes]:
        """Return the lines of those records that JSON can say; one that it cannot must not take others with it."""
        lines = []
        for record in batch:
            try:
                lines.append(encode(record))
            except (TypeError, ValueError):
                self.failed += 1
        return lines

    def _more(self) -> list[dict[str, Any]]:
        """Return what else waits by now: one sync to disk serves many requests."""
        found: list[dict[str, Any]] = []
        while len(found) < self._segment_rows and not self._queue.empty() and isinstance(self._queue.queue[0], list):
            found.extend(self._queue.get())  # type: ignore[arg-type]
        return found

    def _seal(self, segment: SegmentWriter | None) -> None:
        """Make a segment readable, where there is one with rows."""
        if segment is not None and segment.rows:
            try:
                name = segment.seal()
            except OSError:
                self.failed += segment.rows
            else:
                if self._on_sealed is not None:
                    self._on_sealed(name)
