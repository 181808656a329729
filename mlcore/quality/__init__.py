"""Data quality: the contract's promises, checked by Great Expectations."""

from mlcore.quality.check import check_table
from mlcore.quality.report import QualityCheck, QualityReport

__all__ = ["QualityCheck", "QualityReport", "check_table"]
