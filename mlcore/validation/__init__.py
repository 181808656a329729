"""The promotion gate: two models on the same held-out rows, with intervals and guards."""

from mlcore.validation.compare import evaluate
from mlcore.validation.report import EvaluationReport

__all__ = ["EvaluationReport", "evaluate"]
