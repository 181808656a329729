"""The numbers that a column is written in: a step of decimals, or a scale of its sensor; a conversion leaves both."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from mlcore.diagnosis.findings import Numbers

#: Share of values that the baseline's sensor never gives: from the first on it is another scale, up to the second not.
OFF_SCALE: Final = 0.8
ON_SCALE: Final = 0.12
#: A scale is a scale where its values cover at most this share of their span.
_MOST_COVERED: Final = 0.35
#: So many different values fall on the scale by chance less than once in a hundred conversions.
_LEAST_DISTINCT: Final = 5
#: Values written with more decimals have none of their own; of so many the baseline's are told by.
_MOST_DECIMALS, _DIGITS_OF = 5, 5_000
#: Digits tell something from so many different values on; where nearly all have them, and most have others.
_LEAST_FOR_DIGITS, _ALL, _ALL_OTHER = 8, 0.98, 0.6


def has_other_digits(known: Numbers, now: Numbers) -> bool:
    """Whether most values have decimals that the known ones never had."""
    step, some = 2 * _half_step(_thinned(known)), now[now != 0]
    return len(np.unique(some)) >= _LEAST_FOR_DIGITS and step > 0 and _multiples(some, step) <= 1 - _ALL_OTHER


def on_scale(before: Numbers, now: Numbers, undone: Numbers, factor: float) -> bool:
    """Whether the values avoid the baseline's scale, and undone fall on it."""
    scale = np.unique(before)
    # a value rounded after the conversion comes back only nearly
    tolerance = max(_half_step(now) / abs(factor), 1e-6 * max(1.0, float(np.abs(scale).max())))
    span = scale[-1] - scale[0]
    if len(scale) < 2 or span <= 0 or len(scale) * 2 * tolerance > _MOST_COVERED * span:
        return False
    off_now, off_undone = off_scale(scale, now, tolerance), off_scale(scale, undone, tolerance)
    return off_now is not None and off_undone is not None and off_now >= OFF_SCALE and off_undone <= ON_SCALE


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


def digits_restored(before: Numbers, now: Numbers, undone: Numbers, factor: float) -> bool:
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
