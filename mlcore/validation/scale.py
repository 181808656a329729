"""A target of another unit or sign: what champion and challenger say shows it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from mlcore.units import conversions
from mlcore.validation.report import GuardResult
from mlcore.validation.subject import Subject

Array = np.ndarray[Any, Any]

#: The guard's name, whatever of the target was changed.
LABELS: Final = "labels"
#: A champion whose answers correlate with the target like this has learned another target.
_AGAINST: Final = -0.5
#: A calibrated champion's answers have the slope 1 against the target; so near to it they have, whatever they miss, and
#: so many standard errors of few rows besides.
_SLOPE: Final = 1.2
_SLOPE_ERRORS: Final = 1.645
#: Two models that say little of what is far out agree in that, more or less: where a scale is so many times as large,
#: or as small, their slope may be as far from it.
_TIMES: Final = 5.0
_SLOPE_OF_TIMES: Final = 2.0
#: Numbers whose mean is so many of their standard deviations from 0 have a sign, and so do those of which so few have
#: another one, and so many this one: lengths of stay, many of them 0.
_FROM_ZERO: Final = 2.0
_OTHER_SIGN: Final = 0.01
_OWN_SIGN: Final = 0.1
#: Where their means are so near, in standard deviations of the target, they are of one scale.
_LEVEL: Final = 0.5
#: Answers that correlate less with the target tell nothing of its scale, nor of two labels.
FOLLOWS: Final = 0.3


def converted(subject: Subject) -> GuardResult | None:
    """Return a failure where the champion's answers are of the scale that the target had before a conversion.

    They are held against the target and against the challenger's answers: where few features tell the target, or both
    models know their training rows too well, the two models are still nearer to each other than to it.
    """
    said, true = subject.opponent.values, subject.truth
    if not _elsewhere(said, true):
        return None
    target, found = subject.usecase.contract.target, subject.challenger.values
    for name, factor, offset in conversions(target.unit):
        for of_today in (true, found) if factor > 0 else ():
            fit = correlation(said, of_today)
            slope = _SLOPE_OF_TIMES if of_today is found and _is_many_times(factor) else _SLOPE
            follows = fit >= FOLLOWS and _off_scale(said, (of_today - offset) / factor, fit, slope) <= 1
            if follows or _level_is_converted(said, of_today, factor, offset):
                sentence = (
                    f"the champion's answers fit a target of another scale: is {target.name} {name}? "
                    "If it did change so, say it (validation.leaks.allow)"
                )
                return GuardResult("leak", LABELS, "failed", sentence, fit, FOLLOWS)
    return None


def _elsewhere(said: Array, true: Array) -> bool:
    """Whether answers are not where the target is, in level or, as far as they tell it, in scale."""
    fit = correlation(said, true)
    return _off_level(said, true) > 1 or (fit >= FOLLOWS and _off_scale(said, true, fit) > 1)


def _is_many_times(factor: float) -> bool:
    return not 1 / _TIMES < factor < _TIMES


def _off_scale(said: Array, true: Array, fit: float, usual: float = _SLOPE) -> float:
    """Return how far answers that correlate so with the target are from it in scale and in level; honest ones by 1."""
    deviations = float(said.std()), float(true.std())
    slope = fit * deviations[1] / deviations[0]
    error = np.sqrt(max(1 - fit**2, 0.0) / len(true)) / fit
    return max(abs(np.log(slope)) / (np.log(usual) + _SLOPE_ERRORS * error), _off_level(said, true))


def _off_level(said: Array, true: Array) -> float:
    return abs(float(true.mean() - said.mean())) / float(true.std()) / _LEVEL


def sign_turned(subject: Subject) -> GuardResult:
    """Return a failure where the champion's answers run against the target, or weakly so and are where it was before.

    A target of one sign, a price say, that has the other sign now is far from the answers, and near them turned back;
    so are the answers of a challenger that has learned it. One that is never near 0 is told by its sign alone.
    """
    said, true = subject.opponent.values, subject.truth
    fit = correlation(said, true)
    both = [(correlation(said, of_today), of_today) for of_today in (true, subject.challenger.values)]
    turned = any(against <= -FOLLOWS and _off_scale(said, -of_today, -against) <= 1 for against, of_today in both)
    other = _sign(said) * _sign(true) < 0
    if fit < _AGAINST or (turned and _off_level(said, true) > 1) or other:
        how = f"are {said.mean():.4g} in the mean, the target {true.mean():.4g}" if other else "run against the target"
        sentence = (
            f"the champion's answers {how} (correlation {fit:.2f}): was its sign turned? If it did change so, "
            "say it (validation.leaks.allow)"
        )
        return GuardResult("leak", LABELS, "failed", sentence, fit, _AGAINST)
    return GuardResult("leak", LABELS, "passed", f"champion and target run along (correlation {fit:.2f})")


def _sign(values: Array) -> float:
    """Return the sign of numbers that are far from 0, or that hardly ever have the other one; 0 where they do."""
    mean, shares = float(values.mean()), (float((values < 0).mean()), float((values > 0).mean()))
    one_sided = min(shares) <= _OTHER_SIGN and max(shares) >= _OWN_SIGN
    return float(np.sign(mean)) if one_sided or abs(mean) >= _FROM_ZERO * float(values.std()) else 0.0


def _level_is_converted(said: Array, true: Array, factor: float, offset: float) -> bool:
    """Whether a target of one sign is as many times as large as the answers as a conversion makes it, and many times.

    A champion that tells rows apart by little still knows how large the target is, its mean or, if it was fitted to
    absolute errors, its median.
    """
    if offset or not _is_many_times(factor) or _sign(said) * _sign(true) <= 0:
        return False
    levels = [(middle(said), middle(true)) for middle in (np.mean, np.median)]
    return any(now / then > 0 and abs(np.log(now / then / factor)) <= np.log(_SLOPE) for then, now in levels if then)


def correlation(first: Array, second: Array) -> float:
    """Return Pearson's correlation, 0 where it is not defined, whatever the scale of either."""
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 3:
        return 0.0
    parts = []
    for values in (first[both], second[both]):
        largest = float(np.abs(values).max())
        centred = values / largest - np.mean(values / largest) if largest > 0 else values
        length = float(np.linalg.norm(centred))
        if not length > 1e-12:
            return 0.0
        parts.append(centred / length)
    return float(parts[0] @ parts[1])
