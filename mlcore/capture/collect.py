"""Moving sealed segments into the lake, each exactly once, and nothing without a trace."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlcore.capture.records import PREDICTION
from mlcore.capture.segments import Segment, load_segment, sealed_segments
from mlcore.failpoints import failpoint

if TYPE_CHECKING:
    from mlcore.capture.store import CaptureStore

#: Folder in the spool with what could not be stored: torn lines, values that are not what the contract says.
UNREADABLE: Final = "unreadable"
_BYTES_AT_ONCE: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CollectReport:
    """What was moved, and how many lines could not be; those are in the spool's folder ``unreadable``."""

    segments: int
    predictions: int
    labels: int
    unreadable: int = 0


def collect(spool: Path, store: CaptureStore) -> CollectReport:
    """Append every sealed segment to `store`, then remove it.

    Killed in between, the next call sees by the commits which segments are there already. One call works at a time;
    another waits for it.
    """
    if not spool.is_dir():
        return CollectReport(0, 0, 0)
    segments = predictions = labels = unreadable = 0
    with _alone(spool):
        for group in _groups(sealed_segments(spool)):
            loaded = [load_segment(path) for path in group]
            refused = store.append({segment.name: segment.records for segment in loaded})
            failpoint("capture.after-append")
            for path, segment in zip(group, loaded, strict=True):
                bad = refused.get(segment.name, [])
                _keep_unreadable(spool, segment, bad)
                failpoint("capture.before-remove")
                path.unlink()
                rows = sum(record["kind"] == PREDICTION for record in segment.records)
                bad_rows = sum(record["kind"] == PREDICTION for record in bad)
                segments += 1
                predictions += rows - bad_rows
                labels += len(segment.records) - rows - (len(bad) - bad_rows)
                unreadable += len(segment.damaged) + len(bad)
    return CollectReport(segments, predictions, labels, unreadable)


@contextmanager
def _alone(spool: Path) -> Iterator[None]:
    with (spool / ".collecting").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _groups(paths: list[Path]) -> Iterator[list[Path]]:
    """Yield segments to commit together: after a long time without collection, few large commits."""
    group: list[Path] = []
    size = 0
    for path in paths:
        group.append(path)
        size += path.stat().st_size
        if size >= _BYTES_AT_ONCE:
            yield group
            group, size = [], 0
    if group:
        yield group


def _keep_unreadable(spool: Path, segment: Segment, refused: list[dict[str, object]]) -> None:
    lines = segment.damaged + [json.dumps(record).encode() + b"\n" for record in refused]
    if lines:
        folder = spool / UNREADABLE
        folder.mkdir(exist_ok=True)
        (folder / f"{segment.name}.jsonl").write_bytes(b"".join(lines))
