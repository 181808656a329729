"""What the numbers come to: promote, hold or reject, and whether that holds on rows that no copy tells."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.validation.copies import REPEATED, WAY_OUT, training_rows_like
from mlcore.validation.report import GuardResult, MetricResult, Verdict
from mlcore.validation.subject import Subject, margin

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]

#: So many training rows with a held-out row's features say what one more, its copy, does.
_MANY_LIKES: Final = 10


def decide(
    subject: Subject, primary: MetricResult, guards: tuple[GuardResult, ...]
) -> tuple[Verdict, str, tuple[str, ...]]:
    """Return the verdict, what it rests on in a sentence, and every reason against a promotion."""
    policy, difference, told = subject.usecase.validation, primary.difference, _told(primary, subject)
    failed = [f"{guard.kind} {guard.name}: {guard.sentence}" for guard in guards if guard.outcome == "failed"]
    if not math.isfinite(difference.value):
        return "hold", f"{primary.name} is not defined on these rows.", (told,)
    if difference.lower > 0:
        failed.insert(0, f"it is worse than the {subject.opponent_name}: {told}")
    if failed:
        return "reject", f"Not promoted: {_ended(failed[0])}", tuple(failed)
    open_guards = [
        f"{guard.kind} {guard.name}: {guard.sentence}"
        for guard in guards
        if guard.outcome == "not_judged" and guard.blocking
    ]
    if open_guards:
        return "hold", f"Not decided: {_ended(open_guards[0])}", tuple(open_guards)
    if not _gained(subject, primary):
        return "hold", f"Neither better nor worse, {policy.confidence:.0%} sure: {told}.", (told,)
    if difference.upper < 0:
        return "promote", f"Better, {policy.confidence:.0%} sure: {told}.", ()
    allowed = margin(policy.margin_fraction, primary.opponent.value)
    return "promote", f"Not worse, within the margin of {allowed:.4g}, and the policy wants it: {told}.", ()


def _gained(subject: Subject, result: MetricResult) -> bool:
    """Whether it is surely better, or surely not worse where the policy wants that: what a promotion takes."""
    policy, upper = subject.usecase.validation, result.difference.upper
    enough = policy.when_not_worse == "promote" and not subject.first
    return upper < 0 or (enough and upper <= margin(policy.margin_fraction, result.opponent.value))


def _told(result: MetricResult, subject: Subject) -> str:
    difference, confidence = result.difference, subject.usecase.validation.confidence
    return (
        f"{result.name} {result.challenger.value:.4g} against {result.opponent.value:.4g} of the "
        f"{subject.opponent_name} (difference {difference.value:+.4g}, {2 * confidence - 1:.0%} "
        f"interval {difference.lower:+.4g} to {difference.upper:+.4g})"
    )


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith(("?", ".")) else f"{sentence}."


def on_untold_rows(
    subject: Subject,
    train: pd.DataFrame,
    primary: MetricResult,
    leaks: Sequence[GuardResult],
    seed_noise: Array | float = 0.0,
) -> Iterator[GuardResult]:
    """Ask whether a promotion holds on the held-out rows that no copy of theirs among the training rows could tell.

    These are rows that have no like there, or so many that one more tells little. Where it is surely not worse on these
    than the champion, beyond the margin, or surely better than the constant answer where it is the first, nobody is
    harmed by it, whether the others repeat by themselves or were copied.

    Parameters
    ----------
    subject : Subject
    train : DataFrame
        As `usable` returns it.
    primary : MetricResult
        Of all rows; what is no promotion is not asked.
    leaks : sequence of GuardResult
        What was found in the rows.
    seed_noise : ndarray or float
        As in `Subject.compare`.
    """
    repeats = next((leak for leak in leaks if leak.name == REPEATED and leak.outcome == "passed"), None)
    if repeats is None or (repeats.value or 0.0) <= (repeats.limit or 0.0) or not _gained(subject, primary):
        return
    likes = training_rows_like(subject.usecase.contract, train, subject.frame)
    untold = (likes == 0) | (likes >= _MANY_LIKES)
    told = (
        f"{int((likes == 0).sum()):,} of {len(likes):,} held-out rows have features that no training row has, "
        f"{int((likes >= _MANY_LIKES).sum()):,} those of {_MANY_LIKES} or more"
    )
    name = "rows that no copy tells"
    if subject.resampler.units_in(untold) < 2:
        sentence = f"{told}: are these copies? If rows are of a stock of patterns, {WAY_OUT}"
        yield GuardResult("leak", name, "not_judged", sentence)
        return
    result = subject.compare(subject.metric, untold, seed_noise)
    told = f"{told}; on these {_told(result, subject)}"
    # an equal of the champion harms nobody; a first model that is no better than the constant answer is worth nothing
    allowed = 0.0 if subject.first else margin(subject.usecase.validation.margin_fraction, result.opponent.value)
    upper = result.difference.upper
    if upper <= allowed:
        yield GuardResult("leak", name, "passed", told, upper, allowed)
        return
    sentence = (
        f"{told}, where {allowed:.4g} is allowed: better only where rows repeat; are these copies? If so, drop "
        f"duplicates (cleaning.exact_duplicates) and train again; if rows repeat by themselves, {WAY_OUT}"
    )
    yield GuardResult("leak", name, "not_judged", sentence, upper, allowed)
