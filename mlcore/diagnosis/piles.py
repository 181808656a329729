"""One value too often: a range that was cut off, or a number that stands for no value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from mlcore.diagnosis.findings import Numbers, Times, of_stretches, share_of

if TYPE_CHECKING:
    from mlcore.contract import Column
    from mlcore.drift.baseline import NumericBaseline

_LEAST_ROWS: Final = 12
#: A value that so many training rows had is one that a quantity rests at: calm, dry, closed.
_RESTING: Final = 0.05
#: In fewer rows some plateau is natural; the other columns must say that values lie this many residuals beyond it.
_LEAST_FOR_PILE: Final = 200
_BEYOND_PILE: Final = 3.0
#: A number that stands for no value lies this far from the others, in standard deviations of the baseline.
_GAP: Final = 1.5
#: In a long window this far is enough, where hardly a training row had the number and the others lie close together.
_GAP_LONG, _HARDLY = 0.75, 0.02
#: A pile at the edge of the range is believed from so many rows on, and when so many times as high as in training.
_LEAST_PILE: Final = 6
_PILE_FRACTION: Final = 0.12
_HIGHER: Final = 2.5
#: So many rows, and so much of training beyond the edge: by chance, hardly one window in a million had nothing there.
_LEAST_FOR_CENSORED, _CENSORED, _ALIKE = 150, 0.1, 1.36
#: One value is no chance among so many others, so many times as frequent as the next, and as it was in training.
_LEAST_OTHERS, _TIMES_OTHERS, _TIMES_BEFORE = 10, 4, 8
#: Rows that have no value are in so many pieces, each.
_PIECES: Final = 0.5
#: So much of a pile is one as well; so many stretches of training, and so many of all, make it usual.
_HALF, _LEAST_ALIKE, _SOME = 0.5, 2, 0.05
#: Rows of a moment that have its one value.
_WHOLE_MOMENT: Final = 0.9
#: Numbers that are written for 'not known': believed where the column never had them nor anything so far out.
_NO_VALUES: Final = frozenset({0.0, -1.0} | {sign * (10.0**digits - 1) for sign in (-1, 1) for digits in range(2, 7)})
#: What was cut off must have been common enough before for its absence to mean something.
_CUT_OFF: Final = 0.05
#: So improbable must so many rows of one value be, for each of the two edges of each column.
_LEAST_CHANCE: Final = 1e-6
#: So improbable among the values beside it must one be that stands for none.
_LEAST_CHANCE_BESIDE: Final = 1e-3


def piled(
    column: Column,
    before: NumericBaseline,
    values: Numbers,
    expected: tuple[Numbers, float] | None,
    sample: Numbers | None = None,
    times: Times | None = None,
) -> str | None:
    """Return what is said of a range that ends in a pile: clipped, or a number that stands for no value.

    Parameters
    ----------
    expected : tuple of ndarray and float, or None
        What the other columns say, and the usual residual.
    sample : ndarray, optional
        The column in training: with `times` a pile that a stretch of training ended in, too, is none.
    times : Times, optional
        A pile of few moments is none.
    """
    there = np.isfinite(values)
    present = values[there]
    if len(present) < _LEAST_ROWS or before.deviation == 0:
        return None
    for edge, sign in ((present.max(), 1), (present.min(), -1)):
        at_edge = present == edge
        share, before_share = float(at_edge.mean()), share_of(before.values, edge)
        if at_edge.sum() < _LEAST_PILE or share == 1:
            continue
        if times is not None and _of_few(times.window[there], at_edge):
            continue
        if _ended_before(edge, sign, share, sample, times):
            continue
        if _censored(before.values, present, edge, sign):
            return _cut_off(column, before.values, present, edge, sign)
        if share < max(_PILE_FRACTION, _HIGHER * before_share):
            continue
        rest = present[~at_edge]
        gap = float(np.abs(rest - edge).min())
        alone_there = _alone_there(before, rest, int(at_edge.sum()), share, before_share)
        far = gap > max(_GAP * before.deviation, 3 * _step(rest)) and before_share < 0.01
        new = edge in _NO_VALUES and before_share == 0 and sign * (edge - np.median(before.values)) > 0
        beyond_all = new and not before.values[0] <= edge <= before.values[-1]
        alone = len(present) >= _LEAST_FOR_PILE and before_share < _HARDLY and _stands_alone(before, rest, gap)
        if far or beyond_all or alone:
            return (
                f"{column.name} is {edge:g} in {share:.0%} of the rows, "
                f"{'which it never was' if beyond_all else 'far from the others'}: it stands for no value"
            )
        if alone_there and edge in _NO_VALUES and _scattered(at_edge):
            return (
                f"{column.name} is {edge:g} in {share:.0%} of the rows, {before_share:.1%} of training were: no value?"
            )
        told = None if expected is None else (expected[0][there], expected[1])
        if (
            alone_there or _by_no_chance(before, present, edge) or _is_high(before.values, present, told, at_edge, sign)
        ) and float((sign * (before.values - edge) > 0).mean()) >= _CUT_OFF:
            return _cut_off(column, before.values, present, edge, sign)
    return _no_value(column, before, present)


def _no_value(column: Column, before: NumericBaseline, present: Numbers) -> str | None:
    for value in sorted(_NO_VALUES.intersection(present.tolist())):
        if _stands_for_none(before, present, value):
            share, known = float((present == value).mean()), share_of(before.values, value)
            return f"{column.name} is {value:g} in {share:.0%} of the rows, {known:.1%} of training were: no value?"
    return None


def _by_no_chance(before: NumericBaseline, values: Numbers, value: float) -> bool:
    """Whether a value that no rest is has more rows than chance gives to any.

    Rows of one run depend on each other: as many as the longest run of training had count as one. Of n of them each
    has the value with the share that it, or the most frequent value at which training did not rest, had there: so
    many are as probable as the tail of that binomial law, and believed below one in a million.
    """
    known = before.values
    if share_of(known, value) >= _RESTING:
        return False
    from scipy.special import bdtrc

    counts = np.unique(known, return_counts=True)[1]
    each = counts[counts < _RESTING * len(known)].max(initial=1) / len(known)
    longest = max(1, before.longest_run_of(value))
    ends = np.append(np.flatnonzero(np.diff(values) != 0), len(values) - 1)
    counted = np.ceil(np.diff(ends, prepend=-1) / longest)
    return bool(bdtrc(counted[values[ends] == value].sum() - 1, counted.sum(), each) <= _LEAST_CHANCE)


def _stands_for_none(before: NumericBaseline, present: Numbers, value: float) -> bool:
    """Whether a number within the range is no chance against training, and sticks out from the values beside it.

    Of the others as many are at its place as lie around it, in as many places: with fewer by the Poisson law it would
    have so many rows in one of a thousand windows.
    """
    there = present == value
    rest = present[~there]
    if there.sum() < _LEAST_PILE or len(rest) < _LEAST_OTHERS or not _scattered(there):
        return False
    if there.mean() < _TIMES_BEFORE * share_of(before.values, value) or not _by_no_chance(before, present, value):
        return False
    from scipy.special import pdtrc

    places = np.unique(before.values)
    reach = float(rest.std()) / 2
    around = np.abs(rest - value) <= reach
    usual = (around.sum() + 1) / max(1, int((np.abs(places - value) <= reach).sum()))
    return bool(pdtrc(there.sum() - 1, usual) <= _LEAST_CHANCE_BESIDE)


def _alone_there(before: NumericBaseline, rest: Numbers, count: int, share: float, before_share: float) -> bool:
    """Whether one value is far more frequent than any other of the window, and than it was: the others hardly repeat.

    Values at which the column rests were frequent in training, and are no others.
    """
    values, counts = np.unique(rest, return_counts=True)
    if len(values) < _LEAST_OTHERS or share < _TIMES_BEFORE * before_share:
        return False
    return all(share_of(before.values, value) >= _RESTING for value in values[counts * _TIMES_OTHERS > count])


def _scattered(there: Numbers) -> bool:
    """Whether rows come here and there: what a machine does when it is off comes in one piece."""
    begins = int(there[0]) + int((np.diff(there.astype(np.int8)) == 1).sum())
    return begins >= _PIECES * there.sum()


def _cut_off(column: Column, before: Numbers, present: Numbers, edge: float, sign: int) -> str:
    side, there = "above" if sign > 0 else "below", float((present == edge).mean())
    beyond = float((sign * (before - edge) > 0).mean())
    return (
        f"{column.name} is cut off {side} {edge:g}: {there:.0%} of the rows are exactly there, "
        f"{beyond:.0%} of training were beyond"
    )


def _of_few(stamps: Numbers, at_edge: Numbers) -> bool:
    """Whether a value is all there was at a few moments: one day's value in all the rows of that day is no pile."""
    moments, place = np.unique(stamps, return_inverse=True)
    there = np.bincount(place, at_edge, len(moments))
    mine = there > 0
    return bool(mine.sum() < _LEAST_PILE and there[mine].sum() >= _WHOLE_MOMENT * np.bincount(place)[mine].sum())


def _ended_before(edge: float, sign: int, share: float, sample: Numbers | None, times: Times | None) -> bool:
    """Whether stretches of training as long as the window had nothing beyond an edge, and half as high a pile there.

    Not a single one of many: that may have been a fault, too.
    """
    if times is None or sample is None:
        return False
    at_edge, beyond = (
        of_stretches(those, np.isfinite(sample), times)
        for those in (np.isclose(sample, edge, rtol=1e-6), sign * (sample - edge) > 0)
    )
    alike = int(((beyond == 0) & (at_edge >= _HALF * share)).sum())
    return alike >= max(_LEAST_ALIKE, _SOME * len(beyond))


def _censored(before: Numbers, present: Numbers, edge: float, sign: int) -> bool:
    """Whether the window is training with all that was beyond an edge put onto it: up to there it is distributed alike.

    By chance two laws that are one differ by less than 1.36 √(1/n + 1/m) in 19 of 20 cases (Smirnov, 1948).
    """
    beyond = float((sign * (before - edge) > 0).mean())
    if len(present) < _LEAST_FOR_CENSORED or beyond < _CENSORED:
        return False
    ordered = np.sort(present)
    inside = np.unique(np.concatenate([before, ordered]))
    inside = inside[sign * (inside - edge) < 0]
    if not len(inside):
        return False
    # the share up to each value, seen from the side that is left as it was
    side: Literal["left", "right"] = "right" if sign > 0 else "left"
    shares = [np.searchsorted(values, inside, side) / len(values) for values in (before, ordered)]
    apart = float(np.abs(shares[0] - shares[1]).max())
    return apart <= _ALIKE * float(np.sqrt(1 / len(before) + 1 / len(present)))


def _stands_alone(before: NumericBaseline, rest: Numbers, gap: float) -> bool:
    """Whether a number lies further off than any two neighbours of the rest."""
    return bool(gap > max(_GAP_LONG * before.deviation, 3 * np.diff(np.unique(rest)).max(initial=0.0)))


def _is_high(
    before: Numbers, present: Numbers, expected: tuple[Numbers, float] | None, at_edge: Numbers, sign: int
) -> bool:
    """Whether a pile is as high as the highest of training, or in fewer rows the others go on beyond it."""
    if len(present) < _LEAST_FOR_PILE:
        return expected is not None and _cut(present, expected[0], expected[1], at_edge, sign)
    return float(at_edge.mean()) >= _highest_share(before)


def _cut(present: Numbers, expected: Numbers, usual: float, at_edge: Numbers, sign: int) -> bool:
    """Whether the other columns go on beyond the pile: further than in the other rows, whose season is the same."""
    beyond = sign * (expected - present)
    low, high = np.quantile(expected[at_edge], (0.1, 0.9))
    further = float(beyond[at_edge].mean() - np.median(beyond[~at_edge]))
    return bool(further >= _BEYOND_PILE * usual and high - low >= _BEYOND_PILE * usual)


def _highest_share(values: Numbers) -> float:
    return float(np.unique(values, return_counts=True)[1].max() / len(values)) if len(values) else 0.0


def _step(values: Numbers) -> float:
    different = np.unique(values)
    return float(np.median(np.diff(different))) if len(different) > 1 else 0.0
