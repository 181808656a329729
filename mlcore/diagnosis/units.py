"""Values in another unit, on another scale or in each other's column: believed when undoing it mends the window."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.diagnosis.findings import FeatureDiagnosis, Numbers, fault
from mlcore.diagnosis.relations import Relations
from mlcore.drift.statistics import distances
from mlcore.units import GUESSED_FAULTS, UNIT_FAULTS, conversions

if TYPE_CHECKING:
    from mlcore.contract import Column
    from mlcore.drift import Baseline

#: A conversion must bring the values this much nearer to the baseline (Kolmogorov-Smirnov distance).
_GAIN: Final = 0.3
#: Zeros as common as this, as of rain, are left out of what is compared: they stay zero in every unit.
_MANY_ZEROS: Final = 0.2
#: No season multiplies a quantity by this between one window and the next, its spread included.
_FAR_FACTOR: Final = 5.0
#: Mean absolute residuals, in units of the last healthy window's or the baseline's, whichever are larger: beyond the
#: first the column contradicts the others, up to the second it agrees with them.
_CONTRADICTS, _AGREES = 3.0, 2.0
_RELATION_GAIN: Final = 3.0
#: Share of values that the baseline's sensor never gives: from the first on it is another scale, up to the second not.
_OFF_SCALE, _ON_SCALE = 0.8, 0.12
#: A scale is a scale where its values cover at most this share of their span.
_MOST_COVERED: Final = 0.35
#: So many different values fall on the scale by chance less than once in a hundred conversions.
_LEAST_DISTINCT: Final = 5
#: Values may lie beyond the baseline's range by this share of it: seasons do.
_BEYOND: Final = 0.25
#: A window of the same season: distances from it count where both hold enough rows for a distance of 0.1 to mean it.
_LEAST_FOR_RECENT: Final = 200
_LEAST_FOR_NEARER: Final = 12
_EXCHANGED: Final = 0.25
#: Nearer to half where the other columns say the same of its partner.
_HALVED: Final = 0.5
_LEAST_DISTANCE: Final = 0.15
#: The hours of one day are no distribution: an odd day can look like another column's.
_LEAST_FOR_SHAPE: Final = 48
#: Unless hardly a value of either column is where the column's own were.
_APART: Final = 0.9
#: A step at the window's edge of so many times the largest within the last healthy window is none of the world.
_EDGE: Final = 2.0
_LEAST_MOVES: Final = 8
#: Values written with more decimals have none of their own; of so many the baseline's are told by.
_MOST_DECIMALS, _DIGITS_OF = 5, 5_000
#: Digits tell something from so many different values on; where nearly all have them, and most have others.
_LEAST_FOR_DIGITS, _ALL, _ALL_OTHER = 8, 0.98, 0.6
_LEAST_FOR_GUESS: Final = 2
#: Fewer rows of a week say it, too, where hardly any value is where it was, and nearly all are once it is undone.
_LEAST_FOR_FAR, _FAR_APART = 100, 0.8
_FAR_LEFT: Final = 0.5


def wrong_units(
    columns: list[Column],
    baseline: Baseline,
    rows: Mapping[str, Any],
    recent: Mapping[str, Any],
    relations: Relations,
    broken: frozenset[str],
) -> Iterator[FeatureDiagnosis]:
    """Yield the columns that are in another unit or on another scale.

    The best explained column is mended first: what looked strange beside it often does no more.
    """
    rows = dict(rows)
    left = [column for column in columns if column.name in baseline.numeric]
    moved = {column.name: _has_moved(baseline.numeric[column.name].values, rows[column.name]) for column in left}
    while left:
        found = [
            (score, column, name, (rows[column.name] - offset) / factor)
            for column in left
            for name, factor, offset, guessed in _possible(column, guesses=any(moved[column.name]))
            if (
                score := _score(
                    column, baseline, rows, recent, relations, factor, offset, column.name in broken, guessed=guessed
                )
            )
            > 0
        ]
        if not found:
            break
        _, column, name, mended = max(found, key=lambda item: item[0])
        rows[column.name] = mended
        left.remove(column)
        yield fault(column.name, f"{column.name} is {name}")
    for column in left:
        if all(moved[column.name]) and _has_left(recent.get(column.name), rows[column.name]):
            told = f"{column.name} has decimals that it never had, and other values: it was converted or recomputed"
            yield fault(column.name, told)


def _possible(column: Column, *, guesses: bool) -> Iterator[tuple[str, float, float, bool]]:
    """Yield what a column may have been converted by, and whether that is a mere guess: name, factor, offset."""
    for name, factor, offset in conversions(column.unit):
        yield name, factor, offset, False
    if guesses:
        for name, (factor, offset) in GUESSED_FAULTS.items():
            yield name, factor, offset, True


def _has_moved(before: Numbers, now: Numbers) -> tuple[bool, bool]:
    """Return whether a column is elsewhere than in training, and whether it has other decimals."""
    before, now = _moving(before, before), _moving(before, now)
    if len(now) < _LEAST_FOR_NEARER or not len(before):
        return False, False
    step, some = 2 * _half_step(_thinned(before)), now[now != 0]
    fine = len(np.unique(some)) >= _LEAST_FOR_DIGITS and step > 0 and _multiples(some, step) <= 1 - _ALL_OTHER
    return _distance(before, now) >= _GAIN, fine


def _moving(known: Numbers, values: Numbers) -> Numbers:
    """Return the values that are there, without zeros where many of the known ones are."""
    values = values[np.isfinite(values)]
    return values[values != 0] if float((known == 0).mean()) >= _MANY_ZEROS else values


def _has_left(recent: Numbers | None, now: Numbers) -> bool:
    """Whether hardly a value is where those of the last healthy window were."""
    if recent is None:
        return False
    known, now = recent[np.isfinite(recent)], now[np.isfinite(now)]
    return min(len(known), len(now)) >= _LEAST_FOR_SHAPE and _distance(np.sort(known), now) >= _FAR_LEFT


def _distance(reference: Numbers, values: Numbers) -> float:
    """Return the Kolmogorov-Smirnov distance of values to sorted ones."""
    return distances(reference, np.sort(values)).kolmogorov_smirnov


def _score(
    column: Column,
    baseline: Baseline,
    rows: Mapping[str, Any],
    recent: Mapping[str, Any],
    relations: Relations,
    factor: float,
    offset: float,
    broken: bool,
    *,
    guessed: bool,
) -> float:
    """Return how much speaks for a conversion; nothing does where undoing it leads out of what was ever seen.

    For a guess two things must speak, or the digits do.
    """
    known, now, last = baseline.numeric[column.name].values, rows[column.name], recent.get(column.name)
    if offset == 0:
        now, last = _moving(known, now), None if last is None else _moving(known, last)
        known = _moving(known, known)
    now = now[np.isfinite(now)]
    undone = (now - offset) / factor
    if not min(len(now), len(known)) or np.ptp(known) == 0 or not _in_range(column, undone):
        return 0.0
    # what has moved far since it was trained on is known from the last healthy window
    if not (_near(known, undone) or (last is not None and _near_recent(last, undone))):
        return 0.0
    far = [_distance(known, values) for values in (now, undone)]
    if last is not None and _nearer_as_it_is(last, now, undone):
        return 0.0
    named = (factor, offset) in UNIT_FAULTS.get(column.unit, {}).values()
    evidence = 0.0
    if broken and far[1] <= far[0] - (0.0 if named else _GAIN):
        evidence += 1
    digits = _digits_restored(known, now, undone, factor)
    if digits or (not guessed and _on_scale(known, now, undone, factor)):
        evidence += 1
    if abs(math.log(abs(factor))) >= math.log(_FAR_FACTOR) and _spread_restored(known, now, undone, far):
        evidence += 1
    strange = [relations.strangeness(column.name, {**rows, column.name: values}) for values in
               (rows[column.name], (rows[column.name] - offset) / factor)]  # fmt: skip
    usual = _usual(column.name, recent, relations)
    if _reconciled(strange[0], strange[1], usual):
        evidence += 1
    elif strange[1] is not None and strange[0] is not None and strange[1] > max(_CONTRADICTS * usual, strange[0]):
        return 0.0
    if last is not None and _continued(last, now, factor, offset):
        evidence += 1
    if guessed and not digits and evidence < _LEAST_FOR_GUESS:
        return 0.0
    # of two conversions with as much evidence the one that leads nearer to what is known
    return evidence and evidence + (1 - far[1]) / 2 + (0.25 if named else -0.25 if guessed else 0.0)


def _nearer_as_it_is(recent: Numbers, now: Numbers, undone: Numbers) -> bool:
    """Whether the last healthy window is more like this one than like what undoing a conversion makes of it.

    What has grown for years is far from what was trained on, and near to what there was a month ago.
    """
    recent = np.sort(recent[np.isfinite(recent)])
    if min(len(recent), len(now)) < _LEAST_FOR_NEARER:
        return False
    far, near = (_distance(recent, values) for values in (now, undone))
    return bool(far < near)


def _reconciled(now: float | None, undone: float | None, usual: float) -> bool:
    if now is None or undone is None:
        return False
    return now >= _CONTRADICTS * usual and undone <= _AGREES * usual and undone <= now / _RELATION_GAIN


def _usual(name: str, recent: Mapping[str, Any], relations: Relations) -> float:
    """Return the last healthy window's residual, in units of the baseline's, at least 1: the season explains it."""
    return max(1.0, relations.strangeness(name, recent) or 1.0) if name in recent else 1.0


def _spread_restored(before: Numbers, now: Numbers, undone: Numbers, distances: list[float]) -> bool:
    spread = [np.subtract(*np.quantile(values, (0.9, 0.1))) for values in (before, now, undone)]
    if min(spread) <= 0 or distances[0] < 0.9 or distances[1] > distances[0] - _GAIN:
        return False
    nearer = [abs(math.log(value / spread[0])) for value in spread[1:]]
    return nearer[0] >= math.log(_FAR_FACTOR) and nearer[1] <= math.log(_FAR_FACTOR)


def _on_scale(before: Numbers, now: Numbers, undone: Numbers, factor: float) -> bool:
    """Whether the values avoid the baseline's scale, and undone fall on it."""
    scale = np.unique(before)
    # a value rounded after the conversion comes back only nearly
    tolerance = max(_half_step(now) / abs(factor), 1e-6 * max(1.0, float(np.abs(scale).max())))
    span = scale[-1] - scale[0]
    if len(scale) < 2 or span <= 0 or len(scale) * 2 * tolerance > _MOST_COVERED * span:
        return False
    off_now, off_undone = off_scale(scale, now, tolerance), off_scale(scale, undone, tolerance)
    return off_now is not None and off_undone is not None and off_now >= _OFF_SCALE and off_undone <= _ON_SCALE


def off_scale(scale: Numbers, values: Numbers, tolerance: float = 1e-6) -> float | None:
    """Return the share of values between those of the scale; None where too few different ones say anything.

    Zero is left out: it stays zero in every unit.
    """
    inside = values[(values != 0) & (values >= scale[0] - tolerance) & (values <= scale[-1] + tolerance)]
    if len(np.unique(inside)) < _LEAST_DISTINCT:
        return None
    place = np.clip(np.searchsorted(scale, inside), 1, len(scale) - 1)
    gap = np.minimum(np.abs(inside - scale[place - 1]), np.abs(inside - scale[place]))
    return float((gap > tolerance).mean())


def _digits_restored(before: Numbers, now: Numbers, undone: Numbers, factor: float) -> bool:
    """Whether the values have other digits than there ever were, and undoing the conversion brings these back.

    Numbers are written with so many decimals; converted they have more, or, by a power of ten, only round ones.
    """
    known = _thinned(before)
    step = 2 * _half_step(known)
    some, again = now[now != 0], undone[now != 0]
    if not step or len(np.unique(some)) < _LEAST_FOR_DIGITS or _multiples(again, step) < _ALL:
        return False
    if _multiples(some, step) <= 1 - _ALL_OTHER:
        return True
    coarse = step * abs(factor)
    ten = abs(math.log10(abs(factor)) % 1) < 1e-9
    return factor > 1 and ten and _multiples(some, coarse) >= _ALL and _multiples(known, coarse) <= 1 - _ALL_OTHER


def _thinned(before: Numbers) -> Numbers:
    return before[:: max(1, len(before) // _DIGITS_OF)]


def _multiples(values: Numbers, step: float) -> float:
    """Return the share of values that are whole multiples of a step, but for rounding errors."""
    parts = values / step
    # conversions are written with six digits or so
    tolerance = np.clip(2e-6 * np.abs(parts), 1e-6, 0.05)
    return float((np.abs(parts - np.round(parts)) <= tolerance).mean())


def _half_step(values: Numbers) -> float:
    for digits in range(_MOST_DECIMALS):
        if np.allclose(values, np.round(values, digits), rtol=0, atol=1e-9):
            return float(0.5 * 10.0**-digits)
    return 0.0


def _continued(recent: Numbers, now: Numbers, factor: float, offset: float) -> bool:
    """Whether the conversion alone stands between the last healthy window and this one."""
    recent, now = recent[np.isfinite(recent)], now[np.isfinite(now)]
    if min(len(recent), len(now)) < 12:
        return False
    undone = (now - offset) / factor
    rows = min(len(recent), len(now))
    if rows >= _LEAST_FOR_FAR:
        far, near = (_distance(np.sort(recent), values) for values in (now, undone))
        if far >= (0.5 if rows >= _LEAST_FOR_RECENT else _FAR_APART) and near <= _EXCHANGED * far:
            return True
    steps = np.abs(np.diff(recent))
    moves, largest = steps[steps > 0], max(float(steps.max()), 1e-12)
    # a series moves little between rows: elsewhere the steps are as large as the spread, and say nothing; of several
    # rows of one moment it does not move between most
    usual = np.median(steps) or np.median(moves) if len(moves) >= _LEAST_MOVES else np.inf
    if usual > 0.2 * max(float(recent.std()), 1e-12):
        return False
    return bool(abs(now[0] - recent[-1]) > _EDGE * largest and abs(undone[0] - recent[-1]) <= largest)


def _in_range(column: Column, values: Numbers) -> bool:
    low = -np.inf if column.minimum is None else column.minimum
    high = np.inf if column.maximum is None else column.maximum
    return bool(np.mean((values >= low - 1e-9) & (values <= high + 1e-9)) >= min(0.99, column.minimum_valid_fraction))


def _near(before: Numbers, values: Numbers) -> bool:
    reach = _BEYOND * (before[-1] - before[0])
    return bool(np.mean((values >= before[0] - reach) & (values <= before[-1] + reach)) >= 0.9)


def _near_recent(recent: Numbers, values: Numbers) -> bool:
    known = np.sort(recent[np.isfinite(recent)])
    return len(known) >= _LEAST_FOR_NEARER and _near(known, values)


def swapped(
    columns: list[Column],
    baseline: Baseline,
    rows: Mapping[str, Any],
    recent: Mapping[str, Any],
    relations: Relations,
) -> Iterator[FeatureDiagnosis]:
    """Yield pairs of columns whose values fit the other one much better, both of them."""
    taken: set[str] = set()
    numeric = [column.name for column in columns if column.name in baseline.numeric]
    known = [column.name for column in columns if column.name in baseline.categories and column.type == "category"]
    pairs: list[tuple[tuple[str, str], Callable[..., bool]]]
    pairs = [(pair, _numbers_swapped) for pair in itertools.combinations(numeric, 2)]
    pairs += [(pair, _categories_swapped) for pair in itertools.combinations(known, 2)]
    for (one, other), exchanged in pairs:
        if not taken & {one, other} and exchanged(one, other, baseline, rows, recent, relations):
            taken |= {one, other}
            yield fault(one, f"{one} and {other} are swapped")
            yield fault(other, f"{other} and {one} are swapped")


def _numbers_swapped(
    one: str,
    other: str,
    baseline: Baseline,
    rows: Mapping[str, Any],
    recent: Mapping[str, Any],
    relations: Relations,
) -> bool:
    before = [baseline.numeric[name].values for name in (one, other)]
    now = [np.sort(rows[name][np.isfinite(rows[name])]) for name in (one, other)]
    if min(map(len, (*before, *now))) < 12 or not (_near(before[0], now[1]) and _near(before[1], now[0])):
        return False
    as_it_is, exchanged = list(zip(before, now, strict=True)), list(zip(before, now[::-1], strict=True))
    distances, crossed = ([_distance(*pair) for pair in pairs] for pairs in (as_it_is, exchanged))
    apart = all(far >= _APART and back <= far - _GAIN for far, back in zip(distances, crossed, strict=True))
    if apart or (min(map(len, now)) >= _LEAST_FOR_SHAPE and _crossed(distances, crossed, min(map(len, now)))):
        return True
    off, on = ([off_scale(np.unique(old), new) for old, new in pairs] for pairs in (as_it_is, exchanged))
    if all(share is not None and share <= _ON_SCALE for share in on) and any(
        share is not None and share >= _OFF_SCALE for share in off
    ):
        return True
    back = {**rows, one: rows[other], other: rows[one]}
    mended = [
        _reconciled(
            relations.strangeness(name, rows), relations.strangeness(name, back), _usual(name, recent, relations)
        )
        for name in (one, other)
    ]
    # of a column to which none relates its distribution speaks
    nearer = [far >= _LEAST_DISTANCE and near <= _HALVED * far for far, near in zip(distances, crossed, strict=True)]
    return any(mended) and all(map(any, zip(mended, nearer, strict=True)))


def _categories_swapped(one: str, other: str, baseline: Baseline, rows: Mapping[str, Any], *_: Any) -> bool:
    before = [baseline.categories[name].counts for name in (one, other)]
    now = [_shares(rows[name]) for name in (one, other)]
    return _crossed(
        [_variation(counts, shares) for counts, shares in zip(before, now, strict=True)],
        [_variation(counts, shares) for counts, shares in zip(before, now[::-1], strict=True)],
        len(rows[one]),
    )


def _crossed(distances: list[float], crossed: list[float], rows: int) -> bool:
    """Whether both columns come much nearer by exchange: from afar, or to a quarter where rows are many."""
    if all(now >= 0.5 and back <= now - _GAIN for now, back in zip(distances, crossed, strict=True)):
        return True
    return rows >= _LEAST_FOR_RECENT and all(
        now >= _LEAST_DISTANCE and back <= _EXCHANGED * now for now, back in zip(distances, crossed, strict=True)
    )


def _shares(values: Numbers) -> Mapping[str, float]:
    found, counts = np.unique(values[values != ""], return_counts=True)
    return dict(zip(map(str, found), counts / max(1, counts.sum()), strict=True))


def _variation(counts: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """Return the total variation distance."""
    total = max(1, sum(counts.values()))
    labels = {*counts, *shares}
    return sum(abs(counts.get(label, 0) / total - shares.get(label, 0.0)) for label in labels) / 2
