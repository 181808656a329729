"""Segments: the files of a spool, whole records whatever is killed when."""

from __future__ import annotations

import fcntl
import json
import math
import os
import secrets
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from mlcore.failpoints import failpoint

OPEN: Final = ".open"
SEALED: Final = ".sealed"


class SegmentWriter:
    """A file of JSON lines, each behind its checksum, that grows until it is sealed.

    The file is locked while its writer lives, so that a collector, in another container even, can tell a segment
    that still grows from one whose writer was killed.
    """

    def __init__(self, folder: Path) -> None:
        name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}"
        unlocked = folder / f"{name}.new"
        self._path = folder / f"{name}{OPEN}"
        self._file = unlocked.open("xb")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        # only now visible: no collector can find it without its lock
        unlocked.rename(self._path)
        self._began = time.monotonic()
        self.rows = 0

    @property
    def age_seconds(self) -> float:
        """How long ago it was begun."""
        return time.monotonic() - self._began

    def write(self, lines: list[bytes]) -> None:
        """Append lines of `encode`; they are on disk when this returns."""
        failpoint("segment.before-write")
        self._file.write(b"".join(lines))
        self._file.flush()
        os.fsync(self._file.fileno())
        self.rows += len(lines)

    def seal(self) -> str:
        """Make it readable under its final name; return the segment's name."""
        sealed = self._path.with_suffix(SEALED)
        failpoint("segment.before-seal")
        self._path.rename(sealed)
        self._file.close()
        failpoint("segment.after-seal")
        return sealed.stem


@dataclass(frozen=True, slots=True)
class Segment:
    """What is in a segment: its records, and the lines that a kill or a disk has damaged."""

    name: str
    records: list[dict[str, Any]]
    damaged: list[bytes]


def encode(record: dict[str, Any]) -> bytes:
    """Return a record as a line with its checksum.

    Raises
    ------
    TypeError, ValueError
        If it holds what JSON or UTF-8 cannot say.
    """
    body = _json(record) + b"\n"
    return b"%08x " % zlib.crc32(body) + body


def _json(record: dict[str, Any]) -> bytes:
    """Return it as orjson says it, in a fourth of the time, or as Python does what orjson has no word for."""
    if _is_finite(record):
        try:
            return orjson.dumps(record)
        except TypeError:
            pass  # a whole number of more than 64 bits, or nothing that JSON can say
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()


def _is_finite(value: Any) -> bool:
    """Whether no number in it is NaN or infinite."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return not isinstance(value, list) or all(map(_is_finite, value))


def load_segment(path: Path) -> Segment:
    """Read a segment."""
    records, damaged = [], []
    for line in path.read_bytes().splitlines(keepends=True):
        checksum, _, body = line.partition(b" ")
        if line.endswith(b"\n") and checksum == b"%08x" % zlib.crc32(body):
            records.append(json.loads(body))
        else:
            damaged.append(line)
    return Segment(path.stem, records, damaged)


def read_segment(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole records of a segment; a torn end, left by a kill, is passed over."""
    yield from load_segment(path).records


def sealed_segments(folder: Path) -> list[Path]:
    """Return the segments ready to be read, oldest first; those that a kill left open are sealed here."""
    for path in folder.glob(f"*{OPEN}"):
        if _is_abandoned(path):
            path.rename(path.with_suffix(SEALED))
    return sorted(folder.glob(f"*{SEALED}"))


def _is_abandoned(path: Path) -> bool:
    """Return whether no living process holds the segment."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # its writer may have sealed it while it was opened here
            return path.exists()
    except (BlockingIOError, FileNotFoundError):
        return False
