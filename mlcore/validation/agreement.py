"""How answers go with the target, whatever their level and scale: a model that says less gains nothing by it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.metrics import Output, metric_named
from mlcore.validation.bootstrap import Interval, expanded_interval
from mlcore.validation.report import GuardResult, Outcome

if TYPE_CHECKING:
    from mlcore.validation.subject import Subject

Array = np.ndarray[Any, Any]

#: Mixed-up labels let a challenger tell rows apart better than the champion does in one case of twenty at most.
_SURELY: Final = 0.95
#: By how much more than chance a champion tells its target worse than it did, in area under the curve or in explained
#: share, to have lost it.
_LOST: Final = 0.05


@dataclass(frozen=True, slots=True)
class Agreement:
    """The correlation of answers and target.

    Pearson's; of labels, of the probabilities p with the indicators y of the classes,
    sum_k cov(p_k, y_k) / sqrt(sum_k var p_k sum_k var y_k). Answers that are all the same go with nothing: 0.

    Parameters
    ----------
    challenger, champion, difference : Interval
        95 %, one-sided; the difference on the same resamples, above zero where the challenger's go better.
    """

    challenger: Interval
    champion: Interval
    difference: Interval


def agreement(subject: Subject) -> Agreement:
    """Return how the answers of challenger and champion go with the target."""
    tables = _tables(subject)
    totals = subject.resampler.totals(np.concatenate(tables, axis=1))
    own, other = (_correlations(sums) for sums in np.split(totals, [tables[0].shape[1]], axis=1))
    value, others = _values(tables)

    def interval(found: float, replicates: Array) -> Interval:
        return expanded_interval(found, replicates, subject.resampler.units, _SURELY)

    return Agreement(interval(value, own), interval(others, other), interval(value - others, own - other))


def labels_mixed_up(subject: Subject) -> Iterator[GuardResult]:
    """Ask where the champion tells the target much worse than it once did, and the challenger, by order, no better.

    While a relation changes a challenger learns of the new one what the champion cannot know. Labels that were mixed up
    in some of the rows hold nothing to be learned: the challenger tells rows apart as the champion does, or worse, and
    wins by being less sure. How well a champion told its own held-out rows it was released with: the area under the
    curve, or the share of the variance that it explained, which no base rate and no level moves.
    """
    task, regression = subject.usecase.contract.task, subject.challenger.probabilities is None
    metric = metric_named("r2" if regression else "roc_auc", task)
    own = subject.own_scores.get(metric.name, float("nan"))
    vouched = subject.usecase.contract.target.name in subject.usecase.validation.leaks.allow
    if subject.first or vouched or not math.isfinite(own):
        return
    # nothing is resampled where the champion tells these rows as it told its own
    value, others = _values(_tables(subject))
    now = max(others, 0.0) ** 2 if regression else metric.value(subject.truth, subject.opponent)
    told = f"the champion's {metric.name} was {own:.2f} and is {now:.2f} on these rows"
    if not own - now >= _LOST:
        yield GuardResult("leak", "labels mixed up", "passed", told, value - others, 0.0)
        return
    found = agreement(subject)
    most = max(found.champion.upper, 0.0) ** 2 if regression else subject.compare(metric).opponent.upper
    # it was measured on other rows, about as many, and their luck is in it as well
    lost, learned = own - now >= _LOST + math.sqrt(2) * (most - now), found.difference.lower > 0
    if lost:
        told += (
            f", and the challenger's answers go with the target {'better' if learned else 'no better'} than its "
            f"(correlation {found.challenger.value:.2f} against {found.champion.value:.2f})"
        )
    if lost and not learned:
        told += (
            ": it has learned to be less sure; are labels mixed up in some of the rows? If the target has become so "
            "much harder to tell, say it (validation.leaks.allow)"
        )
    outcome: Outcome = "not_judged" if lost and not learned else "passed"
    yield GuardResult("leak", "labels mixed up", outcome, told, found.difference.value, 0.0)


def _tables(subject: Subject) -> list[Array]:
    return [_products(subject.truth, output) for output in (subject.challenger, subject.opponent)]


def _values(tables: list[Array]) -> tuple[float, float]:
    """Return the correlation of the challenger's answers, and of the champion's, without resamples."""
    value, others = (float(_correlations(table.sum(axis=0)[None])[0]) for table in tables)
    return value, others


def _products(truth: Array, output: Output) -> Array:
    """Return of each row 1, answer * target, answer², target², then answer and target of each class."""
    said, true = output.values[:, None], truth[:, None]
    if output.probabilities is not None:
        said, true = output.probabilities, true == output.classes
    # near their means, or the differences of large sums are lost
    said, true = (values - values.mean(axis=0) for values in (said.astype(float), true.astype(float)))
    products = ((left * right).sum(axis=1) for left, right in ((said, true), (said, said), (true, true)))
    return np.column_stack([np.ones(len(true)), *products, said, true])


def _correlations(totals: Array) -> Array:
    """Return the correlation of each row of `totals`, sums of `_products`."""
    means = totals[:, 1:] / totals[:, :1]
    said, true = np.split(means[:, 3:], 2, axis=1)
    both, first, second = (
        means[:, number] - (left * right).sum(axis=1)
        for number, (left, right) in enumerate(((said, true), (said, said), (true, true)))
    )
    scale = np.sqrt(np.maximum(first * second, 0.0))
    return np.divide(both, scale, out=np.zeros_like(both), where=scale > 0)
