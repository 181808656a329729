"""What no honest model can know: the answer in a column, the future, copied rows, labels turned round or seen once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcore.metrics import Output
from mlcore.validation.agreement import labels_mixed_up
from mlcore.validation.copies import copied_rows
from mlcore.validation.future import columns_from_the_future
from mlcore.validation.labels import labels_turned, rare_labels
from mlcore.validation.report import GuardResult
from mlcore.validation.subject import Subject
from mlcore.validation.telling import columns_that_know, explained

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.usecase import UseCase

Array = np.ndarray[Any, Any]


def leaks_of_rows(usecase: UseCase, train: pd.DataFrame, holdout: pd.DataFrame) -> tuple[GuardResult, ...]:
    """Look for knowledge in the rows that will not be there when a model serves, whichever model that is.

    And for labels of which there is nothing to know yet.

    Parameters
    ----------
    usecase : UseCase
    train, holdout : DataFrame
        The rows the challenger was fitted on, and those that judge it, as `usable` or `split_holdout` returned them.

    References
    ----------
    Kaufman, S., Rosset, S., Perlich, C. & Stitelman, O. (2012). Leakage in data mining. ACM TKDD 6(4).
    """
    future = (columns_from_the_future(usecase, train),) if usecase.contract.time is not None else ()
    labels = (rare_labels(usecase, train, holdout),) if usecase.contract.task == "classification" else ()
    return columns_that_know(usecase, train, holdout), *future, copied_rows(usecase, train, holdout), *labels


def leaks_of_models(subject: Subject, train: pd.DataFrame) -> Iterator[GuardResult]:
    """Look for what shows in the answers: a challenger that knows too much, a champion that learned another target."""
    yield _too_good(subject, train)
    if not subject.first:
        yield labels_turned(subject)
        yield from labels_mixed_up(subject)


def _too_good(subject: Subject, train: pd.DataFrame) -> GuardResult:
    """Compare the challenger with the constant answer: an error of nearly nothing means several columns tell it."""
    from mlcore.training.splits import target_values

    limit = subject.usecase.validation.leaks.maximum_skill
    target = target_values(train, subject.usecase.contract)
    if subject.challenger.probabilities is None:
        skill = explained(subject.truth, subject.challenger.values, target.mean())
    else:
        most = Output(np.full(len(subject.truth), _most_frequent(target)))
        wrong = [float(np.mean(output.values != subject.truth)) for output in (subject.challenger, most)]
        # without an error on n rows the true rate is under 3 / n with 95 % confidence (Hanley & Lippman-Hand, 1983)
        wrong[0] = max(wrong[0], 3 / len(subject.truth))
        skill = 1 - wrong[0] / wrong[1] if wrong[1] > 0 else 0.0
    told = f"{skill:.2%} of the constant answer's error is gone"
    if skill > limit:
        sentence = f"{told}: do columns together hold the answer? (validation.leaks.maximum_skill is the limit)"
        return GuardResult("leak", "too good to be true", "failed", sentence, skill, limit)
    return GuardResult("leak", "too good to be true", "passed", told, skill, limit)


def _most_frequent(target: Array) -> Any:
    labels, counts = np.unique(target, return_counts=True)
    return labels[counts.argmax()]
