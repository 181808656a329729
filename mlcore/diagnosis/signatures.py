"""Marks that faults leave in one column: pure functions of the column, its baseline and the window's values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from mlcore.diagnosis.findings import Numbers, Times, of_stretches, share_of

if TYPE_CHECKING:
    from mlcore.contract import Column
    from mlcore.drift.baseline import CategoryBaseline, NumericBaseline

LEAST_ROWS: Final = 12
#: Share of missing values beyond the baseline's that is a burst.
_MISSING_BURST: Final = 0.10
#: So improbable must so many missing values be of few rows, were each missing as often as in training.
_LEAST_CHANCE: Final = 1e-3
#: A stretch of training tells how much was missing from so many sampled rows on.
_LEAST_FOR_MISSING: Final = 20
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
#: While a sensor is stuck for nearly as long as ever, and as many rows, less movement of the others contradicts it.
_MOVES_LONG, _NEARLY_LONGEST, _LONG_RUN = 3.0, 0.6, 10
#: What is usual for a column stays for ever where nearly all rows have it.
_NEARLY_ALWAYS: Final = 0.8
#: Of several rows of one moment so many differ where they are of several things, such as customers; from so many on.
_DIFFER, _LEAST_NEIGHBOURS = 0.5, 50
#: A column whose sampled rows differ from those before this seldom rests for windows on end: year, season, tariff.
_SELDOM: Final = 0.05
_LEAST_FOR_SELDOM: Final = 50
#: A category this common does not vanish by chance from a window of so many rows.
_COMMON: Final = 0.05
_LEAST_FOR_CATEGORY: Final = 100
_MOJIBAKE_FRACTION: Final = 0.01
#: What UTF-8 read as Latin-1 or Windows-1252 begins with, byte order marks, and replacement and control characters.
_GARBAGE: Final = ("\ufffd", "\ufeff", "ï»¿", "Ã", "Â", "â€", "ÿþ", "þÿ")


def missing_burst(
    column: Column,
    before: NumericBaseline | CategoryBaseline,
    missing: int,
    rows: int,
    *,
    harmed: bool = True,
    sample: Numbers | None = None,
    times: Times | None = None,
) -> str | None:
    """Return what is said of more missing values than there ever were.

    As many as the contract allows are a fault only where the model is harmed besides, and of few rows only what is in
    one window of a thousand at most, were each row missing as often as in training (binomial tail).

    Parameters
    ----------
    missing, rows : int
        Of the window.
    harmed : bool, default=True
    sample : ndarray, optional
        The column in training: with `times` not many more than in the worst stretch as long as the window are usual.
    times : Times, optional
    """
    from scipy.special import bdtrc

    share, usual = missing / rows, before.missing_fraction
    allowed = usual + _MISSING_BURST
    if not harmed:
        allowed = max(allowed, column.maximum_missing_fraction)
    if share <= allowed or usual >= _SELDOM_THERE or bdtrc(missing - 1, rows, usual) > _LEAST_CHANCE:
        return None
    if times is not None and sample is not None and usual > 0:
        gone = np.isnan(sample) if sample.dtype.kind == "f" else sample == ""
        shares = of_stretches(gone, np.ones(len(gone), bool), times, _LEAST_FOR_MISSING)
        if share <= shares.max(initial=0.0) + _MISSING_BURST:
            return None
    return f"{share:.0%} of {column.name} are missing, {usual:.0%} were in training"


def stuck(
    column: Column,
    before: NumericBaseline,
    values: Numbers,
    expected: tuple[Numbers, float] | None,
    sample: Numbers | None = None,
    times: Times | None = None,
) -> str | None:
    """Return what is said of a sensor that repeats itself, in all of the window or a part.

    Parameters
    ----------
    expected : tuple of ndarray and float, or None
        What the other columns say, and the usual residual.
    sample : ndarray, optional
        Training rows in the order of time: of a column that hardly ever moves nothing is said.
    times : Times, optional
        Several rows of one moment may repeat each other without any sensor, unless those of training differed, as
        customers do.
    """
    there = np.isfinite(values)
    present = values[there]
    if len(present) < LEAST_ROWS or before.deviation == 0 or seldom_moves(sample):
        return None
    first, run = _longest(present)
    value = present[first]
    if run < max(_LEAST_RUN, _LEAST_STUCK_FRACTION * len(present)):
        return None
    share = share_of(before.values, value)
    # several rows of one moment may repeat each other; then only what is far beyond all of training tells of a sensor
    moments = _LEAST_RUN if times is None else len(np.unique(times.window[there][first : first + run]))
    by_moment = moments < _LEAST_RUN and (moments < _LEAST_MOMENTS or run <= _LONGEST_REST * before.longest_run)
    of_many = times is not None and _differ_within_moments(sample, times.sample)
    if share >= _NEARLY_ALWAYS or (by_moment and not of_many):
        return None
    at_the_end = _saturated(before, value, share)
    resting = share >= _RESTING or at_the_end
    longest = before.longest_run_of(value)
    limit = longest * (_LONGEST_REST if resting else 1.0 if run == len(present) else _LONGER)
    contradicted = False
    if expected is not None:
        low, high = np.quantile(expected[0][there][first : first + run], (0.1, 0.9))
        moved = (high - low) / expected[1]
        long = run >= max(_LONG_RUN, _NEARLY_LONGEST * longest)
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


def _differ_within_moments(sample: Numbers | None, stamps: Numbers) -> bool:
    """Whether training rows of one moment had different values: each row is of a thing of its own."""
    if sample is None or len(sample) != len(stamps):
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
