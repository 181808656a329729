"""One value too often: more than any stretch of training had it, or where the other columns say another."""

from __future__ import annotations

from typing import Final

import numpy as np

from mlcore.diagnosis.findings import Numbers

#: Training cut into stretches as long as the window: so many, of so many sampled rows each, tell what is usual.
_LEAST_STRETCHES, _LEAST_OF_STRETCH = 6, 8
#: A window all of one value is none of the world's where training is so many standard deviations of a stretch away,
#: and no stretch came near.
_DEVIATIONS, _NEAR, _LEAST_DEVIATION = 6.0, 0.95, 0.02
_LEAST_STILL: Final = 24
#: Rows whose value lies so many usual residuals from what the others say contradict them.
_CONTRADICTS: Final = 4.0
#: So much of a window of so many rows, a month of days, contradicts by one value, and so many times as often as
#: training, the window before and the window's other rows do.
_LEAST_SHARE, _LEAST_ROWS, _TIMES = 0.1, 28, 4.0
_MOST_VALUES: Final = 3

Expected = tuple[Numbers, float]


def never_so_still(
    values: Numbers, stamps: Numbers, sample: Numbers, sample_stamps: Numbers, recent: Numbers | None
) -> bool:
    """Whether a window has one value alone, as no stretch of training of its length had, nor the window before.

    That a column comes to rest, as heating does in summer, shows in the window before.
    """
    there, known = np.isfinite(values), np.isfinite(sample)
    present = values[there]
    if len(present) < _LEAST_STILL or present.min() != present.max() or np.ptp(stamps) <= 0:
        return False
    is_it = np.isclose(sample[known], present[0], rtol=0, atol=1e-6 * max(1.0, abs(present[0])))
    stretch = (sample_stamps[known] - sample_stamps.min()) // np.ptp(stamps)
    rows = np.bincount(stretch)
    shares = np.bincount(stretch, is_it)[rows >= _LEAST_OF_STRETCH] / rows[rows >= _LEAST_OF_STRETCH]
    if len(shares) < _LEAST_STRETCHES or shares.max() > _NEAR:
        return False
    if recent is not None and np.isfinite(recent).any():
        before = recent[np.isfinite(recent)]
        if float((before == present[0]).mean()) > shares.max():
            return False
    return bool(1 - shares.mean() >= _DEVIATIONS * max(_LEAST_DEVIATION, shares.std()))


def contradicting(
    values: Numbers,
    expected: Expected,
    sample: Numbers,
    expected_sample: Expected,
    recent: tuple[Numbers, Expected] | None,
) -> tuple[float, float] | None:
    """Return the value that many rows have though the other columns say another, and their share; None without one.

    What the others say holds in training, in the window before and in the window's other rows, or nothing is said.
    """
    there = np.isfinite(values)
    if there.sum() < _LEAST_ROWS:
        return None
    apart, present = _apart(values, expected), int(there.sum())
    usual = max(
        float(_apart(known, told).sum() / max(1, np.isfinite(known).sum()))
        for known, told in ((sample, expected_sample), *([recent] if recent is not None else []))
    )
    found, counts = np.unique(values[there], return_counts=True)
    for value in found[np.argsort(counts)[::-1][:_MOST_VALUES]]:
        at = values == value
        mine, others = int((at & apart).sum()), there & ~at
        # were the others' word worth less this time, the other rows would contradict it as often
        by_chance = float(apart[others].mean()) * at.sum() / present if others.any() else 0.0
        if mine / present >= max(_LEAST_SHARE, _TIMES * max(usual, by_chance)):
            return float(value), mine / present
    return None


def _apart(values: Numbers, expected: Expected) -> Numbers:
    return np.isfinite(values) & (np.abs(values - expected[0]) > _CONTRADICTS * expected[1])
