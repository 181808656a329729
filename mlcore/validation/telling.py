"""Columns that alone tell the answer: the target, disguised, or something known only after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.validation.columns import numbers, places, suspects, told
from mlcore.validation.future import made_of_the_past
from mlcore.validation.gain import OtherColumns
from mlcore.validation.report import GuardResult

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import Column, DataContract
    from mlcore.usecase import UseCase

Array = np.ndarray[Any, Any]

#: Rows that one column is tried on; skill near 1 shows on far fewer.
_MOST_ROWS: Final = 10_000
#: Leaves of the tree that is fitted to one column: enough to follow any smooth curve to a thousandth.
_LEAVES: Final = 256
#: A value of a column is known from so many rows on.
_FEWEST_OF_A_VALUE: Final = 5
#: What a column tells where it is filled in takes so many rows of training, held out, and held out of each label.
_FEWEST_KNOWN: Final = (50, 20, 5)
#: A value that is so many times as frequent as the next one, and that of so many rows, stands for nothing known.
_PLACEHOLDER: Final = (10, 0.05)
#: Labels of fewer held-out rows may be told by luck: the others must be told as well, a fifth from the rest at a time.
_LUCK_ROWS: Final = 1_000
_FIFTHS: Final = 5
#: A column that equals a target of at least so many values in such a share of the rows was copied from it there.
_MANY_VALUES: Final = 50
_EQUAL: Final = 0.2
#: Of the order of a target it may leave half as much as of the target: an honest column tells the many usual rows best.
_OF_THE_ORDER: Final = 0.5
#: A column may be a class of a number where it has at most so many values, and so many rows for each: for the usual one
#: and for the others at least.
_MOST_CLASSES: Final = 50
_ROWS_OF_A_CLASS: Final = 20
#: A column that tells so much of the labels, or of one of them, is asked whether the other columns tell it, too.
_MUCH: Final = 0.9
_MUCH_OF_FEW: Final = 0.7
_MOST_ASKED: Final = 5
_REMEDY: Final = (
    "is it known before the prediction? If so, name it under validation.leaks.allow, if not, under training.exclude"
)


@dataclass(frozen=True, slots=True)
class _Table:
    """The target of the rows fitted on and held out, of which columns are asked, and what share of it one may tell."""

    target: Array
    truth: Array
    regression: bool
    name: str
    limit: float

    def of(self, target: Array, truth: Array) -> _Table:
        """Return the same for other rows."""
        return replace(self, target=target, truth=truth)

    def ranked(self) -> _Table:
        """Return the same with both as ranks among the rows fitted on, equal ones their mean."""
        order = np.sort(self.target)
        return self.of(*(_ranks(order, side) for side in (self.target, self.truth)))


def columns_that_know(usecase: UseCase, train: pd.DataFrame, holdout: pd.DataFrame) -> GuardResult:
    """Predict the target from each column alone: one that nearly gives the answer was most likely made from it.

    A column is also tried on the rows alone where it is filled in: a copy of the target that is there for some rows,
    and missing or 0 for the others, tells little of all of them. Where keys come back, one half of them is fitted and
    the other asked about: what tells whose row it is tells what was said of it before, which is known.
    """
    import pandas as pd

    from mlcore.training.splits import evenly_spread, target_values

    contract, policy = usecase.contract, usecase.validation.leaks
    before, now = (rows.iloc[evenly_spread(len(rows), _MOST_ROWS)] for rows in _apart(train, holdout, contract))
    target, truth = (target_values(rows, contract) for rows in (before, now))
    table = _Table(target, truth, contract.task == "regression", contract.target.name, policy.maximum_column_skill)
    best, knowing, asked, telling = 0.0, [], [], []
    for column in suspects(usecase):
        values = numbers(column, before, before), numbers(column, before, now)
        whole = None
        for skill, sentence in _told_by(column, *values, table):
            whole = skill if whole is None else whole
            if skill >= policy.maximum_column_skill and made_of_the_past(usecase, train, holdout, column, skill):
                continue
            best = max(best, skill)
            if skill >= policy.maximum_column_skill:
                knowing.append(sentence)
                break
        else:
            share = _copied(*values, table) if table.regression else 0.0
            if share >= _EQUAL and not made_of_the_past(usecase, train, holdout, column, whole or 0.0):
                knowing.append(f"{column.name} equals {table.name} in {share:.0%} of the rows")
            elif table.regression and (share := _classed(*values, table)) >= policy.maximum_column_skill:
                asked.append(
                    f"{column.name} tells {share:.1%} of what its few values can tell of the order of {table.name}, as "
                    "classes made of it do"
                )
            telling += _telling(column, *values, table, whole or 0.0)
    name, limit = "target in a column", policy.maximum_column_skill
    if knowing:
        return GuardResult("leak", name, "failed", f"{told(knowing)}: {_REMEDY}", best, limit)
    if telling:
        asked += _dominant(usecase, pd.concat([before, now]), np.concatenate([target, truth]), telling)
    if asked:
        return GuardResult("leak", name, "not_judged", f"{told(asked)}: {_REMEDY}", best, limit)
    sentence = f"no column alone explains more than {best:.1%} of {contract.target.name}"
    return GuardResult("leak", name, "passed", sentence, best, limit)


def _telling(column: Column, before: Array, now: Array, table: _Table, whole: float) -> list[tuple[float, str, Any]]:
    """Return how much a column tells of all labels together and of each one, where that is much.

    A column of no more values than there are labels may be the labels themselves, with errors: of it less is much.
    """
    if table.regression:
        return []
    classes = np.unique(table.target)
    found: list[tuple[float, str, Any]] = [(whole, column.name, None)]
    if len(classes) > 2:
        found += [(skill, column.name, label) for label, skill in _skill_by_label(before, now, table).items()]
    few = len(np.unique(before[~np.isnan(before)])) <= len(classes)
    return [item for item in found if item[0] >= (_MUCH_OF_FEW if few else _MUCH)]


def _skill_by_label(before: Array, now: Array, table: _Table) -> dict[Any, float]:
    """Return what one column tells of whether each label is the one; of few held-out rows, as `_skill` does."""
    parts = _fifths(before, now, table) if len(now) < _LUCK_ROWS else [(before, now, table)]
    found: dict[Any, list[float]] = {}
    for fitted, asked, part in parts:
        given = _given(fitted, asked, part)
        for number, label in enumerate(np.unique(part.target)):
            truth = part.truth == label
            rarer = min(int(truth.sum()), int((~truth).sum()))
            if rarer:
                wrong = min(int(((answers[:, number] > 0.5) != truth).sum()) for answers in given)
                found.setdefault(label, []).append(1 - wrong / rarer)
    rows = {label: int((table.truth == label).sum()) for label in found}
    return {
        label: float(np.mean(skills))
        for label, skills in found.items()
        if min(rows[label], len(now) - rows[label]) >= _FEWEST_KNOWN[2]
    }


def _dominant(usecase: UseCase, rows: pd.DataFrame, target: Array, telling: list[tuple[float, str, Any]]) -> list[str]:
    """Say which of the telling columns tell what all others do not."""
    others, name = OtherColumns(usecase, rows, target), usecase.contract.target.name
    found: dict[str, str] = {}
    for skill, column, label in sorted(telling, key=lambda item: -item[0])[:_MOST_ASKED]:
        gain = others.gain(column, label)
        if gain.dominant:
            what = name if label is None else f"whether {name} is {label}"
            found.setdefault(
                column,
                f"{column} alone tells {skill:.1%} of {what}, and without it {gain.without:.1%} of the rows are told "
                f"wrong, with it {gain.together:.1%}",
            )
    return list(found.values())


def _apart(train: pd.DataFrame, holdout: pd.DataFrame, contract: DataContract) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both sides, where most keys are on both with one half of them on each."""
    import pandas as pd

    keys = [column.name for column in contract.columns if column.role == "key"]
    if not keys:
        return train, holdout
    before, now = (pd.util.hash_pandas_object(rows[keys], index=False).to_numpy() for rows in (train, holdout))
    if np.isin(now, before).mean() < 0.5:
        return train, holdout
    first, second = before % 2 == 0, now % 2 == 1
    return (train[first], holdout[second]) if first.any() and second.any() else (train, holdout)


def _told_by(column: Column, before: Array, now: Array, table: _Table) -> Iterator[tuple[float, str]]:
    """Yield how much a column tells, of all rows and of parts of them, each with a sentence."""
    for skill, what in _alone(before, now, table):
        yield skill, f"{column.name} alone explains {skill:.1%} of {what}"
    for where, known in (
        ("where it is filled in", (~np.isnan(before), ~np.isnan(now))),
        ("where it is not its most frequent value", _unusual(before, now)),
    ):
        if known is None or known[0].all():
            continue
        part = table.of(*_where(known, (table.target, table.truth)))
        if _can_tell(part):
            for skill, what in _alone(*_where(known, (before, now)), part):
                yield skill, f"{column.name} alone explains {skill:.1%} of {what} {where} ({known[0].mean():.0%})"
    if not table.regression and np.isnan(before).any():
        yield from _told_by_a_gap(column, np.isnan(before), np.isnan(now), table)


def _where(known: tuple[Array, Array], sides: tuple[Array, Array]) -> tuple[Array, Array]:
    return sides[0][known[0]], sides[1][known[1]]


def _alone(before: Array, now: Array, table: _Table) -> Iterator[tuple[float, str]]:
    """Yield what a column tells by the places of its values or by a line through them, and what of.

    Of a number the order is asked about, too: where few values far out make most of the squared error, a class of the
    target, or its logarithm, explains little of it.
    """
    yield max(_skill(before, now, table), _on_a_line(before, now, table)), table.name
    if table.regression:
        order = _skill(before, now, table.ranked())
        if 1 - order <= _OF_THE_ORDER * (1 - table.limit):
            yield order, f"the order of {table.name}"


def _can_tell(part: _Table) -> bool:
    fitted, judged, of_each = _FEWEST_KNOWN
    if len(part.target) < fitted or len(part.truth) < judged or len(np.unique(part.target)) < 2:
        return False
    if part.regression:
        return True
    counts = np.sort(np.unique(part.truth, return_counts=True)[1])
    return len(counts) > 1 and int(counts[:-1].sum()) >= of_each


def _unusual(before: Array, now: Array) -> tuple[Array, Array] | None:
    """Return the rows that do not have the value which stands for nothing known; None where there is no such value."""
    times, share = _PLACEHOLDER
    values, counts = np.unique(before[~np.isnan(before)], return_counts=True)
    if len(values) < _MANY_VALUES:
        return None
    most, next_most = np.sort(counts)[[-1, -2]]
    if most < times * next_most or most < share * len(before):
        return None
    usual = values[counts.argmax()]
    return before != usual, now != usual


def _told_by_a_gap(column: Column, before: Array, now: Array, table: _Table) -> Iterator[tuple[float, str]]:
    """Say where a column is missing for just one of several labels."""
    for label in np.unique(table.target):
        fitted, truth = table.target == label, table.truth == label
        if min(int(truth.sum()), int((~truth).sum())) < _FEWEST_KNOWN[2]:
            continue
        answers = np.where(now, fitted[before].mean() > 0.5, fitted[~before].mean() > 0.5 if (~before).any() else False)
        skill = 1 - float(np.mean(answers != truth)) / min(float(truth.mean()), float(1 - truth.mean()))
        yield skill, f"whether {column.name} is missing tells {skill:.1%} of whether {table.name} is {label}"


def _skill(before: Array, now: Array, table: _Table) -> float:
    """Return what one column tells of the held-out rows; of few ones, no more than it tells of all."""
    skill = _skill_held_out(before, now, table)
    if table.regression or len(now) >= _LUCK_ROWS or skill < table.limit:
        return skill
    found = [_skill_held_out(*part) for part in _fifths(before, now, table) if len(np.unique(part[2].truth)) > 1]
    return min([skill, float(np.mean(found))]) if found else skill


def _on_a_line(before: Array, now: Array, table: _Table) -> float:
    """Return the share of the squared error that a straight line takes away: it goes on where a tree has no rows.

    One value far from all others makes most of the error, and a copy with noise tells it; a tree knows the next ones.
    """
    from sklearn.linear_model import LinearRegression

    known = np.isfinite(before), np.isfinite(now)
    if not table.regression or not known[0].any():
        return 0.0
    scale = max(float(np.abs(before[known[0]]).max()), np.finfo(float).tiny)
    answers = np.full(len(now), table.target[known[0]].mean())
    line = LinearRegression().fit(before[known[0], None] / scale, table.target[known[0]])
    if known[1].any():
        answers[known[1]] = line.predict(now[known[1], None] / scale)
    return explained(table.truth, answers, table.target.mean())


def _fifths(before: Array, now: Array, table: _Table) -> Iterator[tuple[Array, Array, _Table]]:
    """Yield each fifth of all rows as the one that is asked about, the others as those that are fitted."""
    values, target = np.concatenate([before, now]), np.concatenate([table.target, table.truth])
    for number in range(_FIFTHS):
        part = np.arange(len(values)) % _FIFTHS == number
        yield values[~part], values[part], table.of(target[~part], target[part])


def _skill_held_out(before: Array, now: Array, table: _Table) -> float:
    """Return the share of the squared error, or of the log loss or of the wrong labels, that one column takes away.

    The column is asked by a tree, which follows what is smooth, and by a table of its values, which knows codes.
    """
    target, truth, given = table.target, table.truth, _given(before, now, table)
    if table.regression:
        return max(explained(truth, answers[:, 0], target.mean()) for answers in given)
    classes = np.unique(target)
    known = np.isin(truth, classes)
    if len(np.unique(truth[known])) < 2:
        return 0.0
    shares = (target[:, None] == classes).mean(axis=0)
    return max(_classified(truth[known], answers[known], classes, shares) for answers in given)


def _given(before: Array, now: Array, table: _Table) -> tuple[Array, Array]:
    """Return what tree and table answer, shape (n, 1), or give each label, shape (n, n_labels)."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    before, now = places(before, now)
    kind = DecisionTreeRegressor if table.regression else DecisionTreeClassifier
    tree = kind(max_leaf_nodes=_LEAVES, min_samples_leaf=5, random_state=0).fit(before[:, None], table.target)
    if table.regression:
        return tree.predict(now[:, None])[:, None], _by_value(before, now, table.target[:, None])
    labels = (table.target[:, None] == np.unique(table.target)).astype(float)
    return tree.predict_proba(now[:, None]), _by_value(before, now, labels)


def _by_value(before: Array, now: Array, wanted: Array) -> Array:
    """Return the mean of `wanted`, shape (n, k), over the rows with the same value; of all rows where it is rare."""
    values, code = np.unique(before, return_inverse=True, equal_nan=True)
    counts = np.bincount(code)
    sums = np.column_stack([np.bincount(code, weights=column) for column in wanted.T])
    whole = wanted.mean(axis=0)
    means = np.where((counts >= _FEWEST_OF_A_VALUE)[:, None], sums / counts[:, None], whole)
    position = np.searchsorted(values, now).clip(max=len(values) - 1)
    same = (values[position] == now) | (np.isnan(values[position]) & np.isnan(now))
    return np.where(same[:, None], means[position], whole)


def _classified(truth: Array, given: Array, classes: Array, shares: Array) -> float:
    from sklearn.metrics import log_loss

    # a group of one class is not certainty: without this one wrong row in a thousand would cost the whole skill
    given = np.clip(given, 1e-3, None)
    given = given / given.sum(axis=1, keepdims=True)
    constant = np.tile(shares, (len(truth), 1))
    losses = [log_loss(truth, answers, labels=classes) for answers in (given, constant)]
    wrong = [float(np.mean(classes[answers.argmax(axis=1)] != truth)) for answers in (given, constant)]
    return max(1 - with_it / without if without > 0 else 0.0 for with_it, without in (losses, wrong))


def explained(truth: Array, answers: Array, constant: float) -> float:
    """Return the share of a constant answer's squared error that `answers` take away; 0 where it makes none."""
    scale = float(np.abs(truth - constant).max(initial=0.0))
    if not scale > 0:
        return 0.0
    spread = float(np.mean(((truth - constant) / scale) ** 2))
    return 1 - float(np.mean(((truth - answers) / scale) ** 2)) / spread


def _ranks(order: Array, values: Array) -> Array:
    """Return the mean place of each value among sorted ones."""
    return np.asarray(sum(np.searchsorted(order, values, side) for side in ("left", "right")) / 2)


def _copied(before: Array, now: Array, table: _Table) -> float:
    """Return the share of rows in which a column equals a target of many values; 0 where the row before does as often.

    What moves slowly equals what it was a row ago, and so does an honest column with the target of the row before.
    """
    values, target = np.concatenate([before, now]), np.concatenate([table.target, table.truth])
    seen, counts = np.unique(target, return_counts=True)
    if len(seen) < _MANY_VALUES or counts.max() > 0.1 * len(target):
        return 0.0
    share, by_itself = float(np.mean(values == target)), float(np.mean(target[1:] == target[:-1]))
    return share if share > 2 * by_itself else 0.0


def _classed(before: Array, now: Array, table: _Table) -> float:
    """Return how much of the order of a target a column of few values tells, as a share of what so few values can tell.

    The variance of ranks between its values (Kruskal & Wallis, 1952), over that between as many classes of as many rows
    that the target was cut into. Whatever few values tell of many, honest ones overlap.
    """
    values, target = np.concatenate([before, now]), np.concatenate([table.target, table.truth])
    known = np.isfinite(values)
    ranks = _ranks(np.sort(target[known]), target[known])
    code, counts = np.unique(values[known], return_inverse=True, return_counts=True)[1:]
    unusual = len(code) - int(counts.max(initial=0))
    if len(counts) > _MOST_CLASSES or len(code) < _ROWS_OF_A_CLASS * len(counts) or unusual < _ROWS_OF_A_CLASS:
        return 0.0
    sums = np.bincount(code, weights=ranks - ranks.mean())
    ordered = np.argsort(sums / counts)
    cut = np.add.reduceat(np.sort(ranks - ranks.mean()), np.cumsum(counts[ordered]) - counts[ordered])
    most = float((cut**2 / counts[ordered]).sum())
    return float((sums**2 / counts).sum()) / most if most > 0 else 0.0
