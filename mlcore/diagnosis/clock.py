"""Faults of the clock and of delivery: hours that are missing, came twice, or carry another zone's time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.diagnosis.findings import FeatureDiagnosis, Numbers, fault
from mlcore.drift.sample import HOURS_OF_WEEK

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import DataContract
    from mlcore.drift import Baseline

_HOUR: Final = 3_600_000_000
_DAY: Final = 24 * _HOUR
#: An hour of the week that had rows this often in training is expected to have some.
_EXPECTED: Final = 0.95
#: Three hours of a day; an hour that moves with summer time is less.
_MISSING_FRACTION: Final = 0.12
_LEAST_CHANCE: Final = 1e-3
#: Fewer weeks say nothing of an hour of the week.
_LEAST_WEEKS: Final = 4
#: Of so many days an hour of the day had rows on each, or nothing is said of it.
_LEAST_DAYS: Final = 5
#: A service is asked again now and then; more than this are deliveries that came twice.
_REPEATED: Final = 0.02
#: One hour is summer time.
_LEAST_SHIFT: Final = 2
#: Correlation with the daily pattern: what a shift must reach, and what it must be better by than the clock as it is.
_LIKE_THE_PATTERN, _BETTER = 0.7, 0.3
#: Over a week and more the weather's own course averages out, and less has to be better.
_BETTER_LONG, _LONG = 0.15, 7 * _DAY
#: Where training and the last healthy window both say so less is enough: their noise is not the same.
_BETTER_TWICE: Final = 0.07
#: The hour must tell so much of a column for its pattern to date the window.
_LEAST_EXPLAINED: Final = 0.1
_LEAST_PER_HOUR: Final = 3
_LEAST_ROWS: Final = 18


def clock_faults(
    contract: DataContract,
    baseline: Baseline,
    frame: pd.DataFrame,
    rows: Mapping[str, Any],
    recent: Mapping[str, Any] | None = None,
) -> Iterator[FeatureDiagnosis]:
    """Yield what is wrong with the time stamps of a window, and with the delivery of its rows."""
    yield from _delivered_twice(contract, baseline, frame)
    time = contract.time.name if contract.time else ""
    if time not in rows or time not in baseline.sample:
        return
    weeks = np.ptp(baseline.sample[time]) / (7 * _DAY)
    hours = shifted_clock(baseline.sample, rows, time, recent)
    if hours is not None:
        way = "ahead" if hours > 0 else "behind"
        yield fault(time, f"{time} is {abs(hours)} hours {way} of what the daily pattern says: another time zone?")
    elif weeks >= _LEAST_WEEKS or np.ptp(baseline.sample[time]) >= _LEAST_DAYS * _DAY:
        occupied = baseline.occupied if weeks >= _LEAST_WEEKS else _of_every_day(baseline.occupied, int(7 * weeks))
        missing, expected = missing_hours(occupied, rows[time])
        if expected and missing / expected >= _MISSING_FRACTION and _no_chance(missing, expected, occupied, weeks):
            yield fault(time, f"{missing:,} of {expected:,} hours that always had rows have none")


def _of_every_day(occupied: tuple[float, ...], days: int) -> tuple[float, ...]:
    """Return the hours of the week that had rows, where on so many days the same hour of the day had: in few weeks."""
    by_day = np.asarray(occupied).reshape(-1, 24) >= _EXPECTED
    return tuple((by_day & (by_day.sum(axis=0) >= min(days, 7))).ravel().astype(float).tolist())


def _delivered_twice(contract: DataContract, baseline: Baseline, frame: pd.DataFrame) -> Iterator[FeatureDiagnosis]:
    # a key that repeated in training is none: several rows have one time where nobody named what tells them apart, and
    # then it is all that was sent which tells them apart
    ways = (
        ([column.name for column in contract.keys], baseline.repeated_fraction, "{} repeats"),
        ([column.name for column in contract.inputs], baseline.repeated_rows, "they are others again, {} and all"),
    )
    for names, usual, told in ways:
        if not names or usual is None or usual > _REPEATED or not set(names) <= set(frame.columns):
            continue
        repeated = float(frame.duplicated(subset=names).mean())
        if repeated > usual + _REPEATED:
            keys = ", ".join(column.name for column in contract.keys) or names[0]
            sentence = f"{repeated:.0%} of the rows were delivered twice: {told.format(keys)}"
            yield fault(contract.keys[0].name if contract.keys else names[0], sentence)
            return


def missing_hours(occupied: tuple[float, ...], times: Numbers) -> tuple[int, int]:
    """Return how many hours of the window's days have no row though they always had, and how many always had.

    A day without any row is not counted: a holiday looks like that. Of several days the hours before the first row and
    after the last are not, either: the data may begin or end there.
    """
    if len(occupied) != HOURS_OF_WEEK or not len(times):
        return 0, 0
    seen = np.unique(times // _HOUR)
    days = np.unique(times // _DAY)
    hours = (days[:, None] * 24 + np.arange(24)).ravel()
    if len(days) > 1:
        hours = hours[(hours >= seen[0]) & (hours <= seen[-1])]
    wanted = hours[np.asarray(occupied)[(hours + 72) % HOURS_OF_WEEK] >= _EXPECTED]
    return int((~np.isin(wanted, seen)).sum()), len(wanted)


def _no_chance(missing: int, expected: int, occupied: tuple[float, ...], weeks: float) -> bool:
    """Whether so many hours are hardly ever missing together, each as seldom as those that were expected in training.

    Where few rows come in an hour some hours have none by chance: the binomial tail must be below one in a thousand.
    """
    from scipy.special import bdtrc

    known = np.asarray(occupied)[np.asarray(occupied) >= _EXPECTED]
    seldom = ((1 - known).sum() * weeks + 1) / (len(known) * weeks + 2)
    return bool(bdtrc(missing - 1, expected, seldom) <= _LEAST_CHANCE)


def shifted_clock(
    sample: Mapping[str, Any], rows: Mapping[str, Any], time: str, recent: Mapping[str, Any] | None = None
) -> int | None:
    """Return by how many hours the window's clock is ahead of the daily pattern; None where it is not.

    The patterns are the mean of each number, of the target and of the count of rows by hour of the day; a window fits
    as well as it correlates with them. Where the last healthy window, of the same season, has the same to say, a
    smaller gain is believed.
    """
    if len(rows[time]) < _LEAST_ROWS:
        return None
    scores = _fits(sample, rows, time)
    best = _best(scores)
    if best is None:
        return None
    margin = _BETTER_LONG if np.ptp(rows[time]) >= _LONG - _DAY else _BETTER
    if recent is not None and time in recent and len(recent[time]) >= _LEAST_ROWS:
        since = _fits(recent, rows, time)
        last = _best(since)
        if last is not None and abs(last - best) <= 1 and _gain(since, last) >= _BETTER_TWICE:
            margin = _BETTER_TWICE
    return best if _gain(scores, best) >= margin else None


def _fits(known: Mapping[str, Any], rows: Mapping[str, Any], time: str) -> dict[int, float]:
    """Return how well the window correlates with daily patterns, for each number of hours that they are moved by."""
    hour, now = (values[time] // _HOUR % 24 for values in (known, rows))
    patterns = []
    for name, values in known.items():
        if name == time or values.dtype.kind != "f" or name not in rows:
            continue
        pattern, explained = _pattern(values, hour, known[time])
        window = rows[name]
        if explained >= _LEAST_EXPLAINED and np.isfinite(window).mean() >= 0.5 and np.nanstd(window) > 0:
            patterns.append((explained, pattern, _by_hour(window, now)))
    counts = [np.bincount(values, minlength=24).astype(float) for values in (hour, now)]
    # where some hours have no rows at all, and others many, the rows themselves are a pattern
    weight = float(counts[0].std() / max(counts[0].mean(), 1e-12))
    scores = {}
    for shift in range(-11, 13):
        parts = [(share, _correlation(np.roll(pattern, shift), hours)) for share, pattern, hours in patterns]
        if weight >= _LEAST_EXPLAINED:
            parts.append((min(1.0, weight), _correlation(np.roll(counts[0], shift), counts[1])))
        if parts:
            scores[shift] = float(np.average([fit for _, fit in parts], weights=[share for share, _ in parts]))
    return scores


def _best(scores: Mapping[int, float]) -> int | None:
    """Return the shift that fits best, where it fits and summer time alone does not explain it."""
    best = max(scores, key=lambda shift: scores[shift], default=0)
    return best if abs(best) >= _LEAST_SHIFT and scores[best] >= _LIKE_THE_PATTERN else None


def _gain(scores: Mapping[int, float], best: int) -> float:
    """Return how much better a shift fits than the clock as it is."""
    return scores[best] - max(scores[near] for near in (-1, 0, 1))


def _pattern(values: Numbers, hour: Numbers, times: Numbers) -> tuple[Numbers, float]:
    """Return the mean by hour of what is left without the season, and how much of it the hour explains."""
    there = np.isfinite(values)
    week = np.unique(times // (7 * _DAY), return_inverse=True)[1]
    level = np.bincount(week[there], values[there], minlength=week.max() + 1) / np.maximum(
        1, np.bincount(week[there], minlength=week.max() + 1)
    )
    left, hours = (values - level[week])[there], hour[there]
    rows = np.bincount(hours, minlength=24)
    pattern = np.where(rows >= _LEAST_PER_HOUR, np.bincount(hours, left, minlength=24) / np.maximum(1, rows), np.nan)
    fitted = pattern[hours]
    known = np.isfinite(fitted)
    if not known.any() or left[known].var() == 0:
        return pattern, 0.0
    return pattern, float(1 - np.var(left[known] - fitted[known]) / left[known].var())


def _by_hour(values: Numbers, hour: Numbers) -> Numbers:
    """Return the mean of each hour of the day, NaN where there is none."""
    there = np.isfinite(values)
    rows = np.bincount(hour[there], minlength=24)
    sums = np.bincount(hour[there], values[there], minlength=24)
    return np.where(rows > 0, sums / np.maximum(1, rows), np.nan)


def _correlation(one: Numbers, other: Numbers) -> float:
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < 0.5 * len(one) or np.std(one[both]) == 0 or np.std(other[both]) == 0:
        return 0.0
    return float(np.corrcoef(one[both], other[both])[0, 1])
