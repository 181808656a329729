"""Marks that faults leave in one column: pure functions of the column, its baseline and the window's values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from mlcore.diagnosis.findings import Numbers

if TYPE_CHECKING:
    from mlcore.contract import Column
    from mlcore.drift.baseline import CategoryBaseline, NumericBaseline

LEAST_ROWS: Final = 12
#: Share of missing values beyond the baseline's that is a burst.
_MISSING_BURST: Final = 0.10
#: A column that is missing more often than not is there now and then, and says nothing when it is not.
_SELDOM_THERE: Final = 0.5
#: Less of a window that is stuck neither explains drift nor harm of the whole; shorter windows show it as well.
_LEAST_STUCK_FRACTION: Final = 0.10
_LEAST_RUN: Final = 6
#: A run so many times the longest of all training is none of the world's.
_LONGER: Final = 1.5
#: A value that so many training rows had is one that a quantity rests at: calm, dry, closed.
_RESTING: Final = 0.05
#: At the end of the scale fewer rows are enough to tell a rest.
_AT_THE_END: Final = 0.01
#: What most training rows had is the rule, however long it lasts.
_USUAL: Final = 0.5
#: A rest this many times longer than any before is no rest.
_LONGEST_REST: Final = 5.0
_LEAST_STUCK_ALL: Final = 20
#: The rows of one or two moments are a group of their own.
_LEAST_MOMENTS: Final = 3
_LEAST_MOVING: Final = 8
#: While a sensor is stuck the other columns say it moves: by so many usual residuals (10th to 90th percentile).
_MOVES: Final = 5.0
#: What is usual for a column stays for ever where nearly all rows have it.
_NEARLY_ALWAYS: Final = 0.8
#: Of several rows of one moment so many differ where they are of several things, such as customers; from so many on.
_DIFFER, _LEAST_NEIGHBOURS = 0.5, 50
#: A column whose sampled rows differ from those before this seldom rests for windows on end: year, season, tariff.
_SELDOM: Final = 0.05
_LEAST_FOR_SELDOM: Final = 50
#: In fewer rows some plateau is natural; the other columns must say that values lie this many residuals beyond it.
_LEAST_FOR_PILE: Final = 200
_BEYOND_PILE: Final = 3.0
#: A number that stands for no value lies this far from the others, in standard deviations of the baseline.
_GAP: Final = 1.5
#: In a long window this far is enough, where hardly a training row had the number and the others lie close together.
_GAP_LONG, _HARDLY = 0.75, 0.02
#: While a sensor is stuck for nearly as long as ever, and as many rows, less movement of the others contradicts it.
_MOVES_LONG, _NEARLY_LONGEST, _LONG_RUN = 3.0, 0.6, 10
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
#: Rows of a moment that have its one value.
_WHOLE_MOMENT: Final = 0.9
#: Numbers that are written for 'not known': believed where the column never had them nor anything so far out.
_NO_VALUES: Final = frozenset({0.0, -1.0} | {sign * (10.0**digits - 1) for sign in (-1, 1) for digits in range(2, 7)})
#: What was cut off must have been common enough before for its absence to mean something.
_CUT_OFF: Final = 0.05
#: A category this common does not vanish by chance from a window of so many rows.
_COMMON: Final = 0.05
_LEAST_FOR_CATEGORY: Final = 100
_MOJIBAKE_FRACTION: Final = 0.01
#: What UTF-8 read as Latin-1 or Windows-1252 begins with, byte order marks, and replacement and control characters.
_GARBAGE: Final = ("\ufffd", "\ufeff", "ï»¿", "Ã", "Â", "â€", "ÿþ", "þÿ")


def missing_burst(
    column: Column, before: NumericBaseline | CategoryBaseline, missing: float, *, harmed: bool = True
) -> str | None:
    """Return what is said of more missing values than there ever were.

    As many as the contract allows are a fault only where the model is harmed besides.
    """
    allowed = before.missing_fraction + _MISSING_BURST
    if not harmed:
        allowed = max(allowed, column.maximum_missing_fraction)
    if missing <= allowed or before.missing_fraction >= _SELDOM_THERE:
        return None
    return f"{missing:.0%} of {column.name} are missing, {before.missing_fraction:.0%} were in training"


def stuck(
    column: Column,
    before: NumericBaseline,
    values: Numbers,
    expected: tuple[Numbers, float] | None,
    sample: Numbers | None = None,
    stamps: Numbers | None = None,
    sample_stamps: Numbers | None = None,
) -> str | None:
    """Return what is said of a sensor that repeats itself, in all of the window or a part.

    Parameters
    ----------
    expected : tuple of ndarray and float, or None
        What the other columns say, and the usual residual.
    sample : ndarray, optional
        Training rows in the order of time: of a column that hardly ever moves nothing is said.
    stamps : ndarray, optional
        When the rows were: several rows of one moment may repeat each other without any sensor.
    sample_stamps : ndarray, optional
        When the training rows were: unless those of one moment differed, as customers do.
    """
    there = np.isfinite(values)
    present = values[there]
    if len(present) < LEAST_ROWS or before.deviation == 0 or seldom_moves(sample):
        return None
    first, run = _longest(present)
    value = present[first]
    if run < max(_LEAST_RUN, _LEAST_STUCK_FRACTION * len(present)):
        return None
    share = _share(before.values, value)
    # several rows of one moment may repeat each other; then only what is far beyond all of training tells of a sensor
    moments = _LEAST_RUN if stamps is None else len(np.unique(stamps[there][first : first + run]))
    by_moment = moments < _LEAST_RUN and (moments < _LEAST_MOMENTS or run <= _LONGEST_REST * before.longest_run)
    of_many = _differ_within_moments(sample, sample_stamps)
    if share >= _NEARLY_ALWAYS or (by_moment and not of_many):
        return None
    at_the_end = _saturated(before, value, share)
    resting = share >= _RESTING or at_the_end
    limit = before.longest_run * (_LONGEST_REST if resting else 1.0 if run == len(present) else _LONGER)
    contradicted = False
    if expected is not None:
        low, high = np.quantile(expected[0][there][first : first + run], (0.1, 0.9))
        moved = (high - low) / expected[1]
        long = run >= max(_LONG_RUN, _NEARLY_LONGEST * before.longest_run)
        contradicted = run >= _LEAST_MOVING and moved >= (_MOVES_LONG if long else _MOVES)
    if at_the_end:
        # the others go on where a scale has ended
        contradicted = contradicted and run > _LONGER * before.longest_run
    if share >= _USUAL and not of_many:
        # heating is off all summer: only the others can tell
        limit, contradicted = np.inf, contradicted and run > _LONGER * before.longest_run
    # in a window no longer than the longest run of training a run over all of it stands out, unless it is a rest
    everywhere = run == len(present) and not resting and run >= _LEAST_STUCK_ALL
    if run <= limit and not contradicted and not everywhere:
        return None
    where = "" if run == len(present) else f" for {run:,} of {len(present):,} rows"
    return f"{column.name} is stuck at {value:g}{where}"


def piled(
    column: Column,
    before: NumericBaseline,
    values: Numbers,
    expected: tuple[Numbers, float] | None,
    stamps: Numbers | None = None,
) -> str | None:
    """Return what is said of a range that ends in a pile: clipped, or a number that stands for no value."""
    there = np.isfinite(values)
    present = values[there]
    if len(present) < LEAST_ROWS or before.deviation == 0:
        return None
    for edge, sign in ((present.max(), 1), (present.min(), -1)):
        at_edge = present == edge
        share, before_share = float(at_edge.mean()), _share(before.values, edge)
        if at_edge.sum() < _LEAST_PILE or share == 1 or (stamps is not None and _of_few(stamps[there], at_edge)):
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
        if len(present) < _LEAST_FOR_PILE:
            cut = expected is not None and _cut(present, expected[0][there], expected[1], at_edge, sign)
        else:
            cut = share >= _highest_share(before.values)
        if not cut and not alone_there:
            continue
        if float((sign * (before.values - edge) > 0).mean()) >= _CUT_OFF:
            return _cut_off(column, before.values, present, edge, sign)
    return None


def _alone_there(before: NumericBaseline, rest: Numbers, count: int, share: float, before_share: float) -> bool:
    """Whether one value is far more frequent than any other of the window, and than it was: the others hardly repeat.

    Values at which the column rests were frequent in training, and are no others.
    """
    values, counts = np.unique(rest, return_counts=True)
    if len(values) < _LEAST_OTHERS or share < _TIMES_BEFORE * before_share:
        return False
    return all(_share(before.values, value) >= _RESTING for value in values[counts * _TIMES_OTHERS > count])


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


def _cut(present: Numbers, expected: Numbers, usual: float, at_edge: Numbers, sign: int) -> bool:
    """Whether the other columns go on beyond the pile: further than in the other rows, whose season is the same."""
    beyond = sign * (expected - present)
    low, high = np.quantile(expected[at_edge], (0.1, 0.9))
    further = float(beyond[at_edge].mean() - np.median(beyond[~at_edge]))
    return bool(further >= _BEYOND_PILE * usual and high - low >= _BEYOND_PILE * usual)


def broken_text(column: Column, before: CategoryBaseline, values: Numbers) -> str | None:
    """Return what is said of text that was read with the wrong encoding, or of a category under a new name.

    Parameters
    ----------
    values : ndarray of str
        Empty where missing.
    """
    found, counts = np.unique(values[values != ""], return_counts=True)
    shares = dict(zip(map(str, found), counts / max(1, counts.sum()), strict=True))
    unseen = {name: share for name, share in shares.items() if name not in before.counts}
    garbled = {name: share for name, share in unseen.items() if _garbled(name)}
    if sum(garbled.values()) >= _MOJIBAKE_FRACTION:
        return f"{column.name} was read with the wrong encoding: {next(iter(garbled))!r}"
    total = max(1, sum(before.counts.values()))
    for name, share in unseen.items():
        if column.categories is not None and name in column.categories:
            continue
        alike = [old for old in before.counts if _plain(old) == _plain(name) and old not in shares]
        if alike:
            return f"{column.name} has {name!r} for {alike[0]!r}: the category was renamed"
        gone = [
            old
            for old, count in before.counts.items()
            if old not in shares and count / total >= _COMMON and 0.5 <= share / (count / total) <= 2
        ]
        if gone and counts.sum() >= _LEAST_FOR_CATEGORY:
            return f"{column.name} has {name!r} as often as it had {gone[0]!r}, which is gone: it was renamed"
    return None


def _garbled(text: str) -> bool:
    return any(mark in text for mark in _GARBAGE) or any(
        ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in text
    )


def _plain(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def seldom_moves(sample: Numbers | None) -> bool:
    """Whether hardly one of 20 sampled rows differs from the one before it: a code of the calendar, a tariff.

    Examples
    --------
    >>> bool(seldom_moves(np.repeat([2023.0, 2024.0, 2025.0], 100))), bool(seldom_moves(np.arange(300.0) % 24))
    (True, False)
    """
    known = sample[np.isfinite(sample)] if sample is not None else np.empty(0)
    return len(known) >= _LEAST_FOR_SELDOM and float((np.diff(known) != 0).mean()) <= _SELDOM


def _saturated(before: NumericBaseline, value: float, share: float) -> bool:
    """Whether a value is the end of the scale, at which training rested, too: air that is full of water."""
    at_end = value in (before.values[0], before.values[-1])
    return bool(at_end and share >= _AT_THE_END and before.longest_run >= _LEAST_RUN)


def _differ_within_moments(sample: Numbers | None, stamps: Numbers | None) -> bool:
    """Whether training rows of one moment had different values: each row is of a thing of its own."""
    if sample is None or stamps is None or len(sample) != len(stamps):
        return False
    together = (np.diff(stamps) == 0) & np.isfinite(sample[1:]) & np.isfinite(sample[:-1])
    if together.sum() < _LEAST_NEIGHBOURS:
        return False
    return float((np.diff(sample)[together] != 0).mean()) >= _DIFFER


def _longest(values: Numbers) -> tuple[int, int]:
    edges = np.concatenate([[-1], np.flatnonzero(np.diff(values) != 0), [len(values) - 1]])
    lengths = np.diff(edges)
    longest = int(lengths.argmax())
    return int(edges[longest]) + 1, int(lengths[longest])


def _share(values: Numbers, value: Any) -> float:
    return float(np.isclose(values, value, rtol=0, atol=1e-9).mean()) if len(values) else 0.0


def _highest_share(values: Numbers) -> float:
    return float(np.unique(values, return_counts=True)[1].max() / len(values)) if len(values) else 0.0


def _step(values: Numbers) -> float:
    different = np.unique(values)
    return float(np.median(np.diff(different))) if len(different) > 1 else 0.0
