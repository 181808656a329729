"""How well the served model does: realised where labels are there, estimated where they are not."""

from mlcore.performance.before import REMEMBERED, Validated, possible_before
from mlcore.performance.estimated import Estimate, PerformanceModel, fit_performance_model
from mlcore.performance.realised import Labelled, Performance, realised
from mlcore.slices import Slice, SlicePerformance

__all__ = [
    "REMEMBERED",
    "Estimate",
    "Labelled",
    "Performance",
    "PerformanceModel",
    "Slice",
    "SlicePerformance",
    "Validated",
    "fit_performance_model",
    "possible_before",
    "realised",
]
