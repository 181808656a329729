"""What must hold besides the primary metric: limits, further metrics, slices, fairness, speed, size, bad rows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.errors import OwnCodeError
from mlcore.metrics import metric_named
from mlcore.policy.validation import SliceRule
from mlcore.slices import cut_slices, members
from mlcore.validation.constant import beside_the_constant
from mlcore.validation.evidence import calibration_error
from mlcore.validation.report import GuardResult, Outcome, SliceResult
from mlcore.validation.subject import Resampled, Subject, margin

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]
_TIMED_ROWS: Final = 200
#: Most earlier rows that are sent with a timed row of a model that looks back.
_HISTORY_ROWS: Final = 1_000


def all_guards(subject: Subject, clock: Callable[[], float] = time.perf_counter) -> tuple[GuardResult, ...]:
    """Check every guard that the policy names, and the ones that always hold; slices are judged by `slices`."""
    return (
        *_limits(subject),
        *beside_the_constant(subject),
        *_guard_metrics(subject),
        *_fairness(subject),
        *_invariances(subject),
        *_calibration(subject),
        *_profile(subject, clock),
        _bad_rows(subject),
    )


def slices(subject: Subject) -> tuple[list[SliceResult], list[GuardResult]]:
    """Compare both models on every slice, with Holm's correction (1979) over all of them."""
    found: list[SliceResult] = []
    probabilities: list[float] = []
    for rule in subject.usecase.validation.slices:
        parts = cut_slices(subject.frame, subject.usecase.contract, [rule])
        for part, rows in zip(parts, members(subject.frame, parts), strict=True):
            count = int(rows.sum())
            if count < rule.minimum_rows:
                found.append(SliceResult(part.column, part.label, count, None, None, None, None))
                probabilities.append(math.nan)
                continue
            resampled = subject.resampled(subject.metric, rows)
            result = resampled.result()
            allowed = margin(rule.margin_fraction, result.opponent.value)
            found.append(
                SliceResult(
                    part.column,
                    part.label,
                    count,
                    result.challenger.value,
                    result.opponent.value,
                    result.difference,
                    None,
                )
            )
            probabilities.append(_probability_of_worse(resampled, allowed))
    adjusted = _holm(np.array(probabilities))
    results = [
        SliceResult(
            item.column,
            item.slice,
            item.rows,
            item.challenger,
            item.opponent,
            item.difference,
            None if math.isnan(p) else float(p),
        )
        for item, p in zip(found, adjusted, strict=True)
    ]
    return results, [_slice_guard(subject, item) for item in results]


def _slice_guard(subject: Subject, item: SliceResult) -> GuardResult:
    name = f"{item.column} = {item.slice}"
    if item.adjusted_p is None:
        return GuardResult("slice", name, "not_judged", f"{item.rows} rows are too few to judge", blocking=False)
    level = 1 - subject.usecase.validation.guard_confidence
    outcome: Outcome = "failed" if item.adjusted_p <= level else "passed"
    sentence = f"{subject.metric.name} {item.challenger:.4g} against {item.opponent:.4g} on {item.rows:,} rows"
    return GuardResult("slice", name, outcome, sentence, item.challenger, item.opponent)


def _limits(subject: Subject) -> Iterator[GuardResult]:
    for limit in subject.usecase.validation.limits:
        metric = metric_named(limit.metric, subject.usecase.contract.task)
        value = metric.value(subject.truth, subject.challenger)
        for bound, holds, word in (
            (limit.minimum, limit.minimum is None or value >= limit.minimum, "at least"),
            (limit.maximum, limit.maximum is None or value <= limit.maximum, "at most"),
        ):
            if bound is not None:
                outcome: Outcome = "not_judged" if math.isnan(value) else "passed" if holds else "failed"
                sentence = f"{metric.name} is {value:.4g}, {word} {bound:g} is asked for"
                yield GuardResult("limit", metric.name, outcome, sentence, value, bound)


def _guard_metrics(subject: Subject) -> Iterator[GuardResult]:
    for rule in subject.usecase.validation.guard_metrics:
        result = subject.compare(metric_named(rule.metric, subject.usecase.contract.task))
        allowed = margin(rule.margin_fraction, result.opponent.value)
        outcome: Outcome = "passed" if result.difference.upper <= allowed else "failed"
        sentence = (
            f"{rule.metric} {result.challenger.value:.4g} against {result.opponent.value:.4g}: worse by at most "
            f"{result.difference.upper:.4g}, {allowed:.4g} is allowed"
        )
        yield GuardResult("guard_metric", rule.metric, outcome, sentence, result.difference.upper, allowed)


def _fairness(subject: Subject) -> Iterator[GuardResult]:
    """Compare selection rates and true and false positive rates between groups (Hardt, Price & Srebro, 2016)."""
    for rule in subject.usecase.validation.fairness:
        labels = np.unique(subject.truth)
        positive = rule.positive or str(labels[-1])
        selected, true = (
            np.asarray(values).astype(str) == positive for values in (subject.challenger.values, subject.truth)
        )
        known = {positive} & {str(label) for label in (*labels, *subject.challenger.values)}
        parts = cut_slices(subject.frame, subject.usecase.contract, [SliceRule(column=rule.column)])
        groups = [rows for rows in members(subject.frame, parts) if rows.sum() >= rule.minimum_rows]
        for name, limit, masks in (
            ("demographic_parity", rule.maximum_demographic_parity_difference, [np.ones(len(true), dtype=bool)]),
            ("equalised_odds", rule.maximum_equalised_odds_difference, [true, ~true]),
        ):
            if limit is None:
                continue
            if len(groups) < 2 or not known:
                why = "fewer than two groups are large enough" if known else f"no held-out row is {positive}"
                yield GuardResult("fairness", f"{name} of {rule.column}", "not_judged", why)
                continue
            value = max(_spread([_rate(selected, rows & mask) for rows in groups]) for mask in masks)
            outcome: Outcome = "passed" if value <= limit else "failed"
            sentence = f"groups of {rule.column} differ by {value:.3f}, at most {limit:g} is allowed"
            yield GuardResult("fairness", f"{name} of {rule.column}", outcome, sentence, value, limit)


def _invariances(subject: Subject) -> Iterator[GuardResult]:
    for rule in subject.usecase.validation.invariances:
        changed = subject.frame.assign(**{rule.column: subject.frame[rule.column] + rule.change})
        before, after = _score(subject.challenger), _score(subject.model.output(changed))
        allowed = rule.tolerance_fraction * float(np.ptp(before)) if len(before) else 0.0
        moved = after - before
        wrong = {"not_down": moved < -allowed, "not_up": moved > allowed, "same": np.abs(moved) > allowed}[
            rule.prediction
        ]
        share = float(wrong.mean())
        outcome: Outcome = "passed" if share <= rule.maximum_violations_fraction else "failed"
        sentence = (
            f"{rule.column} changed by {rule.change:g}: {share:.1%} of the rows answer other than {rule.prediction}"
        )
        yield GuardResult("invariance", rule.column, outcome, sentence, share, rule.maximum_violations_fraction)


def _calibration(subject: Subject) -> Iterator[GuardResult]:
    limit = subject.usecase.validation.maximum_calibration_error
    if limit is None:
        return
    value = calibration_error(subject)
    if math.isnan(value):
        yield GuardResult("calibration", "ten bins", "not_judged", "the target does not vary on these rows")
        return
    outcome: Outcome = "passed" if value <= limit else "failed"
    sentence = f"predictions are off by {value:.3f} on average over ten bins, {limit:g} is allowed"
    yield GuardResult("calibration", "ten bins", outcome, sentence, value, limit)


def _profile(subject: Subject, clock: Callable[[], float]) -> Iterator[GuardResult]:
    policy = subject.usecase.validation
    if policy.maximum_latency is not None and len(subject.frame):
        limit = policy.maximum_latency.total_seconds() * 1000
        taken = []
        for number in range(_TIMED_ROWS):
            row, history = _request(subject, number % len(subject.frame))
            began = clock()
            subject.model.output(row, history)
            taken.append((clock() - began) * 1000)
        value = float(np.quantile(taken, 0.99))
        outcome: Outcome = "passed" if value <= limit else "failed"
        sentence = f"99 of 100 single rows take at most {value:.2f} ms, {limit:g} ms is allowed"
        yield GuardResult("latency", "one row", outcome, sentence, value, limit)
    if policy.maximum_size_mb is not None:
        size = subject.model.size_bytes / 1e6
        outcome = "passed" if size <= policy.maximum_size_mb else "failed"
        sentence = f"its files take {size:.2f} MB, {policy.maximum_size_mb:g} MB are allowed"
        yield GuardResult("size", "files", outcome, sentence, size, policy.maximum_size_mb)


def _request(subject: Subject, number: int) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return a row as a caller asks about it; for a model that looks back, with the newest rows before it."""
    row, column = subject.frame.iloc[[number]], subject.usecase.contract.time
    if column is None or not subject.usecase.training.looks_back:
        return row, None
    earlier = subject.frame[subject.frame[column.name] < row[column.name].iloc[0]]
    return row, earlier.nlargest(_HISTORY_ROWS, column.name)


def _bad_rows(subject: Subject) -> GuardResult:
    """Ask about rows with nothing in them, and with categories never seen: a service will be asked, too."""
    frame = subject.frame.head(3).copy()
    for column in subject.usecase.contract.features:
        if column.type == "category":
            frame[column.name] = "never seen before"
        else:
            frame[column.name] = None
    try:
        answers = _score(subject.model.output(frame))
    except (ValueError, TypeError, OwnCodeError) as error:
        return GuardResult("bad_rows", "missing and unseen values", "failed", f"it cannot answer: {str(error)[:120]}")
    if not np.isfinite(answers).all():
        return GuardResult("bad_rows", "missing and unseen values", "failed", "an answer is not a number")
    return GuardResult("bad_rows", "missing and unseen values", "passed", "rows without any known value are answered")


def _probability_of_worse(resampled: Resampled, allowed: float) -> float:
    """Return the bootstrap probability of so large a worsening if the true one were just what is allowed."""
    spread, observed = resampled.differences, resampled.difference
    spread = spread[np.isfinite(spread)]
    if not len(spread) or not math.isfinite(observed):
        return 1.0
    centred = spread - observed + allowed
    return float((1 + (centred >= observed).sum()) / (1 + len(centred)))


def _holm(probabilities: Array) -> Array:
    adjusted = np.full(len(probabilities), np.nan)
    known = np.flatnonzero(~np.isnan(probabilities))
    order = known[np.argsort(probabilities[known])]
    scaled = probabilities[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted


def _score(output: Any) -> Array:
    return np.asarray(output.values if output.probabilities is None else output.probabilities[:, -1], dtype=float)


def _rate(selected: Array, rows: Array) -> float:
    return float(selected[rows].mean()) if rows.any() else math.nan


def _spread(rates: list[float]) -> float:
    known = [rate for rate in rates if not math.isnan(rate)]
    return max(known) - min(known) if len(known) > 1 else 0.0
