"""Moving sealed segments into the lake, each exactly once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlcore.capture.records import PREDICTION
from mlcore.capture.spool import read_segment, sealed_segments

if TYPE_CHECKING:
    from mlcore.capture.store import CaptureStore


@dataclass(frozen=True, slots=True)
class CollectReport:
    """What was moved."""

    segments: int
    predictions: int
    labels: int


def collect(spool: Path, store: CaptureStore) -> CollectReport:
    """Append every sealed segment to `store`, then remove it.

    Killed in between, the next call sees by the commits which segments are there already.
    """
    segments = predictions = labels = 0
    for path in sealed_segments(spool) if spool.is_dir() else ():
        records = list(read_segment(path))
        rows = [record for record in records if record["kind"] == PREDICTION]
        truths = [record for record in records if record["kind"] != PREDICTION]
        store.append(path.stem, rows, truths)
        path.unlink(missing_ok=True)
        segments, predictions, labels = segments + 1, predictions + len(rows), labels + len(truths)
    return CollectReport(segments, predictions, labels)
