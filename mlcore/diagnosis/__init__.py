"""What happened in a window, per feature and overall, with the evidence."""

from mlcore.diagnosis.diagnose import NO_REFERENCE, Cause, Check, Diagnosis, Quality, diagnose
from mlcore.diagnosis.findings import FeatureDiagnosis

__all__ = ["NO_REFERENCE", "Cause", "Check", "Diagnosis", "FeatureDiagnosis", "Quality", "diagnose"]
