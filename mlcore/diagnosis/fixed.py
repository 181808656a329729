"""One value too often: more than any stretch of training had it, or where the other columns say another."""

from __future__ import annotations

from typing import Final

import numpy as np

from mlcore.diagnosis.findings import Numbers, Times, of_stretches

#: Training cut into stretches as long as the window: so many tell what is usual.
_LEAST_STRETCHES: Final = 6
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
#: So many times as many as in the worst stretch of training: of holidays one year has a day more than the last.
_MORE: Final = 2.0
#: So improbable must so many changes be.
_LEAST_CHANCE: Final = 1e-6

Expected = tuple[Numbers, float]


def never_so_still(values: Numbers, sample: Numbers, times: Times, recent: Numbers | None) -> bool:
    """Whether a window has one value alone, as no stretch of training of its length had, nor the window before.

    That a column comes to rest, as heating does in summer, shows in the window before.
    """
    there, known = np.isfinite(values), np.isfinite(sample)
    present = values[there]
    if len(present) < _LEAST_STILL or present.min() != present.max() or np.ptp(times.window) <= 0:
        return False
    is_it = np.isclose(sample, present[0], rtol=0, atol=1e-6 * max(1.0, abs(present[0])))
    shares = of_stretches(is_it, known, times)
    if len(shares) < _LEAST_STRETCHES or shares.max() > _NEAR:
        return False
    if recent is not None and np.isfinite(recent).any():
        before = recent[np.isfinite(recent)]
        if float((before == present[0]).mean()) > shares.max():
            return False
    return bool(1 - shares.mean() >= _DEVIATIONS * max(_LEAST_DEVIATION, shares.std()))


def flickers(values: Numbers, stamps: Numbers, sample: Numbers) -> bool:
    """Whether a column changes far more often from moment to moment than in training.

    Of several rows of one moment, as of customers, nothing is said: they may come in another order. Nor of a column
    that had one value in training, as of a feed that had not begun: how it moves is not known, and no answer depends
    on it.

    Training's sampled rows lie at least as far apart as the window's, and differ at least as often: with their share so
    many changes have the probability of the binomial tail, which is believed below one in a million.

    Examples
    --------
    >>> holidays = np.repeat([0.0, 1.0, 0.0, 1.0, 0.0], 100)
    >>> hours, busy = np.arange(24), np.tile([0.0, 1.0], 12)
    >>> flickers(busy, hours, holidays), flickers(np.sort(busy), hours, holidays), flickers(busy, hours // 2, holidays)
    (True, False, False)
    """
    from scipy.special import bdtrc

    changes, known = (np.diff(rows[np.isfinite(rows)]) != 0 for rows in (values, sample))
    if not changes.any() or not known.any() or (np.diff(stamps) <= 0).any():
        return False
    usual = (known.sum() + 1) / (len(known) + 2)
    return bool(bdtrc(changes.sum() - 1, len(changes), usual) <= _LEAST_CHANCE)


def contradicting(
    values: Numbers,
    expected: Expected,
    sample: Numbers,
    expected_sample: Expected,
    recent: tuple[Numbers, Expected] | None,
    times: Times | None = None,
) -> tuple[float, float] | None:
    """Return the value that many rows have though the other columns say another, and their share; None without one.

    What the others say holds in training, in the window before and in the window's other rows, or nothing is said. With
    `times` no stretch of training had as many such rows, either: holidays have.
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
        known = np.isclose(sample, value, rtol=1e-6) & _apart(sample, expected_sample)
        if mine / present >= max(_LEAST_SHARE, _TIMES * max(usual, by_chance)) and (
            times is None or mine / present > _MORE * of_stretches(known, np.isfinite(sample), times).max(initial=0.0)
        ):
            return float(value), mine / present
    return None


def _apart(values: Numbers, expected: Expected) -> Numbers:
    return np.isfinite(values) & (np.abs(values - expected[0]) > _CONTRADICTS * expected[1])
