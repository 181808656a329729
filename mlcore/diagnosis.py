"""What happened in a window, per feature and overall, with the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np

from mlcore.drift.baseline import NumericBaseline, longest_run
from mlcore.drift.statistics import kolmogorov_smirnov

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import Column, DataContract
    from mlcore.drift import Baseline, DriftReport
    from mlcore.performance import Performance

Cause = Literal["data_fault", "harmful_shift", "concept_change", "harmless_shift", "healthy", "too_little_data"]

#: Wrong units seen in practice: what the values were multiplied by, and what was added.
UNIT_FAULTS: Final[Mapping[str, tuple[float, float]]] = {
    "Fahrenheit instead of Celsius": (1.8, 32.0),
    "Celsius instead of Fahrenheit": (1 / 1.8, -32.0 / 1.8),
    "Kelvin instead of Celsius": (1.0, 273.15),
    "Celsius instead of Kelvin": (1.0, -273.15),
    "feet instead of metres": (3.28084, 0.0),
    "metres instead of feet": (1 / 3.28084, 0.0),
    "miles instead of kilometres": (0.621371, 0.0),
    "kilometres instead of miles": (1.609344, 0.0),
    "pounds instead of kilograms": (2.204623, 0.0),
    "kilograms instead of pounds": (1 / 2.204623, 0.0),
    "percent instead of fractions": (100.0, 0.0),
    "fractions instead of percent": (0.01, 0.0),
    "ten times too large": (10.0, 0.0),
    "ten times too small": (0.1, 0.0),
    "a thousand times too large": (1000.0, 0.0),
    "a thousand times too small": (0.001, 0.0),
    "the sign reversed": (-1.0, 0.0),
}
_LEAST_ROWS_FOR_SIGNATURES: Final = 12
#: Share of missing values beyond the baseline's that is a burst.
_MISSING_BURST: Final = 0.10
#: A unit fault must bring the values this much nearer to the baseline (Kolmogorov-Smirnov distance).
_UNIT_GAIN: Final = 0.3


class Check(Protocol):
    """One quality check: `mlcore.quality.QualityCheck` is one."""

    @property
    def column(self) -> str:
        """The column it is about."""

    @property
    def sentence(self) -> str:
        """What it found."""


class Quality(Protocol):
    """The outcome of quality checks: `mlcore.quality.QualityReport` is one."""

    @property
    def failures(self) -> Sequence[Check]:
        """The checks that do not hold."""


@dataclass(frozen=True, slots=True)
class FeatureDiagnosis:
    """What happened to one column."""

    name: str
    finding: Literal["fault", "shift"]
    sentence: str
    effect: float


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The cause of what was seen in a window.

    Parameters
    ----------
    cause : str
        ``data_fault``: the data is wrong, not the world. ``harmful_shift``: inputs moved and the error grew.
        ``concept_change``: the error grew though no input moved, so the relation did. ``harmless_shift``: inputs
        moved, the error did not grow. ``too_little_data``: nothing can be said.
    sentence : str
    features : tuple of FeatureDiagnosis
    evidence : mapping
        Figures it rests on.
    """

    cause: Cause
    sentence: str
    features: tuple[FeatureDiagnosis, ...]
    evidence: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the ledger."""
        return {"format": 1, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Diagnosis:
        """Return what `to_json` wrote."""
        features = tuple(FeatureDiagnosis(**item) for item in values["features"])
        return cls(values["cause"], values["sentence"], features, values["evidence"])


def diagnose(
    contract: DataContract,
    baseline: Baseline,
    frame: pd.DataFrame,
    quality: Quality | None,
    drift: DriftReport | None,
    performance: Performance | None,
) -> Diagnosis:
    """Name the cause of what was seen in a window.

    Faults come first: nothing else can be said of data that is wrong. Then harm, measured on labels, tells a shift
    that matters from one that does not.

    Parameters
    ----------
    contract : DataContract
    baseline : Baseline
        Of the model that served.
    frame : DataFrame of shape (n_rows, n_columns)
        The window's inputs, in the order of time.
    quality, drift, performance
        What was checked on this window; None where the cadence does not ask for it.
    """
    evidence = {
        "rows": len(frame),
        "failed_checks": [check.sentence for check in quality.failures] if quality else [],
        "drifted": [item.name for item in drift.drifted] if drift else [],
        "performance": performance.to_json() if performance else None,
    }
    faults = _faults(contract, baseline, frame, quality) if quality is not None else ()
    if faults:
        names = ", ".join(dict.fromkeys(fault.name for fault in faults))
        sentence = f"The data is faulty in {names}: {faults[0].sentence}"
        return Diagnosis("data_fault", sentence, faults, evidence)
    shifts = (
        tuple(FeatureDiagnosis(item.name, "shift", item.sentence, item.psi) for item in drift.drifted) if drift else ()
    )
    moved = ", ".join(shift.name for shift in shifts[:3]) + (f" and {len(shifts) - 3} more" if len(shifts) > 3 else "")
    if performance is not None and performance.outcome == "harmed":
        if shifts:
            return Diagnosis(
                "harmful_shift", f"{moved} moved and the model is harmed: {performance.sentence}", shifts, evidence
            )
        sentence = f"The model is harmed though no input moved: the relation changed. {performance.sentence}"
        return Diagnosis("concept_change", sentence, (), evidence)
    too_little = (drift is not None and drift.outcome == "too_little_data") or (
        performance is not None and performance.outcome == "too_little_data" and not shifts
    )
    if too_little:
        known = (
            performance.sentence
            if performance and performance.outcome == "too_little_data"
            else f"{len(frame):,} rows."
        )
        return Diagnosis("too_little_data", f"There is too little data to judge by: {known}", (), evidence)
    if shifts:
        told = f"without harm: {performance.sentence}" if performance else "; harm is not measured in this cadence."
        return Diagnosis("harmless_shift", f"{moved} moved {told}", shifts, evidence)
    return Diagnosis("healthy", performance.sentence if performance else "Nothing is wrong.", (), evidence)


def _faults(
    contract: DataContract, baseline: Baseline, frame: pd.DataFrame, quality: Quality
) -> tuple[FeatureDiagnosis, ...]:
    failed = {check.column: check.sentence for check in quality.failures}
    found: list[FeatureDiagnosis] = []
    for column in contract.inputs:
        signature = None
        before = baseline.numeric.get(column.name)
        if before is not None and len(frame) >= _LEAST_ROWS_FOR_SIGNATURES:
            values = frame[column.name].to_numpy(dtype=float, na_value=np.nan)
            signature = _signature(column, before, values, broken=column.name in failed)
        if signature is not None:
            found.append(FeatureDiagnosis(column.name, "fault", signature, 1.0))
        elif column.name in failed:
            found.append(FeatureDiagnosis(column.name, "fault", failed[column.name], 1.0))
    if "" in failed:
        found.append(FeatureDiagnosis("the table", "fault", failed[""], 1.0))
    return tuple(found)


def _signature(column: Column, before: NumericBaseline, values: np.ndarray[Any, Any], *, broken: bool) -> str | None:
    """Return what kind of fault the values of one column bear the mark of, None where they bear none."""
    missing = float(np.isnan(values).mean())
    present = values[~np.isnan(values)]
    if missing > before.missing_fraction + _MISSING_BURST:
        return f"{missing:.0%} of {column.name} are missing, {before.missing_fraction:.0%} were in training"
    if len(present) < _LEAST_ROWS_FOR_SIGNATURES or before.deviation == 0:
        return None
    # a shift alone is no fault: only where the contract is broken is a wrong unit looked for
    unit = _wrong_unit(column, before, present) if broken else None
    if unit is not None:
        return f"{column.name} is {unit}"
    run = longest_run(present)
    if run == len(present) and run > 2 * before.longest_run:
        return f"{column.name} is stuck at {present[0]:g}"
    return None


def _wrong_unit(column: Column, before: NumericBaseline, present: np.ndarray[Any, Any]) -> str | None:
    now = kolmogorov_smirnov(before.values, np.sort(present))[0]
    best, best_distance = None, now - _UNIT_GAIN
    for name, (factor, offset) in UNIT_FAULTS.items():
        restored = np.sort((present - offset) / factor)
        low = -np.inf if column.minimum is None else column.minimum
        high = np.inf if column.maximum is None else column.maximum
        if restored[0] < low or restored[-1] > high:
            continue
        distance = kolmogorov_smirnov(before.values, restored)[0]
        if distance < best_distance:
            best, best_distance = name, distance
    return f"in {best}" if best and " instead of " in best else best
