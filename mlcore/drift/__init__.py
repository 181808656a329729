"""What a model was trained on, kept small, and how far a window has moved from it."""

from mlcore.drift.baseline import Baseline, build_baseline, independent_blocks
from mlcore.drift.detect import ColumnDrift, DriftReport, detect_drift

__all__ = ["Baseline", "ColumnDrift", "DriftReport", "build_baseline", "detect_drift", "independent_blocks"]
