"""What happened in a window, per feature and overall, with the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np

from mlcore.diagnosis.clock import clock_faults
from mlcore.diagnosis.exchanged import swapped
from mlcore.diagnosis.findings import FeatureDiagnosis, Times, fault, numbers, open_columns
from mlcore.diagnosis.fixed import contradicting, flickers, never_so_still
from mlcore.diagnosis.piles import piled
from mlcore.diagnosis.relations import Relations
from mlcore.diagnosis.season import season_of
from mlcore.diagnosis.signatures import LEAST_ROWS, broken_text, missing_burst, seldom_moves, stuck
from mlcore.diagnosis.units import wrong_units
from mlcore.drift.baseline import PREDICTION, SCORE, CategoryBaseline, NumericBaseline
from mlcore.drift.sample import microseconds

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import DataContract
    from mlcore.drift import Baseline, DriftReport
    from mlcore.performance import Estimate, Performance

Cause = Literal[
    "data_fault",
    "harmful_shift",
    "concept_change",
    "estimated_harm",
    "harmless_shift",
    "season",
    "healthy",
    "too_little_data",
]

#: Windows that later ones are not compared with: their data was not sound, or not enough.
NO_REFERENCE: Final[frozenset[Cause]] = frozenset({"data_fault", "too_little_data"})
#: Of longer windows so many evenly spaced rows are enough for what compares whole rows.
_MOST_ROWS: Final = 20_000


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
class Diagnosis:
    """The cause of what was seen in a window.

    Parameters
    ----------
    cause : str
        ``data_fault``: the data is wrong, not the world. ``harmful_shift``: inputs moved and the error grew.
        ``concept_change``: the error grew though no input moved, so the relation did. ``estimated_harm``: labels are
        missing, and the error is estimated to have grown. ``harmless_shift``: inputs moved, the error did not grow.
        ``season``: inputs moved as they had in training in the same season, and the error did not grow.
        ``too_little_data``: nothing can be said.
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
    *,
    recent: pd.DataFrame | None = None,
    minimum_rows: int = 0,
    estimate: Estimate | None = None,
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
    recent : DataFrame, optional
        The last healthy window: of the same season, so that less has to be explained by a fault.
    minimum_rows : int, default=0
        With fewer nothing is said of the window, neither that it is faulty nor that it is not.
    estimate : Estimate, optional
        What the error is expected to be; it speaks only where `performance` has too few labels.
    """
    evidence = {
        "rows": len(frame),
        "failed_checks": [check.sentence for check in quality.failures] if quality else [],
        "drifted": [item.name for item in drift.drifted] if drift else [],
        "performance": performance.to_json() if performance else None,
        "estimate": estimate.to_json() if estimate else None,
        "whole_rows": drift.multivariate.sentence if drift and drift.multivariate else None,
    }
    if len(frame) < minimum_rows:
        known = f"{len(frame):,} rows, {minimum_rows:,} are asked for."
        return Diagnosis("too_little_data", f"There is too little data to judge by: {known}", (), evidence)
    harmed = performance is not None and performance.outcome == "harmed"
    faults = _faults(contract, baseline, frame, quality, recent, harmed=harmed) if quality is not None else ()
    if faults:
        names = ", ".join(dict.fromkeys(fault.name for fault in faults))
        sentence = f"The data is faulty in {names}: {faults[0].sentence}"
        return Diagnosis("data_fault", sentence, faults, evidence)
    seasons = _seasons(contract, baseline, frame, drift) if drift is not None else {}
    evidence["season"] = list(seasons.values())
    shifts = tuple(item for item in _shifts(drift) if item.name not in seasons) if drift is not None else ()
    moved = ", ".join(shift.name for shift in shifts[:3]) + (f" and {len(shifts) - 3} more" if len(shifts) > 3 else "")
    if performance is not None and harmed:
        if shifts:
            return Diagnosis(
                "harmful_shift", f"{moved} moved and the model is harmed: {performance.sentence}", shifts, evidence
            )
        sentence = f"The model is harmed though no input moved: the relation changed. {performance.sentence}"
        return Diagnosis("concept_change", sentence, (), evidence)
    guess = estimate if performance is None or performance.outcome == "too_little_data" else None
    if guess is not None and guess.outcome in ("harmed", "suspected"):
        told = f"{moved or 'Inputs'} moved to where the model errs more. {guess.sentence}"
        return Diagnosis("harmful_shift" if guess.outcome == "harmed" else "estimated_harm", told, shifts, evidence)
    too_little = (drift is not None and drift.outcome == "too_little_data") or (
        performance is not None and performance.outcome == "too_little_data" and not shifts
    )
    if too_little:
        known = (
            performance.sentence
            if performance and performance.outcome == "too_little_data"
            else f"{len(frame):,} rows."
        )
        told = f" {guess.sentence}" if guess is not None and guess.value is not None else ""
        return Diagnosis("too_little_data", f"There is too little data to judge by: {known}{told}", (), evidence)
    if shifts:
        told = f" without harm: {performance.sentence}" if performance else "; harm is not measured in this cadence."
        if guess is not None and guess.value is not None:
            told = f"; no harm is to be expected. {guess.sentence}"
        return Diagnosis("harmless_shift", f"{moved} moved{told}", shifts, evidence)
    if seasons:
        sentence = f"Only the season has changed: {'; '.join(seasons.values())}."
        return Diagnosis("season", sentence, (), evidence)
    return Diagnosis("healthy", performance.sentence if performance else "Nothing is wrong.", (), evidence)


def _shifts(drift: DriftReport) -> tuple[FeatureDiagnosis, ...]:
    """Return the columns that moved, each alone or, where none did, those whose relation to the others did."""
    alone = tuple(FeatureDiagnosis(item.name, "shift", item.sentence, item.psi) for item in drift.drifted)
    if drift.joint is None:
        return alone
    sentence = f"alone it did not move, together with others it did. {drift.joint.sentence}"
    together = tuple(
        FeatureDiagnosis(name, "shift", f"{name}: {sentence}", share) for name, share in drift.joint.columns
    )
    return alone + together or (FeatureDiagnosis("whole rows", "shift", drift.joint.sentence, 0.0),)


def _seasons(contract: DataContract, baseline: Baseline, frame: pd.DataFrame, drift: DriftReport) -> dict[str, str]:
    """Return what the calendar says of each drifted column whose move it explains."""
    drifted = [item.name for item in drift.drifted]
    if not drifted or contract.time is None:
        return {}
    rows = _rows(contract, baseline, frame)
    independent, time = baseline.blocks / max(1, baseline.rows), contract.time.name
    told = {name: season_of(name, baseline.sample, rows, time, independent=independent) for name in drifted}
    found = {name: sentence for name, sentence in told.items() if sentence is not None}
    # one model gives other answers because its inputs are others
    left = set(drifted) - found.keys()
    if found and left and left <= {PREDICTION, SCORE}:
        found |= dict.fromkeys(sorted(left), "the predictions follow")
    return found


def _faults(
    contract: DataContract,
    baseline: Baseline,
    frame: pd.DataFrame,
    quality: Quality,
    recent: pd.DataFrame | None,
    *,
    harmed: bool,
) -> tuple[FeatureDiagnosis, ...]:
    failed = {check.column: check.sentence for check in quality.failures}
    found = {}
    if len(frame) >= LEAST_ROWS:
        found = _signatures(contract, baseline, frame, recent, frozenset(failed), harmed=harmed)
    for column in contract.inputs:
        if column.name in failed:
            found.setdefault(column.name, fault(column.name, failed[column.name]))
    if "" in failed:
        found[""] = fault("the table", failed[""])
    return tuple(found.values())


def _signatures(
    contract: DataContract,
    baseline: Baseline,
    frame: pd.DataFrame,
    recent: pd.DataFrame | None,
    broken: frozenset[str],
    *,
    harmed: bool,
) -> dict[str, FeatureDiagnosis]:
    """Return the faults whose marks the window bears, by column; of several marks of one the first is told."""
    columns = open_columns(contract, frame)
    rows = _rows(contract, baseline, frame)
    relations = Relations(contract, baseline, rows.keys())
    time = contract.time.name if contract.time is not None else ""
    times = Times(rows[time], baseline.sample[time]) if time in rows and time in baseline.sample else None
    found: dict[str, FeatureDiagnosis] = {}
    for column in columns:
        told, sample = None, baseline.sample.get(column.name)
        known = baseline.numeric.get(column.name) or baseline.categories.get(column.name)
        if known is not None:
            missing = int(frame[column.name].isna().sum())
            told = missing_burst(column, known, missing, len(frame), harmed=harmed, sample=sample, times=times)
        if told is None and isinstance(known, NumericBaseline):
            expected = relations.expected(column.name, rows)
            told = stuck(column, known, rows[column.name], expected, sample, times)
        elif told is None and isinstance(known, CategoryBaseline) and column.type == "category":
            told = broken_text(column, known, rows[column.name])
        if told is not None:
            found[column.name] = fault(column.name, told)
    earlier = _rows(contract, baseline, recent) if recent is not None else {}
    for item in clock_faults(contract, baseline, frame, rows, earlier):
        found.setdefault(item.name, item)
    step = max(1, len(frame) // _MOST_ROWS)
    thin = {name: values[::step] for name, values in rows.items()}
    # a column that is stuck or missing cannot be compared any further
    left = [column for column in columns if column.name not in found]
    for item in swapped(left, baseline, thin, earlier, relations):
        found.setdefault(item.name, item)
    left = [column for column in left if column.name not in found]
    for item in wrong_units(left, baseline, thin, earlier, relations, broken):
        found.setdefault(item.name, item)
    for column in left:
        if column.name in baseline.numeric and column.name not in found:
            expected = relations.expected(column.name, rows)
            known, sample = baseline.numeric[column.name], baseline.sample.get(column.name)
            told = piled(column, known, rows[column.name], expected, sample, times)
            told = told or _fixed(column.name, baseline, relations, rows, earlier, times)
            if told is not None:
                found[column.name] = fault(column.name, told)
    return found


def _fixed(
    name: str,
    baseline: Baseline,
    relations: Relations,
    rows: Mapping[str, Any],
    earlier: Mapping[str, Any],
    times: Times | None,
) -> str | None:
    """Return what is said of a column that has one value where it should have others."""
    sample = baseline.sample
    if name not in sample:
        return None
    seldom = seldom_moves(sample[name])
    if times is not None and not seldom and never_so_still(rows[name], sample[name], times, earlier.get(name)):
        return f"{name} is {rows[name][np.isfinite(rows[name])][0]:g} in all rows, as no such stretch of training was"
    if times is not None and seldom and flickers(rows[name], times.window, sample[name]):
        return f"{name} changes from row to row, as it never did"
    told = [relations.expected(name, values) if name in values else None for values in (rows, sample, earlier)]
    if told[0] is None or told[1] is None or (times is None and seldom):
        return None
    last = None if told[2] is None else (earlier[name], told[2])
    found = contradicting(rows[name], told[0], sample[name], told[1], last, times)
    if found is None:
        return None
    return f"{name} is {found[0]:g} in {found[1]:.0%} of the rows, where the other columns say another value"


def _rows(contract: DataContract, baseline: Baseline, frame: pd.DataFrame) -> dict[str, Any]:
    """Return the columns that can be looked at: numbers as floats, categories as text, the time in microseconds."""
    found: dict[str, Any] = {}
    for column in open_columns(contract, frame):
        if column.name in baseline.numeric:
            found[column.name] = numbers(frame, column.name)
        elif column.name in baseline.categories:
            values = frame[column.name]
            found[column.name] = values.astype(object).where(values.notna(), "").astype(str).to_numpy(dtype=str)
    target, time = contract.target, contract.time
    if target.name in frame and (target.is_numeric or target.type == "boolean"):
        found[target.name] = numbers(frame, target.name)
    if time is not None and time.name in frame and frame[time.name].notna().all():
        found[time.name] = microseconds(frame[time.name])
    return found
