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

#: What the values of a wrong unit were multiplied by, and what was added, for each unit a contract may name.
UNIT_FAULTS: Final[Mapping[str, Mapping[str, tuple[float, float]]]] = {
    "°C": {"in Fahrenheit, not Celsius": (1.8, 32.0), "in Kelvin, not Celsius": (1.0, 273.15)},
    "°F": {"in Celsius, not Fahrenheit": (1 / 1.8, -32.0 / 1.8)},
    "K": {"in Celsius, not Kelvin": (1.0, -273.15)},
    "m": {"in feet, not metres": (3.28084, 0.0), "in kilometres, not metres": (0.001, 0.0)},
    "ft": {"in metres, not feet": (1 / 3.28084, 0.0)},
    "km": {"in miles, not kilometres": (0.621371, 0.0), "in metres, not kilometres": (1000.0, 0.0)},
    "km/h": {"in miles per hour": (0.621371, 0.0), "in metres per second": (1 / 3.6, 0.0)},
    "mi": {"in kilometres, not miles": (1.609344, 0.0)},
    "kg": {"in pounds, not kilograms": (2.204623, 0.0), "in grams, not kilograms": (1000.0, 0.0)},
    "lb": {"in kilograms, not pounds": (1 / 2.204623, 0.0)},
    "%": {"a fraction, not percent": (0.01, 0.0)},
    "s": {"in milliseconds, not seconds": (1000.0, 0.0)},
    "min": {"in seconds, not minutes": (60.0, 0.0), "in hours, not minutes": (1 / 60, 0.0)},
}
#: What goes wrong with a number whatever its unit.
SCALE_FAULTS: Final[Mapping[str, tuple[float, float]]] = {
    "ten times too large": (10.0, 0.0),
    "ten times too small": (0.1, 0.0),
    "a hundred times too large": (100.0, 0.0),
    "a hundred times too small": (0.01, 0.0),
    "a thousand times too large": (1000.0, 0.0),
    "a thousand times too small": (0.001, 0.0),
    "of the opposite sign": (-1.0, 0.0),
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
    if run == len(present) and run > before.longest_run:
        return f"{column.name} is stuck at {present[0]:g}"
    return None


def _wrong_unit(column: Column, before: NumericBaseline, present: np.ndarray[Any, Any]) -> str | None:
    """Return which unit or scale would explain values that break the contract.

    A unit that the contract's own unit is commonly mistaken for is believed when it brings every value back into the
    contract; a mere factor only when it also brings them much nearer to the baseline.
    """
    now = kolmogorov_smirnov(before.values, np.sort(present))[0]
    for faults, limit in ((UNIT_FAULTS.get(column.unit, {}), now), (SCALE_FAULTS, now - _UNIT_GAIN)):
        distances = {}
        for name, (factor, offset) in faults.items():
            restored = np.sort((present - offset) / factor)
            if _in_range(column, restored):
                distances[name] = kolmogorov_smirnov(before.values, restored)[0]
        best = min(distances, key=lambda name: distances[name], default=None)
        if best is not None and distances[best] <= limit:
            return best
    return None


def _in_range(column: Column, ordered: np.ndarray[Any, Any]) -> bool:
    low = -np.inf if column.minimum is None else column.minimum
    high = np.inf if column.maximum is None else column.maximum
    return bool(ordered[0] >= low and ordered[-1] <= high)
