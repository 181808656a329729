"""Labels exchanged, a target of another sign or unit, or rows too late: the champion's answers show it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from mlcore.units import conversions
from mlcore.validation.report import GuardResult
from mlcore.validation.subject import Subject

Array = np.ndarray[Any, Any]

#: A champion whose answers correlate with the target like this has learned another target.
_AGAINST: Final = -0.5
#: By how much an exchange of labels must let the champion's answers correlate better, and in standard deviations.
_EXCHANGE_GAIN: Final = 0.3
_EXCHANGE_DEVIATIONS: Final = 4.0
#: Labels of fewer rows are not looked at.
_FEWEST_ROWS: Final = 10
#: How many rows too late a target may come, and how much less of it the answers may then leave unexplained.
_LATE: Final = (1, 2, 3, 7, 24)
_UNEXPLAINED: Final = 0.5
#: A calibrated champion's answers have the slope 1 against the target; so near to it they have, whatever they miss.
_SLOPE: Final = 1.2
#: Where their means are so near, in standard deviations of the target, they are of one scale.
_LEVEL: Final = 0.5
#: Answers that correlate less with the target tell nothing of its scale.
_FOLLOWS: Final = 0.3
_NAME: Final = "labels"


def labels_turned(subject: Subject) -> GuardResult:
    """Ask whether the champion's answers would fit much better were the target another one.

    An honest model fits the target of its own row best, or, where it says what was last seen, that of an earlier row;
    one whose answers fit a later row was given its targets in time.
    """
    if subject.usecase.contract.target.name in subject.usecase.validation.leaks.allow:
        return GuardResult("leak", _NAME, "passed", "the owner vouches for the target (validation.leaks.allow)")
    if subject.opponent.probabilities is not None:
        return _comes_late(subject) or _exchanged(subject)
    return _comes_late(subject) or _converted(subject) or _sign_turned(subject)


def _converted(subject: Subject) -> GuardResult | None:
    """Return a failure where the champion's answers are of the scale that the target had before a conversion."""
    said, true = subject.opponent.values, subject.truth
    correlation, target = _correlation(said, true), subject.usecase.contract.target
    if correlation < _FOLLOWS or _off_scale(said, true, correlation) <= 1:
        return None
    for name, factor, offset in conversions(target.unit):
        if factor > 0 and _off_scale(said, (true - offset) / factor, correlation) <= 1:
            sentence = (
                f"the champion's answers fit a target of another scale: is {target.name} {name}? "
                "If it did change so, say it (validation.leaks.allow)"
            )
            return GuardResult("leak", _NAME, "failed", sentence, correlation, _FOLLOWS)
    return None


def _off_scale(said: Array, true: Array, correlation: float) -> float:
    """Return how far answers are from the target in scale and in level, 1 being as far as honest ones are."""
    deviations = float(said.std()), float(true.std())
    slope = correlation * deviations[1] / deviations[0]
    level = abs(float(true.mean() - said.mean())) / deviations[1]
    return max(abs(np.log(slope)) / np.log(_SLOPE), level / _LEVEL)


def _sign_turned(subject: Subject) -> GuardResult:
    correlation = _correlation(subject.opponent.values, subject.truth)
    if correlation < _AGAINST:
        sentence = (
            f"the champion's answers run against the target (correlation {correlation:.2f}): was its sign turned?"
        )
        return GuardResult("leak", _NAME, "failed", sentence, correlation, _AGAINST)
    return GuardResult("leak", _NAME, "passed", f"champion and target run along (correlation {correlation:.2f})")


def _exchanged(subject: Subject) -> GuardResult:
    """Match the champion's probabilities with the labels (Kuhn, 1955); an answer that never varies fits none."""
    from scipy.optimize import linear_sum_assignment

    classes, probabilities = subject.opponent.classes, subject.opponent.probabilities
    assert classes is not None
    assert probabilities is not None
    known = [number for number, label in enumerate(classes) if (subject.truth == label).sum() >= _FEWEST_ROWS]
    true = [subject.truth == classes[number] for number in known]
    fit = np.array([[_correlation(probabilities[:, said], label.astype(float)) for said in known] for label in true])
    passed = GuardResult("leak", _NAME, "passed", "no exchange of labels would explain the champion's answers better")
    if len(known) < 2:
        return passed
    labels, said = linear_sum_assignment(-fit)
    moved = labels != said
    if not moved.any():
        return passed
    gain = float((fit[labels, said] - np.diag(fit))[moved].mean())
    deviations = gain * np.sqrt(len(subject.truth) * moved.sum()) / 2 / np.sqrt(2)
    if gain < _EXCHANGE_GAIN or deviations < _EXCHANGE_DEVIATIONS:
        return passed
    pairs = [f"{classes[known[b]]} as {classes[known[a]]}" for a, b in zip(labels[moved], said[moved], strict=True)]
    sentence = (
        f"the champion's answers would fit much better were labels exchanged ({', '.join(pairs[:3])}; correlation "
        f"{np.diag(fit)[moved].mean():.2f} now, {fit[labels, said][moved].mean():.2f} then): are they swapped in the "
        "data?"
    )
    return GuardResult("leak", _NAME, "failed", sentence, gain, _EXCHANGE_GAIN)


def _comes_late(subject: Subject) -> GuardResult | None:
    """Return a failure where the champion's answers fit the target of later rows much better than that of their own."""
    contract = subject.usecase.contract
    if contract.time is None or subject.frame[contract.time.name].duplicated().any():
        return None
    if subject.opponent.probabilities is None:
        pairs = [(subject.opponent.values, subject.truth)]
    else:
        assert subject.opponent.classes is not None
        columns = zip(subject.opponent.probabilities.T, subject.opponent.classes, strict=True)
        pairs = [(said, (subject.truth == label).astype(float)) for said, label in columns]
    now = _unexplained(pairs, 0)
    for rows in (rows for rows in _LATE if rows < len(subject.truth) / 4):
        then = _unexplained(pairs, rows)
        if then <= _UNEXPLAINED * now:
            sentence = (
                f"the champion's answers leave {now:.0%} of the target unexplained, and {then:.0%} of that of "
                f"{rows} row{'s' if rows > 1 else ''} later: does the target stand beside the wrong rows?"
            )
            return GuardResult("leak", _NAME, "failed", sentence, then, _UNEXPLAINED * now)
    return None


def _unexplained(pairs: list[tuple[Array, Array]], later: int) -> float:
    known = [_correlation(said[: len(said) - later], truth[later:]) for said, truth in pairs]
    return 1 - max(max(value, 0.0) for value in known) ** 2


def _correlation(first: Array, second: Array) -> float:
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
