"""Values in another unit or on another scale: believed when undoing it mends the window."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.diagnosis.findings import FeatureDiagnosis, Numbers, fault, kolmogorov_smirnov, near
from mlcore.diagnosis.lattice import OFF_SCALE, chance_of_return, digits_restored, has_other_digits, off_scale
from mlcore.diagnosis.relations import CONTRADICTS, Relations, reconciled
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
#: A window of the same season: distances from it count where both hold enough rows for a distance of 0.1 to mean it.
_LEAST_FOR_RECENT: Final = 200
_LEAST_FOR_NEARER: Final = 12
_NEARER: Final = 0.25
#: A step at the window's edge of so many times the largest within the last healthy window is none of the world.
_EDGE: Final = 2.0
_LEAST_MOVES: Final = 8
_LEAST_FOR_GUESS: Final = 2
#: So improbable must it be that values fall where the known ones were, undone: for each of the some ten conversions of
#: a named unit, and for each of the some thirty that nobody named.
_LEAST_CHANCE, _LEAST_CHANCE_OF_GUESS = 1e-4, 1e-6
#: Fewer rows of a week say it, too, where hardly any value is where it was, and nearly all are once it is undone.
_LEAST_FOR_FAR, _FAR_APART = 100, 0.8
#: Hardly a value of so many is where those of the last healthy window were.
_LEAST_FOR_LEFT, _FAR_LEFT = 48, 0.5


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
    return kolmogorov_smirnov(before, now) >= _GAIN, has_other_digits(before, now)


def _moving(known: Numbers, values: Numbers) -> Numbers:
    """Return the values that are there, without zeros where many of the known ones are."""
    values = values[np.isfinite(values)]
    return values[values != 0] if float((known == 0).mean()) >= _MANY_ZEROS else values


def _has_left(recent: Numbers | None, now: Numbers) -> bool:
    """Whether hardly a value is where those of the last healthy window were."""
    if recent is None:
        return False
    known, now = recent[np.isfinite(recent)], now[np.isfinite(now)]
    return min(len(known), len(now)) >= _LEAST_FOR_LEFT and kolmogorov_smirnov(np.sort(known), now) >= _FAR_LEFT


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
    if not (near(known, undone) or (last is not None and _near_recent(last, undone))):
        return 0.0
    far = [kolmogorov_smirnov(known, values) for values in (now, undone)]
    if last is not None and _nearer_as_it_is(last, now, undone):
        return 0.0
    named = (factor, offset) in UNIT_FAULTS.get(column.unit, {}).values()
    evidence = 0.0
    if broken and far[1] <= far[0] - (0.0 if named else _GAIN):
        evidence += 1
    digits = digits_restored(known, now, undone) or (
        (far[1] <= far[0] - _GAIN or _elsewhere(known, now))
        and chance_of_return(known, now, factor, offset) <= (_LEAST_CHANCE_OF_GUESS if guessed else _LEAST_CHANCE)
    )
    if digits:
        evidence += 1
    if abs(math.log(abs(factor))) >= math.log(_FAR_FACTOR) and _spread_restored(known, now, undone, far):
        evidence += 1
    strange = [relations.strangeness(column.name, {**rows, column.name: values}) for values in
               (rows[column.name], (rows[column.name] - offset) / factor)]  # fmt: skip
    usual = relations.usual(column.name, recent)
    if reconciled(strange[0], strange[1], usual):
        evidence += 1
    elif strange[1] is not None and strange[0] is not None and strange[1] > max(CONTRADICTS * usual, strange[0]):
        return 0.0
    if last is not None and _continued(last, now, factor, offset):
        evidence += 1
    if guessed and not digits and evidence < _LEAST_FOR_GUESS:
        return 0.0
    # of two conversions with as much evidence the one that leads nearer to what is known
    return evidence and evidence + (1 - far[1]) / 2 + (0.25 if named else -0.25 if guessed else 0.0)


def _elsewhere(known: Numbers, now: Numbers) -> bool:
    """Whether most values have digits that there never were, or lie between all that there were."""
    return has_other_digits(known, now) or (off_scale(np.unique(known), now) or 0.0) >= OFF_SCALE


def _nearer_as_it_is(recent: Numbers, now: Numbers, undone: Numbers) -> bool:
    """Whether the last healthy window is more like this one than like what undoing a conversion makes of it.

    What has grown for years is far from what was trained on, and near to what there was a month ago.
    """
    recent = np.sort(recent[np.isfinite(recent)])
    if min(len(recent), len(now)) < _LEAST_FOR_NEARER:
        return False
    far, near = (kolmogorov_smirnov(recent, values) for values in (now, undone))
    return bool(far < near)


def _spread_restored(before: Numbers, now: Numbers, undone: Numbers, distances: list[float]) -> bool:
    spread = [np.subtract(*np.quantile(values, (0.9, 0.1))) for values in (before, now, undone)]
    if min(spread) <= 0 or distances[0] < _FAR_APART or distances[1] > distances[0] - _GAIN:
        return False
    nearer = [abs(math.log(value / spread[0])) for value in spread[1:]]
    return nearer[0] >= math.log(_FAR_FACTOR) and nearer[1] <= math.log(_FAR_FACTOR)


def _continued(recent: Numbers, now: Numbers, factor: float, offset: float) -> bool:
    """Whether the conversion alone stands between the last healthy window and this one."""
    recent, now = recent[np.isfinite(recent)], now[np.isfinite(now)]
    if min(len(recent), len(now)) < 12:
        return False
    undone = (now - offset) / factor
    rows = min(len(recent), len(now))
    if rows >= _LEAST_FOR_FAR:
        far, near = (kolmogorov_smirnov(np.sort(recent), values) for values in (now, undone))
        if far >= (0.5 if rows >= _LEAST_FOR_RECENT else _FAR_APART) and near <= _NEARER * far:
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


def _near_recent(recent: Numbers, values: Numbers) -> bool:
    known = np.sort(recent[np.isfinite(recent)])
    return len(known) >= _LEAST_FOR_NEARER and near(known, values)
