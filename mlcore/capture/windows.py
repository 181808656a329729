"""When a slice of live traffic is over: windows follow the calendar of the data, not of the clock."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.policy.monitoring import Period, WindowRule


@dataclass(frozen=True, slots=True)
class DueWindow:
    """A window that can be closed."""

    cadence: str
    starts_at: datetime
    ends_at: datetime
    rows: int
    labelled: int

    def id(self, usecase: str) -> str:
        """Return the window's name, the same whoever closes it."""
        return f"{usecase}/{self.cadence}/{self.starts_at:%Y-%m-%dT%H}"


def period_start(at: datetime, period: Period) -> datetime:
    """Return when the calendar period (UTC, weeks from Monday) around `at` began.

    Examples
    --------
    >>> period_start(datetime(2026, 5, 20, 13, 45, tzinfo=UTC), "week").isoformat()
    '2026-05-18T00:00:00+00:00'
    """
    at = at.astimezone(UTC)
    hour = at.replace(minute=0, second=0, microsecond=0)
    if period == "hour":
        return hour
    day = hour.replace(hour=0)
    if period == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == "month" else day


def period_end(start: datetime, period: Period) -> datetime:
    """Return when the period that began at `start` is over."""
    if period == "month":
        return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
    return start + {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}[period]


def due_windows(
    rows: pd.DataFrame, rules: Sequence[WindowRule], closed: Collection[tuple[str, datetime]], *, flush: bool = False
) -> list[DueWindow]:
    """Return the windows that are over and not closed yet, in the order of time.

    A window is over when a row from beyond its end has been seen. One whose checks need labels also waits until
    every row has one, or until a row from `label_wait` beyond its end has been seen.

    Parameters
    ----------
    rows : DataFrame of shape (n_rows, 2)
        ``at``, the event time, and ``labelled``, of every captured row.
    rules : sequence of WindowRule
    closed : collection of (cadence, start)
        Windows closed before.
    flush : bool, default=False
        Close what has begun although it is not over: for people, and for the end of a replay.
    """
    if rows.empty:
        return []
    watermark = rows["at"].max().to_pydatetime()
    found = []
    for rule in rules:
        members = rows["labelled"].groupby(_starts(rows["at"], rule.period)).agg(["size", "sum"])
        for start, size, labelled in members.itertuples():
            begin = start.to_pydatetime()
            window = DueWindow(rule.name, begin, period_end(begin, rule.period), int(size), int(labelled))
            if (rule.name, begin) not in closed and (flush or _is_over(window, rule, watermark)):
                found.append(window)
    return sorted(found, key=lambda window: (window.ends_at, window.cadence))


def _starts(times: pd.Series, period: Period) -> pd.Series:
    """Return `period_start` of every time at once."""
    if period == "hour":
        return times.dt.floor("h")
    days = times.dt.floor("D")
    if period == "week":
        return days - times.dt.weekday * timedelta(days=1)
    return days - (times.dt.day - 1) * timedelta(days=1) if period == "month" else days


def _is_over(window: DueWindow, rule: WindowRule, watermark: datetime) -> bool:
    if watermark < window.ends_at:
        return False
    needs_labels = "performance" in rule.checks and window.labelled < window.rows
    return not needs_labels or watermark >= window.ends_at + rule.label_wait
