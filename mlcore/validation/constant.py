"""A challenger beside the constant answer: to beat a champion that has gone astray is not enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.metrics import Output
from mlcore.validation.bootstrap import Interval, expanded_interval
from mlcore.validation.report import GuardResult, Outcome

if TYPE_CHECKING:
    from mlcore.validation.subject import Subject

Array = np.ndarray[Any, Any]

#: Mixed-up labels let a challenger tell rows apart better than the champion does in one case of twenty at most.
_SURELY: Final = 0.95


def beside_the_constant(subject: Subject) -> Iterator[GuardResult]:
    """Ask that the challenger be surely better than its own dummy, or know surely more than the champion.

    Labels that were mixed up let a challenger win over the champion by saying less, and what says nothing at all is
    better still. While a relation changes a constant may be better as well, since the challenger has learned more of
    the old one: but then it tells rows apart better than the champion, which who only says less does not.
    """
    dummy = subject.model.dummy
    if dummy is None or subject.first:
        return
    result = replace(subject, opponent=Output.of(dummy, subject.frame)).compare(subject.metric)
    sentence = (
        f"{result.name} {result.challenger.value:.4g} against {result.opponent.value:.4g} of always giving the same "
        "answer"
    )
    outcome: Outcome = "passed"
    if not result.difference.upper < 0:
        own, more = _tells(subject)
        if own.lower > 0 and more.lower > 0:
            sentence += (
                f"; but its answers go with the target better than the champion's (correlation {own.value:.2f}, "
                f"{own.value - more.value:.2f} of the champion, {_SURELY:.0%} sure)"
            )
        else:
            outcome = "failed" if result.difference.lower > 0 else "not_judged"
            sentence += ": do the features tell anything of the target, or is it mixed up?"
    yield GuardResult("baseline", "dummy", outcome, sentence, result.challenger.value, result.opponent.value)


def _tells(subject: Subject) -> tuple[Interval, Interval]:
    """Return how the challenger's answers go with the target, whatever their level and scale, and how much better.

    Pearson's correlation of answers and target; of labels, of the probabilities p with the indicators y of the classes,
    sum_k cov(p_k, y_k) / sqrt(sum_k var p_k sum_k var y_k). The second is the difference to the champion's on the same
    resamples. Answers that are all the same go with nothing: 0.
    """
    tables = [_products(subject.truth, output) for output in (subject.challenger, subject.opponent)]
    totals = subject.resampler.totals(np.concatenate(tables, axis=1))
    own, other = (_correlations(sums) for sums in np.split(totals, [tables[0].shape[1]], axis=1))
    value, others = (float(_correlations(table.sum(axis=0)[None])[0]) for table in tables)
    units = subject.resampler.units
    return (
        expanded_interval(value, own, units, _SURELY),
        expanded_interval(value - others, own - other, units, _SURELY),
    )


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
