"""The spool: what a service writes without ever making a request wait, whole records whatever is killed when."""

from __future__ import annotations

import json
import os
import queue
import secrets
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

OPEN: Final = ".open"
SEALED: Final = ".sealed"


class Spool:
    """A folder of segments: JSON lines, each with a checksum, written by one background thread.

    Parameters
    ----------
    folder : Path
        One folder a use case; several processes may write into it, each its own segments.
    segment_rows : int, default=2000
        A segment with so many records is sealed.
    idle_seconds : float, default=1.5
        An unsealed segment that has not grown for so long is sealed.
    capacity : int, default=200_000
        Records that may wait for the disk; more are dropped and counted, a request never waits.
    on_sealed : callable, optional
        Called with the segment's name, in the background thread, after each seal.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_rows: int = 2_000,
        idle_seconds: float = 1.5,
        capacity: int = 200_000,
        on_sealed: Callable[[str], None] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.dropped = 0
        self.failed = 0
        self._segment_rows = segment_rows
        self._idle_seconds = idle_seconds
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
        done.wait()

    def close(self) -> None:
        """Seal what is there and stop the thread."""
        self._queue.put(None)
        self._thread.join()

    def _write_all(self) -> None:
        segment: _Segment | None = None
        while True:
            try:
                item = self._queue.get(timeout=self._idle_seconds)
            except queue.Empty:
                self._seal(segment)
                segment = None
                continue
            if isinstance(item, list):
                batch = [*item, *self._more()]
                with self._lock:
                    self._waiting -= len(batch)
                segment = self._write(segment, batch)
                continue
            self._seal(segment)
            segment = None
            if item is None:
                return
            item.set()

    def _write(self, segment: _Segment | None, batch: list[dict[str, Any]]) -> _Segment | None:
        """Write to the segment, or to a new one; return it while it may grow."""
        try:
            segment = segment or _Segment(self.folder)
            segment.write(batch)
        except OSError:
            # a full disk must not stop the service; what is lost is counted and shown by /metrics
            self.failed += len(batch)
        else:
            if segment.rows < self._segment_rows:
                return segment
        # full, or its end may be torn: either way nothing is written behind it
        self._seal(segment)
        return None

    def _more(self) -> list[dict[str, Any]]:
        """Return what else waits right now: one sync to disk serves many requests."""
        found: list[dict[str, Any]] = []
        while len(found) < self._segment_rows and not self._queue.empty() and isinstance(self._queue.queue[0], list):
            found.extend(self._queue.get())  # type: ignore[arg-type]
        return found

    def _seal(self, segment: _Segment | None) -> None:
        """Make a segment readable, where there is one with rows."""
        if segment is not None and segment.rows:
            try:
                name = segment.seal()
            except OSError:
                self.failed += segment.rows
            else:
                if self._on_sealed is not None:
                    self._on_sealed(name)


class _Segment:
    """One file that grows until it is sealed."""

    def __init__(self, folder: Path) -> None:
        name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}"
        self._path = folder / f"{name}{OPEN}"
        self._file = self._path.open("xb")
        self.rows = 0

    def write(self, records: list[dict[str, Any]]) -> None:
        self._file.write(b"".join(_line(record) for record in records))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.rows += len(records)

    def seal(self) -> str:
        self._file.close()
        sealed = self._path.with_suffix(SEALED)
        self._path.rename(sealed)
        return sealed.stem


def sealed_segments(folder: Path) -> list[Path]:
    """Return the segments ready to be read, oldest first; those of dead processes are sealed here."""
    for path in folder.glob(f"*{OPEN}"):
        if not _is_alive(int(path.stem.split("-")[1])):
            path.rename(path.with_suffix(SEALED))
    return sorted(folder.glob(f"*{SEALED}"))


def read_segment(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole records of a segment; a torn end, left by a kill, is passed over."""
    with path.open("rb") as file:
        for line in file:
            checksum, _, body = line.partition(b" ")
            if line.endswith(b"\n") and checksum == b"%08x" % zlib.crc32(body):
                yield json.loads(body)


def _line(record: dict[str, Any]) -> bytes:
    body = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    return b"%08x " % zlib.crc32(body) + body


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
