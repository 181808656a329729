"""The past, cut into the windows that monitoring would have closed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.capture.windows import period_end, period_start
from mlcore.errors import TrainingError

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.policy.monitoring import Period, WindowRule
    from mlcore.usecase import UseCase

#: Share of the windows that the first model is trained on, where nobody says how many.
_INITIAL_FRACTION: Final = 0.2
_HOURS: Final = {"hour": 1, "day": 24, "week": 168, "month": 730}
_LEAST_ROWS: Final = 30


@dataclass(frozen=True, slots=True)
class Past:
    """Rows in the order of time, and where each window begins among them.

    Parameters
    ----------
    frame : DataFrame
        Contract columns, by time.
    rule : WindowRule
        The cadence; labels of a row are known `rule.label_wait` after it.
    starts : tuple of datetime
        Windows with rows, by time.
    time : str
        Name of the time column.
    target : str
    initial : int
        So many windows are what the first model is trained on.
    """

    frame: pd.DataFrame
    rule: WindowRule
    starts: tuple[datetime, ...]
    time: str
    target: str
    initial: int

    @property
    def label_delay(self) -> timedelta:
        """How long after a row its label is known."""
        return self.rule.label_wait

    @property
    def first_cutoff(self) -> datetime:
        """The first model is trained on the rows before this."""
        return self.starts[self.initial]

    @property
    def replayed(self) -> tuple[datetime, ...]:
        """Windows that begin when the first model can be there."""
        return tuple(start for start in self.starts if start >= self.first_cutoff + self.label_delay)

    def end(self, start: datetime) -> datetime:
        """Return when the window is over."""
        return period_end(start, self.rule.period)

    def judged_at(self, start: datetime) -> datetime:
        """Return when its labels are known: the moment it is judged, and a model may be trained."""
        return self.end(start) + self.label_delay

    def between(self, since: datetime, until: datetime) -> pd.DataFrame:
        """Return the rows of ``[since, until)`` with a fresh index."""
        first, last = self.frame[self.time].searchsorted([since, until])
        return self.frame.iloc[int(first) : int(last)].reset_index(drop=True)

    def rows(self, start: datetime) -> pd.DataFrame:
        """Return a window."""
        return self.between(start, self.end(start))

    def labelled(self, since: datetime, until: datetime) -> int:
        """Return how many rows of ``[since, until)`` have a label."""
        return int(self.between(since, until)[self.target].notna().sum())

    def known(self, cutoff: datetime, without: Collection[datetime] = ()) -> pd.DataFrame:
        """Return the rows before `cutoff` that are not in one of the windows `without`: a training set."""
        times = self.frame[self.time]
        kept = np.asarray(times < cutoff)
        for start in without:
            first, last = times.searchsorted([start, self.end(start)])
            kept[int(first) : int(last)] = False
        return self.frame[kept].reset_index(drop=True)


def cut(frame: pd.DataFrame, usecase: UseCase, *, period: Period | None = None, initial: int | None = None) -> Past:
    """Cut `frame` into windows of the first cadence that checks performance.

    Parameters
    ----------
    frame : DataFrame
        Contract columns in any order of rows; rows without a time are left out.
    usecase : UseCase
    period : {"hour", "day", "week", "month"}, optional
        Replay in windows of this length instead of the cadence's.
    initial : int, optional
        Windows that the first model is trained on; by default a fifth of them, at least two.

    Raises
    ------
    TrainingError
        If there is no time column, no cadence with performance, or too little past.
    """
    contract = usecase.contract
    rule = next((rule for rule in usecase.monitoring.windows if "performance" in rule.checks), None)
    if contract.time is None:
        raise TrainingError(
            "this use case cannot be replayed",
            subject=usecase.name,
            expected="a column with role: time",
            got="none",
            remedy="Name the column that orders the rows: role: time in the contract, or `mlops init --time`.",
        )
    if rule is None:
        raise TrainingError(
            "this use case cannot be replayed",
            subject=usecase.name,
            expected="a window cadence that checks performance",
            remedy="Add performance to the checks of one of monitoring.windows.",
        )
    if period is not None:
        rule = _shortened(rule, period)
    time = contract.time.name
    ordered = frame[frame[time].notna()].sort_values(time, kind="stable").reset_index(drop=True)
    if not ordered[contract.target.name].notna().any():
        raise TrainingError(
            "there is nothing to judge by",
            subject=usecase.name,
            expected=f"values of {contract.target.name}",
            got=f"none in {len(ordered):,} rows",
            remedy="Replay a file that has the labels.",
        )
    starts = _starts(ordered[time], rule.period)
    chosen = max(2, int(len(starts) * _INITIAL_FRACTION)) if initial is None else initial
    past = Past(ordered, rule, starts, time, contract.target.name, chosen)
    if chosen < 1 or len(starts) <= chosen or len(past.replayed) < 2:
        wait = f", {words(rule.label_wait)} for labels" if rule.label_wait else ""
        raise TrainingError(
            "too little past to replay",
            subject=usecase.name,
            expected=f"{max(chosen, 1)} windows for the first model{wait}, and at least 2 windows to replay",
            got=f"{len(ordered):,} rows, {rule.period}s with rows: {len(starts)}",
            remedy="Bring more rows, or replay in shorter windows (--period); label_wait may be shorter, too.",
        )
    return past


def _shortened(rule: WindowRule, period: Period) -> WindowRule:
    """Return the cadence in windows of another length, the rows it takes to judge one in the same proportion."""
    share = _HOURS[period] / _HOURS[rule.period]
    least = max(min(rule.minimum_rows, _LEAST_ROWS), round(rule.minimum_rows * share))
    return rule.model_copy(update={"period": period, "name": f"by_{period}", "minimum_rows": least})


def _starts(times: Any, period: Period) -> tuple[datetime, ...]:
    days = times.dt.floor("h" if period == "hour" else "D").unique()
    return tuple(sorted({period_start(day.to_pydatetime(), period) for day in days}))


def words(time: timedelta) -> str:
    """Return a duration as people say it."""
    hours = time.total_seconds() / 3600
    return f"{hours / 24:g} days" if hours >= 48 else f"{hours:g} hours"
