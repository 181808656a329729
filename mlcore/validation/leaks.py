"""What no honest model can know: the answer in a column, the future, copied rows, labels turned round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.metrics import Output
from mlcore.validation.report import GuardResult
from mlcore.validation.subject import Subject

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import Column

Array = np.ndarray[Any, Any]

#: Rows that one column is tried on; skill near 1 shows on far fewer.
_MOST_ROWS: Final = 20_000
#: Leaves of the tree that is fitted to one column: enough to follow any smooth curve to a thousandth.
_LEAVES: Final = 256
#: Newest rows that columns are compared with later targets on.
_MOST_AHEAD: Final = 50_000
#: How many rows ahead a column is compared with the target, alone and as the mean over so many rows.
_AHEAD: Final = (1, 2, 3, 6, 12, 24, 48, 168)
#: A column that correlates so strongly with a later target is made of it.
_CORRELATION: Final = 0.98
#: ... if it leaves at most this share of the variance that the target's own past, or the row's target, leaves.
_UNEXPLAINED: Final = 0.25
#: Agreement of the targets of equal rows beyond chance (Cohen, 1960) from which on they are copies.
_COPIES_KAPPA: Final = 0.9
_FEWEST_COPIES: Final = 5
#: Share of rows by which exchanging the labels must explain the champion's answers better, and in deviations.
_SWAP_GAIN: Final = 0.1
_SWAP_DEVIATIONS: Final = 4.0


def leak_guards(subject: Subject, train: pd.DataFrame, *, first: bool) -> Iterator[GuardResult]:
    """Look for knowledge that will not be there when the model serves.

    Parameters
    ----------
    subject : Subject
        The challenger and the held-out rows.
    train : DataFrame
        The rows the challenger was fitted on, in the order of time.
    first : bool
        Whether there is no champion; then its labels cannot be compared.

    References
    ----------
    Kaufman, S., Rosset, S., Perlich, C. & Stitelman, O. (2012). Leakage in data mining. ACM TKDD 6(4).
    """
    yield _columns_that_know(subject, train)
    if subject.usecase.contract.time is not None:
        yield _columns_from_the_future(subject, train)
    yield _copied_rows(subject, train)
    yield _too_good(subject, train)
    if not first:
        yield _labels(subject)


def _columns_that_know(subject: Subject, train: pd.DataFrame) -> GuardResult:
    """Fit a tree to each column alone: one that nearly gives the answer was most likely made from it."""
    from mlcore.training.splits import evenly_spread, target_values

    contract, policy = subject.usecase.contract, subject.usecase.validation.leaks
    fit, judge = (evenly_spread(len(frame), _MOST_ROWS) for frame in (train, subject.frame))
    target, truth = target_values(train.iloc[fit], contract), subject.truth[judge]
    best, knowing = 0.0, []
    for column in _candidates(subject):
        before, now = (
            _numbers(column, train.iloc[fit], frame) for frame in (train.iloc[fit], subject.frame.iloc[judge])
        )
        skill = _skill_of(before, target, now, truth, regression=contract.task == "regression")
        best = max(best, skill)
        if skill >= policy.maximum_column_skill:
            knowing.append(f"{column.name} alone explains {skill:.1%} of {contract.target.name}")
    if knowing:
        sentence = (
            f"{'; '.join(knowing)}: is it known before the prediction? If so, name it under validation.leaks.allow, "
            "if not, under training.exclude"
        )
        return GuardResult("leak", "target in a column", "failed", sentence, best, policy.maximum_column_skill)
    sentence = f"no column alone explains more than {best:.1%} of {contract.target.name}"
    return GuardResult("leak", "target in a column", "passed", sentence, best, policy.maximum_column_skill)


def _skill_of(before: Array, target: Array, now: Array, truth: Array, *, regression: bool) -> float:
    """Return the share of the squared error, or of the log loss or of the wrong labels, that one column takes away."""
    from sklearn.metrics import log_loss
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if regression:
        tree = DecisionTreeRegressor(max_leaf_nodes=_LEAVES, min_samples_leaf=5, random_state=0).fit(before, target)
        return _explained(truth, tree.predict(now), target.mean())
    known = np.isin(truth, np.unique(target))
    if len(np.unique(truth[known])) < 2:
        return 0.0
    tree = DecisionTreeClassifier(max_leaf_nodes=_LEAVES, min_samples_leaf=5, random_state=0).fit(before, target)
    # a leaf of one class is not certainty: without this one wrong row in a thousand would cost the whole skill
    given = np.clip(tree.predict_proba(now[known]), 1e-3, None)
    given /= given.sum(axis=1, keepdims=True)
    shares = np.tile([np.mean(target == label) for label in tree.classes_], (int(known.sum()), 1))
    losses = [log_loss(truth[known], answers, labels=tree.classes_) for answers in (given, shares)]
    wrong = [float(np.mean(tree.classes_[answers.argmax(axis=1)] != truth[known])) for answers in (given, shares)]
    return max(1 - with_it / without if without > 0 else 0.0 for with_it, without in (losses, wrong))


def _explained(truth: Array, answers: Array, constant: float) -> float:
    """Return the share of a constant answer's squared error that `answers` take away; 0 where it makes none."""
    spread = float(np.mean((truth - constant) ** 2))
    return 1 - float(np.mean((truth - answers) ** 2)) / spread if spread > 0 else 0.0


def _columns_from_the_future(subject: Subject, train: pd.DataFrame) -> GuardResult:
    """Compare each column with the target of later rows: one that equals it was not known at its time."""
    contract = subject.usecase.contract
    keys = [column.name for column in contract.keys]
    rows = train.sort_values([*keys, contract.time.name], kind="stable") if contract.time else train
    series = rows[keys].ne(rows[keys].shift()).any(axis=1).cumsum().to_numpy() if keys else np.zeros(len(rows))
    if keys and len(np.unique(series)) > len(rows) / 2:
        series = np.zeros(len(rows))  # a key for each row tells no series apart
        rows = train
    rows, series = rows.tail(_MOST_AHEAD), series[-_MOST_AHEAD:]
    target = _numbers(contract.target, rows, rows)[:, 0]
    later = _later_targets(target, series)
    found = []
    for column in _candidates(subject):
        values = _numbers(column, rows, rows, labels_of=contract.target)[:, 0]
        made_of = _made_of_later(values, target, later)
        if made_of:
            found.append(f"{column.name} is {made_of}")
    name = "column from the future"
    if found:
        sentence = (
            f"{'; '.join(found)} of {contract.target.name}: exclude it (training.exclude), or vouch that it is known "
            "before the prediction (validation.leaks.allow)"
        )
        return GuardResult("leak", name, "failed", sentence)
    return GuardResult("leak", name, "passed", f"no column equals {contract.target.name} of later rows")


def _later_targets(target: Array, series: Array) -> list[tuple[str, Array, float]]:
    """Return what of the target comes later: in words, row by row, and how well the row's own target tells it."""
    found = []
    for steps in (steps for steps in _AHEAD if steps < len(target) / 4):
        for what, later in (
            (f"the value {steps} rows later", _shifted(target, steps, series)),
            (f"the mean of the next {steps} values", _mean_ahead(target, steps, series)),
        ):
            found.append((what, later, abs(_correlation(target, later))))
    return found


def _made_of_later(values: Array, target: Array, later: list[tuple[str, Array, float]]) -> str:
    """Return which later values of the target a column equals but for a factor and noise; empty where none."""
    beside = abs(_correlation(values, target))
    for what, wanted, by_itself in later:
        strength, usual = abs(_correlation(values, wanted)), max(beside, by_itself)
        if strength >= _CORRELATION and 1 - strength**2 <= _UNEXPLAINED * (1 - usual**2):
            return f"{what} (correlation {strength:.3f})"
    return ""


def _copied_rows(subject: Subject, train: pd.DataFrame) -> GuardResult:
    """Count held-out rows that the challenger was fitted on: equal in every feature and in the target.

    Rows of few distinct values repeat by themselves, and then their targets differ as often as chance has it; the
    targets of copies are equal.
    """
    import pandas as pd

    contract, policy = subject.usecase.contract, subject.usecase.validation.leaks
    name = "rows on both sides"
    features = [column.name for column in contract.features]
    whole = [*features, contract.target.name]
    (seen, seen_whole), (held_out, held_out_whole) = (
        (_hashes(frame, features), _hashes(frame, whole)) for frame in (train, subject.frame)
    )
    matches = pd.Series(seen).value_counts().reindex(held_out).fillna(0).to_numpy()
    agreeing = pd.Series(seen_whole).value_counts().reindex(held_out_whole).fillna(0).to_numpy()
    copies, repeats = agreeing > 0, matches > 0
    share = float(copies.mean())
    chance = float((train[contract.target.name].value_counts(normalize=True) ** 2).sum())
    agreement = float((agreeing[repeats] / matches[repeats]).mean()) if repeats.any() else 0.0
    kappa = (agreement - chance) / (1 - chance) if chance < 1 else 0.0
    told = f"{copies.sum():,} of {len(held_out):,} held-out rows ({share:.1%}) are also among the training rows"
    if share > policy.maximum_copies_fraction and copies.sum() >= _FEWEST_COPIES and kappa >= _COPIES_KAPPA:
        sentence = (
            f"{told}, target and all: drop duplicates (cleaning.exact_duplicates) or their source, then train again"
        )
        return GuardResult("leak", name, "failed", sentence, share, policy.maximum_copies_fraction)
    return GuardResult("leak", name, "passed", told, share, policy.maximum_copies_fraction)


def _too_good(subject: Subject, train: pd.DataFrame) -> GuardResult:
    """Compare the challenger with the constant answer: an error of nearly nothing means several columns tell it."""
    from mlcore.training.splits import target_values

    limit = subject.usecase.validation.leaks.maximum_skill
    target = target_values(train, subject.usecase.contract)
    if subject.challenger.probabilities is None:
        skill = _explained(subject.truth, subject.challenger.values, target.mean())
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


def _labels(subject: Subject) -> GuardResult:
    """Ask whether the champion's answers would fit much better were the labels exchanged (or the sign turned)."""
    name = "labels"
    if subject.opponent.probabilities is None:
        correlation = _correlation(subject.opponent.values, subject.truth)
        if correlation < -0.5:
            sentence = (
                f"the champion's answers run against the target (correlation {correlation:.2f}): was its sign turned?"
            )
            return GuardResult("leak", name, "failed", sentence, correlation, -0.5)
        return GuardResult("leak", name, "passed", f"champion and target run along (correlation {correlation:.2f})")
    from scipy.optimize import linear_sum_assignment

    labels = np.unique(np.concatenate([subject.truth, subject.opponent.values]))
    pairs = np.searchsorted(labels, subject.truth) * len(labels) + np.searchsorted(labels, subject.opponent.values)
    confusion = np.bincount(pairs, minlength=len(labels) ** 2).reshape(len(labels), len(labels))
    true, said = linear_sum_assignment(-confusion)
    best, plain, rows = int(confusion[true, said].sum()), int(np.trace(confusion)), len(subject.truth)
    # an answer that is nearly always the same fits any label that is frequent: an exchange must tell more than that
    constant = int(confusion.sum(axis=1).max())
    deviations = (best - plain) / np.sqrt(max(1, best + plain))
    swapped = [f"{labels[a]} as {labels[b]}" for a, b in zip(said, true, strict=True) if a != b]
    if best - plain > _SWAP_GAIN * rows and best - constant > _SWAP_GAIN * rows and deviations > _SWAP_DEVIATIONS:
        sentence = (
            f"the champion is right on {plain / rows:.0%} of the rows, and would be on {best / rows:.0%} were labels "
            f"exchanged ({', '.join(swapped[:3])}): are they swapped in the data?"
        )
        return GuardResult("leak", name, "failed", sentence, best / rows, plain / rows)
    return GuardResult("leak", name, "passed", "no exchange of labels would explain the champion's answers better")


def _hashes(frame: pd.DataFrame, columns: list[str]) -> Array:
    """Return 64 bits for each row."""
    import pandas as pd

    return np.asarray(pd.util.hash_pandas_object(frame[columns], index=False))


def _candidates(subject: Subject) -> list[Column]:
    """Return the columns that a model sees and that nobody has vouched for."""
    usecase = subject.usecase
    spared = {*usecase.training.exclude, *usecase.validation.leaks.allow}
    return [column for column in usecase.contract.features if column.name not in spared]


def _numbers(column: Column, known: pd.DataFrame, frame: pd.DataFrame, labels_of: Column | None = None) -> Array:
    """Return a column as numbers, shape (n, 1): categories by their place among the values of `known`."""
    import pandas as pd

    values = frame[column.name]
    if column.type == "timestamp":
        return values.astype("int64").to_numpy(dtype=float)[:, None]
    if column.is_numeric:
        return values.to_numpy(dtype=float, na_value=np.nan)[:, None]
    levels = known[column.name].astype(str).unique()
    if labels_of is not None and not labels_of.is_numeric:
        levels = np.union1d(levels, known[labels_of.name].astype(str).unique())
    return np.asarray(pd.Index(np.sort(levels)).get_indexer(values.astype(str)), dtype=float)[:, None]


def _most_frequent(target: Array) -> Any:
    labels, counts = np.unique(target, return_counts=True)
    return labels[counts.argmax()]


def _correlation(first: Array, second: Array) -> float:
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 3 or np.ptp(first[both]) == 0 or np.ptp(second[both]) == 0:
        return 0.0
    return float(np.corrcoef(first[both], second[both])[0, 1])


def _shifted(values: Array, steps: int, series: Array) -> Array:
    """Return the value `steps` rows later in the same series, NaN beyond its end."""
    later = np.full(len(values), np.nan)
    later[:-steps] = np.where(series[:-steps] == series[steps:], values[steps:], np.nan)
    return later


def _mean_ahead(values: Array, steps: int, series: Array) -> Array:
    """Return the mean of the next `steps` values of the same series, NaN where they are not all there."""
    sums = np.concatenate([[0.0], np.cumsum(np.nan_to_num(values))])
    means = np.full(len(values), np.nan)
    means[: len(values) - steps] = (sums[steps + 1 :] - sums[1 : len(values) - steps + 1]) / steps
    inside = np.isfinite(_shifted(values, steps, series))
    return np.where(inside, means, np.nan)
