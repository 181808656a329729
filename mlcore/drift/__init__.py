"""What a model was trained on, kept small, and how far a window has moved from it."""

from mlcore.drift.baseline import Baseline, build_baseline, independent_blocks
from mlcore.drift.detect import ColumnDrift, DriftReport, detect_drift
from mlcore.drift.model import model_baseline, model_drift
from mlcore.drift.multivariate import Detector, MultivariateDrift
from mlcore.drift.whole import row_blocks

__all__ = [
    "Baseline",
    "ColumnDrift",
    "Detector",
    "DriftReport",
    "MultivariateDrift",
    "build_baseline",
    "detect_drift",
    "independent_blocks",
    "model_baseline",
    "model_drift",
    "row_blocks",
]
