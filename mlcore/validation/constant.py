"""A challenger beside the constant answer: to beat a champion that has gone astray is not enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from mlcore.metrics import Output
from mlcore.validation.agreement import agreement
from mlcore.validation.report import GuardResult, Outcome

if TYPE_CHECKING:
    from mlcore.validation.subject import Subject


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
        told = agreement(subject)
        if told.challenger.lower > 0 and told.difference.lower > 0:
            sentence += (
                "; but its answers surely go with the target better than the champion's (correlation "
                f"{told.challenger.value:.2f}, {told.champion.value:.2f} of the champion)"
            )
        else:
            outcome = "failed" if result.difference.lower > 0 else "not_judged"
            sentence += ": do the features tell anything of the target, or is it mixed up?"
    yield GuardResult("baseline", "dummy", outcome, sentence, result.challenger.value, result.opponent.value)
