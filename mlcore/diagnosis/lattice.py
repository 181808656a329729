"""The numbers that a column is written in: a step of decimals, or a scale of its sensor; a conversion leaves both."""

from __future__ import annotations

from typing import Final

import numpy as np

from mlcore.diagnosis.findings import Numbers

#: Share of values that the baseline's sensor never gives: from the first on it is another scale, up to the second not.
OFF_SCALE: Final = 0.8
ON_SCALE: Final = 0.12
#: So many different values fall on the scale by chance less than once in a hundred conversions.
_LEAST_DISTINCT: Final = 5
#: Values written with more decimals have none of their own.
_MOST_DECIMALS: Final = 5
#: Digits tell something from so many different values on, where most have others.
_LEAST_FOR_DIGITS, _ALL_OTHER, _ALL = 8, 0.6, 0.98
#: Conversions are written with six digits or so.
_WRITTEN: Final = 2e-6


def has_other_digits(known: Numbers, now: Numbers) -> bool:
    """Whether most values have decimals that the known ones never had."""
    step, some = decimal_step(known), now[now != 0]
    return len(np.unique(some)) >= _LEAST_FOR_DIGITS and step > 0 and _on_step(some, step, 0.0).mean() <= 1 - _ALL_OTHER


def digits_restored(known: Numbers, now: Numbers, undone: Numbers) -> bool:
    """Whether most values have decimals that there never were, and nearly none of them has once it is undone."""
    return has_other_digits(known, now) and _on_step(undone[now != 0], decimal_step(known), 0.0).mean() >= _ALL


def chance_of_return(known: Numbers, now: Numbers, factor: float, offset: float = 0.0) -> float:
    """Return how probable it is that values fall where the known ones were, undone, though nothing was converted.

    Numbers are written in steps of decimals, or lie on the scale of a sensor. Converted, and rounded again, to a step
    g, they leave gaps: undone all of them lie within g / (2 factor) of a known place. Of different values that were
    never converted each does so with the share that such places cover, or with the share of the known values that do,
    where that is more. The probability is the binomial tail: of steps and scale the smaller one, doubled (Bonferroni).

    Parameters
    ----------
    known : ndarray of shape (n,)
        Values of training.
    now : ndarray of shape (m,)
        Those of the window.
    factor, offset : float
        What they may have been multiplied by, and what then was added.

    Returns
    -------
    float in [0, 1]

    Examples
    --------
    Whole kilometres that were whole miles have gaps; 40 of them without one in a gap are no chance:

    >>> miles = np.arange(1.0, 100.0)
    >>> bool(chance_of_return(miles, np.round(miles[5:45] * 1.609344), 1.609344) < 1e-6)
    True
    >>> chance_of_return(miles, miles[5:45], 1.609344) > 0.5
    True
    """
    places, some = np.unique(known[known != 0]), np.unique(now[now != 0])
    if not len(some) or len(places) < 2:
        return 1.0
    step = decimal_step(places)
    found = [1.0]
    written = decimal_step(some)
    if step:
        grid = min(written, step) / abs(factor) / 2
        returned, usual = (_on_step((values - offset) / factor, step, grid) for values in (some, places))
        found.append(_tail(returned, usual, float(_reach((some - offset) / factor, step, grid).mean())))
    found.append(_of_scale(places, some, factor, offset, written))
    return min(1.0, 2 * min(found))


def _of_scale(scale: Numbers, some: Numbers, factor: float, offset: float, written: float) -> float:
    tolerance = max(written / abs(factor) / 2, _WRITTEN * float(np.abs(scale).max()))
    returned, usual = (
        _gaps(scale, undone[(undone >= scale[0] - tolerance) & (undone <= scale[-1] + tolerance)])
        <= tolerance * (1 + _WRITTEN)
        for undone in ((values - offset) / factor for values in (some, scale))
    )
    share = min(1.0, 2 * tolerance * len(scale) / float(np.ptp(scale)))
    return _tail(returned, usual, share)


def _tail(returned: Numbers, usual: Numbers, share: float) -> float:
    """Return how probable so many returns are, where each happens with the share of places, or of known values."""
    if not len(returned):
        return 1.0
    from scipy.special import bdtrc

    each = min(1.0, max(share, (usual.sum() + 1) / (len(usual) + 2)))
    return float(bdtrc(returned.sum() - 1, len(returned), each)) if returned.any() else 1.0


def off_scale(scale: Numbers, values: Numbers, tolerance: float = 1e-6) -> float | None:
    """Return the share of values between those of the scale; None where too few different ones say anything.

    Zero is left out: it stays zero in every unit.
    """
    inside = values[(values != 0) & (values >= scale[0] - tolerance) & (values <= scale[-1] + tolerance)]
    if len(np.unique(inside)) < _LEAST_DISTINCT:
        return None
    return float((_gaps(scale, inside) > tolerance).mean())


def _gaps(scale: Numbers, values: Numbers) -> Numbers:
    """Return how far each value is from the nearest one of the scale."""
    place = np.clip(np.searchsorted(scale, values), 1, len(scale) - 1)
    return np.minimum(np.abs(values - scale[place - 1]), np.abs(values - scale[place]))


def _on_step(values: Numbers, step: float, rounded: float) -> Numbers:
    """Return which values are whole multiples of a step, but for what they may have been rounded by."""
    parts = values / step
    return np.abs(parts - np.round(parts)) <= _reach(values, step, rounded) / 2


def _reach(values: Numbers, step: float, rounded: float) -> Numbers:
    """Return the share of a step that counts as a multiple of it."""
    written = np.clip(_WRITTEN * np.abs(values / step), 1e-6, 0.05)
    return np.minimum(1.0, 2 * np.maximum(written, rounded / step * (1 + _WRITTEN)))


def decimal_step(values: Numbers) -> float:
    """Return the unit of the last decimal that values are written with; 0 where they have too many.

    Examples
    --------
    >>> decimal_step(np.array([1.25, 3.5])), decimal_step(np.array([1 / 3]))
    (0.01, 0.0)
    """
    for digits in range(_MOST_DECIMALS):
        if np.allclose(values, np.round(values, digits), rtol=0, atol=1e-9):
            return float(10.0**-digits)
    return 0.0
