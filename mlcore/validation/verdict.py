"""What the numbers come to: promote, hold or reject, and whether that holds on rows that were never seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcore.validation.copies import NEW_PATTERNS, REPEATED, WAY_OUT, known_features
from mlcore.validation.report import GuardResult, MetricResult, Verdict
from mlcore.validation.subject import Subject, margin

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]


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


def on_new_rows(
    subject: Subject,
    train: pd.DataFrame,
    primary: MetricResult,
    leaks: Sequence[GuardResult],
    seed_noise: Array | float = 0.0,
) -> Iterator[GuardResult]:
    """Ask whether a promotion holds on the held-out rows that have no like among the training rows.

    Where it is surely not worse on these than the champion, beyond the margin, or surely better than the constant
    answer where it is the first, nobody is harmed by it, whether the others repeat by themselves or were copied. Where
    hardly any row is new the rows are of a stock of patterns, and so are those that a service is asked about.

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
    new = ~known_features(subject.usecase.contract, train, subject.frame)
    told = f"{int(new.sum()):,} of {len(new):,} held-out rows have features that no training row has"
    if new.mean() <= NEW_PATTERNS:
        sentence = f"{told}: rows are of a stock of patterns, and the verdict is on these"
        yield GuardResult("leak", "rows never seen", "not_judged", sentence, blocking=False)
        return
    result = subject.compare(subject.metric, new, seed_noise)
    told = f"{told}; on these {_told(result, subject)}"
    # an equal of the champion harms nobody; a first model that is no better than the constant answer is worth nothing
    allowed = 0.0 if subject.first else margin(subject.usecase.validation.margin_fraction, result.opponent.value)
    if result.difference.upper <= allowed:
        yield GuardResult("leak", "rows never seen", "passed", told, result.difference.upper, allowed)
        return
    sentence = (
        f"{told}, where {allowed:.4g} is allowed: better only where rows repeat; are these copies? If so, drop "
        f"duplicates (cleaning.exact_duplicates) and train again; if rows repeat by themselves, {WAY_OUT}"
    )
    yield GuardResult("leak", "rows never seen", "not_judged", sentence, result.difference.upper, allowed)
