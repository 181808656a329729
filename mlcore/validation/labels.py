"""Labels exchanged, seen once, or rows too late: the champion's answers show it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.validation.columns import told
from mlcore.validation.report import GuardResult, Outcome
from mlcore.validation.scale import FOLLOWS, LABELS, converted, correlation, sign_turned
from mlcore.validation.subject import Subject

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.usecase import UseCase

Array = np.ndarray[Any, Any]

#: By how much an exchange of labels must let the champion's answers correlate better, and in standard deviations.
_EXCHANGE_GAIN: Final = 0.3
_EXCHANGE_DEVIATIONS: Final = 4.0
#: Two models that tell two labels apart in opposite ways correlate so, and the champion's way is the wrong one if the
#: labels go against it surely (one-sided 95 %). Those that correlate like a mirror image have learned the same.
_OPPOSITE: Final = -0.3
_MIRRORED: Final = -0.7
_SURELY_AGAINST: Final = -1.645
#: Two labels have each other's share of the rows if it is so near to it, but for so many errors, and theirs so far.
_SHARE_NEAR: Final = 0.05
_SHARE_ERRORS: Final = 1.645
_SHARE_FAR: Final = 0.5
#: Where models tell the two apart in opposite ways besides, so much nearer is enough.
_SHARE_NEARER: Final = 1 / 3
#: Labels of fewer rows are not looked at, and pairs of so many of the most frequent ones.
_FEWEST_ROWS: Final = 10
_MOST_LABELS: Final = 50
#: How many rows too late a target may come, and how much less of it the answers may then leave unexplained.
_LATE: Final = (1, 2, 3, 7, 24)
_UNEXPLAINED: Final = 0.5

_PASSED: Final = GuardResult(
    "leak", LABELS, "passed", "no exchange of labels would explain the champion's answers better"
)


def rare_labels(usecase: UseCase, train: pd.DataFrame, holdout: pd.DataFrame) -> GuardResult:
    """Ask about labels of too few rows: one that is seen once can be learned or judged, not both, or is mistyped."""
    from mlcore.training.splits import target_values

    contract, least = usecase.contract, usecase.validation.minimum_label_rows
    labels, counts = np.unique(
        np.concatenate([target_values(rows, contract) for rows in (train, holdout)]), return_counts=True
    )
    fewest = int(counts.min())
    outcome: Outcome = "passed" if fewest >= least else "not_judged"
    sentence = f"each label has {fewest:,} rows or more"
    if outcome == "not_judged":
        rare = [f"{label} in {count:,}" for label, count in zip(labels, counts, strict=True) if count < least]
        sentence = (
            f"{contract.target.name} is {told(rare)} of {counts.sum():,} rows, which can't be learned and judged: "
            "correct or drop them, collect more, or let validation.minimum_label_rows be fewer"
        )
    return GuardResult("labels", "rows of each label", outcome, sentence, fewest, least)


def labels_turned(subject: Subject) -> GuardResult:
    """Ask whether the champion's answers would fit much better were the target another one.

    An honest model fits the target of its own row best, or, where it says what was last seen, that of an earlier row;
    one whose answers fit a later row was given its targets in time.
    """
    if subject.usecase.contract.target.name in subject.usecase.validation.leaks.allow:
        return GuardResult("leak", LABELS, "passed", "the owner vouches for the target (validation.leaks.allow)")
    if subject.opponent.probabilities is not None:
        return _comes_late(subject) or _exchanged(subject)
    return _comes_late(subject) or converted(subject) or sign_turned(subject)


def _exchanged(subject: Subject) -> GuardResult:
    """Match the champion's probabilities with the labels (Kuhn, 1955); an answer that never varies fits none."""
    from scipy.optimize import linear_sum_assignment

    classes, probabilities = subject.opponent.classes, subject.opponent.probabilities
    assert classes is not None
    assert probabilities is not None
    known = [number for number, label in enumerate(classes) if (subject.truth == label).sum() >= _FEWEST_ROWS]
    true = [subject.truth == classes[number] for number in known]
    fit = np.array([[correlation(probabilities[:, said], label.astype(float)) for said in known] for label in true])
    if len(known) < 2:
        return _shares_exchanged(subject) or _PASSED
    labels, said = linear_sum_assignment(-fit)
    moved = labels != said
    if not moved.any():
        return _shares_exchanged(subject) or _partly_exchanged(subject) or _PASSED
    gain = float((fit[labels, said] - np.diag(fit))[moved].mean())
    deviations = gain * np.sqrt(len(subject.truth) * moved.sum()) / 2 / np.sqrt(2)
    if gain < _EXCHANGE_GAIN or deviations < _EXCHANGE_DEVIATIONS:
        return _shares_exchanged(subject) or _partly_exchanged(subject) or _PASSED
    pairs = [f"{classes[known[b]]} as {classes[known[a]]}" for a, b in zip(labels[moved], said[moved], strict=True)]
    sentence = (
        f"the champion's answers would fit much better were labels exchanged ({', '.join(pairs[:3])}; correlation "
        f"{np.diag(fit)[moved].mean():.2f} now, {fit[labels, said][moved].mean():.2f} then): are they swapped in the "
        "data?"
    )
    return GuardResult("leak", LABELS, "failed", sentence, gain, _EXCHANGE_GAIN)


def _shares_exchanged(subject: Subject) -> GuardResult | None:
    """Return a failure where two labels have come to be as frequent as the other one was, and were far from it.

    A champion that tells rows apart by little still knows how frequent each label is: a rare one that is nearly all
    now, and the frequent one that is as rare, are the same rows under each other's names.
    """
    classes, probabilities = subject.opponent.classes, subject.opponent.probabilities
    assert classes is not None
    assert probabilities is not None
    said, now = probabilities.mean(axis=0), _shares(subject, classes)
    for a, b in itertools.combinations(np.argsort(-said, kind="stable")[:_MOST_LABELS].tolist(), 2):
        near, far, error = _moved(said[[a, b]], now[[a, b]], subject)
        if near > _SHARE_NEAR + _SHARE_ERRORS * error or far < _SHARE_FAR:
            continue
        if correlation(probabilities[:, a], (subject.truth == classes[a]).astype(float)) < FOLLOWS:
            sentence = (
                f"the champion expects {classes[a]} in {said[a]:.0%} of these rows and {classes[b]} in {said[b]:.0%}, "
                f"and they are {now[a]:.0%} and {now[b]:.0%}: are these labels swapped in the data? If they did "
                "change, say it (validation.leaks.allow)"
            )
            return GuardResult("leak", LABELS, "failed", sentence, float(far), _SHARE_FAR)
    return None


def _partly_exchanged(subject: Subject) -> GuardResult | None:
    """Return a failure where the challenger tells two labels apart just the other way round than the champion does.

    Labels that were exchanged in most rows, not in all, fit neither model well. But the challenger, that learned them,
    then calls one label what the champion calls the other, and the held-out labels, too, go against the champion. A
    label that became more or less frequent, or harder to tell, turns no model round; and labels that the champion
    never claimed to tell apart are told one way or the other by chance, unless the two are mirror images.
    """
    from scipy import stats

    found: list[tuple[float, float, Any, Any]] = []
    models = [
        (dict(zip(output.classes.tolist(), output.probabilities.T, strict=True)))
        for output in (subject.opponent, subject.challenger)
        if output.classes is not None and output.probabilities is not None
    ]
    labels, counts = np.unique(subject.truth, return_counts=True)
    frequent = labels[np.argsort(-counts, kind="stable")][:_MOST_LABELS].tolist()
    rows = {label: np.flatnonzero(subject.truth == label) for label in frequent if all(label in m for m in models)}
    both = [(a, b) for a, b in itertools.combinations(rows, 2) if min(len(rows[a]), len(rows[b])) >= _FEWEST_ROWS]
    for first, second in both:
        pair = np.concatenate([rows[first], rows[second]])
        champion, challenger = (_between(model[first][pair], model[second][pair]) for model in models)
        alike = correlation(champion, challenger)
        if alike > _OPPOSITE:
            continue
        # a calibrated model's answers correlate with what they are about as their spread is to that of a yes or no
        claimed = float(champion.std() / np.sqrt(max(1 - champion.mean() ** 2, 1e-12)))
        fit = correlation(champion, (subject.truth[pair] == first).astype(float))
        if claimed >= FOLLOWS:
            against = _SURELY_AGAINST
        elif alike <= _MIRRORED:  # of many pairs that nothing tells apart some are told in opposite ways
            against = float(stats.norm.ppf(stats.norm.cdf(_SURELY_AGAINST) / len(both)))
        else:
            against = -_EXCHANGE_DEVIATIONS
        said = np.array([models[0][label].mean() for label in (first, second)])
        missed = (claimed / 2 - fit) * np.sqrt(len(pair)) >= _EXCHANGE_DEVIATIONS
        turned = (alike <= _MIRRORED and missed) or _each_others(said, _shares(subject, [first, second]), subject)
        if fit * np.sqrt(len(pair)) <= (0.0 if turned else against):
            found.append((alike, fit, first, second))
    if not found:
        return None
    alike, fit, first, second = min(found, key=lambda item: item[:2])
    sentence = (
        f"what the champion calls {first} the challenger has learned to call {second}, and the other way round "
        f"(correlation of their answers {alike:.2f}, of the champion's with the labels {fit:.2f}): are these labels "
        "swapped in many rows of the data? If they did change, say it (validation.leaks.allow)"
    )
    return GuardResult("leak", LABELS, "failed", sentence, alike, _OPPOSITE)


def _shares(subject: Subject, labels: Iterable[Any]) -> Array:
    return np.array([(subject.truth == label).mean() for label in labels])


def _moved(said: Array, now: Array, subject: Subject) -> tuple[float, float, float]:
    """Return how far the shares of two labels are from what was said of the other one, and of it, and their error."""
    error = float(np.sqrt(now * (1 - now) / len(subject.truth)).max())
    return float(np.abs(said[::-1] - now).max()), float(np.abs(said - now).min()), error


def _each_others(said: Array, now: Array, subject: Subject) -> bool:
    """Whether two labels surely have not the shares that were said of them, and rather those said of the other one."""
    near, far, error = _moved(said, now, subject)
    return far >= _EXCHANGE_DEVIATIONS * error and near <= _SHARE_NEARER * far


def _between(first: Array, second: Array) -> Array:
    """Return how much more likely the first of two labels is than the second where it is one of them, from -1 to 1."""
    total = first + second
    return np.asarray(np.where(total > 0, (first - second) / np.where(total > 0, total, 1.0), 0.0))


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
            return GuardResult("leak", LABELS, "failed", sentence, then, _UNEXPLAINED * now)
    return None


def _unexplained(pairs: list[tuple[Array, Array]], later: int) -> float:
    known = [correlation(said[: len(said) - later], truth[later:]) for said, truth in pairs]
    return 1 - max(max(value, 0.0) for value in known) ** 2
