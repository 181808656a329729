"""Columns that are made of the target of later rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.validation.columns import numbers, suspects, told
from mlcore.validation.report import GuardResult

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import Column, DataContract
    from mlcore.usecase import UseCase

Array = np.ndarray[Any, Any]

#: Newest rows that are looked at, and how many there must be.
_MOST_ROWS: Final = 20_000
_FEWEST_ROWS: Final = 60
#: How far is looked ahead: rows, and rows that are looked at together whatever else is.
_REACH: Final = 168
_NEAREST: Final = 6
#: Windows whose mean, largest and smallest value are looked at.
_WINDOWS: Final = (2, 3, 4, 6, 7, 12, 14, 24, 30, 48, 96, 168)
#: Share of a column's variance that the future may leave for the column to be made of it,
_UNEXPLAINED: Final = 0.04
#: ... and as a share of what the past leaves.
_AGAINST_THE_PAST: Final = 0.25
#: The same where past and future together explain it, as they do a mean around a row.
_BOTH_UNEXPLAINED: Final = 0.002
_AGAINST_EITHER: Final = 0.02
#: Less than this is rounding.
_ROUNDING: Final = 1e-6
#: Share of the rows of the same time that a column need not tell apart to name the series.
_ALIKE: Final = 0.01
#: Labels that are looked at, and values of a column that are looked at one by one.
_MOST_LABELS: Final = 5
_MOST_LEVELS: Final = 20


@dataclass(frozen=True, slots=True)
class _LeastSquares:
    """Least squares on a few columns, and on the best one of further ones: made once, asked about many signals.

    Parameters
    ----------
    basis : ndarray of shape (n_rows, k)
        Orthonormal; what the few columns span.
    beside : ndarray of shape (n_rows, m)
        Of the further columns what these do not explain, without those that they do.
    lengths : ndarray of shape (m,)
        Squared lengths of `beside`.
    """

    basis: Array
    beside: Array
    lengths: Array

    @classmethod
    def on(cls, core: list[Array], further: Array) -> _LeastSquares:
        """Prepare for signals of these rows."""
        basis: Array = np.linalg.qr(np.column_stack(core))[0]
        beside: Array = further - basis @ (basis.T @ further)
        lengths = np.square(beside).sum(axis=0)
        new = lengths > _ROUNDING * np.square(further).sum(axis=0)
        return cls(basis, beside[:, new], lengths[new])

    def unexplained(self, signals: Array) -> Array:
        """Return the share of the variance of each signal, shape (n_rows, n_signals), that is left."""
        left: Array = signals - self.basis @ (self.basis.T @ signals)
        shares = np.square(left).sum(axis=0) / np.maximum(np.square(signals).sum(axis=0), 1e-300)
        if not self.beside.shape[1]:
            return np.asarray(shares)
        products = np.square(self.beside.T @ left) / self.lengths[:, None]
        gains = products.max(axis=0, initial=0.0) / np.maximum(np.square(left).sum(axis=0), 1e-300)
        return np.asarray(shares * (1 - np.minimum(gains, 1.0)))


@dataclass(frozen=True, slots=True)
class _Around:
    """The target of the rows after each row, or before it: the nearest ones, and what else may be of use, by name."""

    nearest: Array
    further: Array
    names: tuple[str, ...]


def columns_from_the_future(usecase: UseCase, train: pd.DataFrame) -> GuardResult:
    """Explain each column by the target of its row and of later rows, and by that of its row and of earlier ones.

    A column that an honest table has may follow the target, lead it by a little, or be made of its past. Then the past
    explains it as well as the future, or neither does. What the target's future explains nearly wholly, and its past
    does not, was not known at its time. Least squares on the nearest values and on the best one of further values,
    means, largest and smallest values, on the numbers as they are and on their ranks, which any scale leaves.

    Where there are several series, later rows are those of the same series, and those that come later in the table.
    """
    name, target = "column from the future", usecase.contract.target.name
    rows, series = _in_series(train, usecase.contract)
    orders = [(rows, series), (train, np.zeros_like(series))] if series.any() else [(rows, series)]
    compared = [found for order in orders if (found := _made_of_later(usecase, *order)) is not None]
    if not compared:
        return GuardResult("leak", name, "passed", "too few rows follow each other to compare columns with later ones")
    made = {column: what for found in reversed(compared) for column, what in found.items()}
    if made:
        sentence = (
            f"{told([f'{column} {what} of {target}' for column, what in made.items()])}: exclude it "
            "(training.exclude), or vouch that it is known before the prediction (validation.leaks.allow)"
        )
        return GuardResult("leak", name, "failed", sentence)
    return GuardResult("leak", name, "passed", f"no column is made of {target} of later rows")


def _made_of_later(usecase: UseCase, rows: pd.DataFrame, series: Array) -> dict[str, str] | None:
    """Return of each column that is made of later targets what it is; None where too few rows follow each other."""
    contract = usecase.contract
    assert contract.time is not None
    rows, series = rows.tail(_MOST_ROWS), series[-_MOST_ROWS:]
    reach = min(_REACH, int(np.median(np.unique(series, return_counts=True)[1])) // 4)
    inside = np.flatnonzero(series[2 * reach :] == series[: len(series) - 2 * reach]) + reach
    if reach < _NEAREST or len(inside) < _FEWEST_ROWS:
        return None
    found: dict[str, str] = {}
    times = _standardised(rows[contract.time.name].astype("int64").to_numpy(dtype=float))
    for ranked in (False, True) if contract.task == "regression" else (False,):
        for target in _targets(contract, rows, ranked=ranked):
            after = _around(target, reach, inside)
            before = _around(target[::-1], reach, len(target) - 1 - inside)
            now = np.column_stack([np.ones(len(inside)), times[inside], target[inside]])
            explained = _explainers(now, after, before, slice(None))
            for column in suspects(usecase):
                if column.name not in found and (
                    made_of := _made_of(column, rows, inside, now, after, before, ranked=ranked, explained=explained)
                ):
                    found[column.name] = made_of
    return found


def made_of_the_past(
    usecase: UseCase, train: pd.DataFrame, holdout: pd.DataFrame, column: Column, skill: float
) -> bool:
    """Say whether earlier targets explain a column better than it explains the target: then it was known in time.

    What moves slowly is told by its last value. A column of it leaves as much of the target as it moves in a row, and
    earlier targets leave nothing of the column; a copy of the target leaves less than they do.

    Parameters
    ----------
    usecase : UseCase
    train, holdout : DataFrame
        As `usable` or `split_holdout` returned them.
    column : Column
    skill : float
        The share of the target that it explains.
    """
    import pandas as pd

    contract = usecase.contract
    if contract.time is None or contract.task != "regression" or not column.is_numeric:
        return False
    rows, series = _in_series(pd.concat([train, holdout], ignore_index=True), contract)
    rows, series = rows.tail(_MOST_ROWS), series[-_MOST_ROWS:]
    reach = min(_REACH, int(np.median(np.unique(series, return_counts=True)[1])) // 4)
    inside = np.flatnonzero(series[reach:] == series[: len(series) - reach]) + reach
    values = numbers(column, rows, rows)[inside]
    inside, values = inside[np.isfinite(values)], values[np.isfinite(values)]
    if reach < _NEAREST or len(inside) < _FEWEST_ROWS or not np.ptp(values) > 0:
        return False
    target = _standardised(rows[contract.target.name].to_numpy(dtype=float))
    before = _around(target[::-1], reach, len(target) - 1 - inside)
    past = _LeastSquares.on([np.column_stack([np.ones(len(inside)), before.nearest])], before.further)
    left = float(past.unexplained(_standardised(values)[:, None])[0])
    return left <= _AGAINST_THE_PAST * (1 - skill)


def _in_series(train: pd.DataFrame, contract: DataContract) -> tuple[pd.DataFrame, Array]:
    """Return the rows in order, one series after the other, and the number of each row's series."""
    assert contract.time is not None
    names = [column.name for column in contract.columns if column.role == "key"]
    if not names and train[contract.time.name].duplicated().any():
        names = _telling_apart(train, contract)
    if names:
        series = train.groupby(names, sort=False, dropna=False).ngroup().to_numpy()
        if series.max() < len(train) / 2:  # a key for each row tells no series apart
            order = np.lexsort([np.arange(len(train)), series])
            return train.iloc[order], series[order]
    return train, np.zeros(len(train), dtype=np.int64)


def _telling_apart(train: pd.DataFrame, contract: DataContract) -> list[str]:
    """Return the column that tells rows of the same time apart best, nearly all of them; none where no one does."""
    assert contract.time is not None
    texts = ("category", "text", "integer", "boolean")
    shares = {
        column.name: float(train.duplicated([contract.time.name, column.name]).mean())
        for column in contract.columns
        if column.type in texts
        and column.role in ("feature", "metadata")
        and train[column.name].nunique() <= len(train) / 4
    }
    best = min(shares, key=shares.__getitem__, default="")
    return [best] if best and shares[best] <= _ALIKE else []


def _targets(contract: DataContract, rows: pd.DataFrame, *, ranked: bool) -> Iterator[Array]:
    """Yield the target as a number, or whether it is each of the most frequent labels."""
    values = rows[contract.target.name]
    if contract.task == "regression":
        yield _standardised(_ranks(values.to_numpy(dtype=float)) if ranked else values.to_numpy(dtype=float))
        return
    labels = values.astype(str)
    frequent = labels.value_counts().index
    for label in frequent[1:2] if len(frequent) == 2 else frequent[:_MOST_LABELS]:
        yield _standardised((labels == label).to_numpy(dtype=float))


def _around(target: Array, reach: int, rows: Array) -> _Around:
    """Return what of the target comes after each of `rows`; with the target turned round, what came before."""
    shifted = np.lib.stride_tricks.sliding_window_view(target, reach + 1)[rows]  # columns: 0, 1, … rows later
    sums = np.cumsum(shifted[:, 1:], axis=1)
    further, names = [], []
    for steps in range(_NEAREST + 1, reach + 1):
        further.append(shifted[:, steps])
        names.append(_of_one(steps))
    for steps in (steps for steps in _WINDOWS if steps <= reach):
        window = shifted[:, 1 : steps + 1]
        further += [sums[:, steps - 1], window.max(axis=1), window.min(axis=1)]
        names += [f"the {what} of the next {steps} values" for what in ("mean", "largest", "smallest")]
    return _Around(shifted[:, 1 : _NEAREST + 1], np.column_stack(further), tuple(names))


def _of_one(steps: int) -> str:
    return f"the value {steps} row{'s' if steps > 1 else ''} later"


def _made_of(
    column: Column,
    rows: pd.DataFrame,
    inside: Array,
    now: Array,
    after: _Around,
    before: _Around,
    *,
    ranked: bool,
    explained: Sequence[_LeastSquares],
) -> str:
    """Return what of the later target a column is made of; empty where it is not. `explained` is of all rows."""
    values = numbers(column, rows, rows)[inside]
    known = np.isfinite(values)
    if known.sum() < _FEWEST_ROWS:
        return ""
    part: Any = slice(None) if known.all() else known
    signals = _signals(column, values[part], ranked=ranked)
    if not signals.size:
        return ""
    if not known.all():
        explained = _explainers(now, after, before, known)
    future, past, both = (side.unexplained(signals) for side in explained)
    either = np.minimum(past, future)
    one_sided = (future <= _UNEXPLAINED) & (future <= _AGAINST_THE_PAST * past) & (past > _ROUNDING)
    two_sided = (both <= _BOTH_UNEXPLAINED) & (both <= _AGAINST_EITHER * either) & (either > _ROUNDING)
    hits = np.flatnonzero(one_sided | two_sided)
    return _nearest(signals[:, hits[0]], after, part) if len(hits) else ""


def _explainers(now: Array, after: _Around, before: _Around, part: Any) -> tuple[_LeastSquares, ...]:
    """Return what explains a signal by the target of later rows, by that of earlier ones, and by both."""
    middle = [sums_after + sums_before for sums_after, sums_before in _means(after, before)]
    around = np.column_stack(middle) if middle else np.empty((len(now), 0))
    return (
        _LeastSquares.on([now[part], after.nearest[part]], after.further[part]),
        _LeastSquares.on([now[part], before.nearest[part]], before.further[part]),
        _LeastSquares.on([now[part], after.nearest[part], before.nearest[part]], around[part]),
    )


def _means(after: _Around, before: _Around) -> Iterator[tuple[Array, Array]]:
    for number, name in enumerate(after.names):
        if name.startswith("the mean"):
            yield after.further[:, number], before.further[:, number]


def _nearest(signal: Array, after: _Around, part: Any) -> str:
    """Say which part of the future a column resembles most."""
    stats = np.column_stack([after.nearest[part], after.further[part]])
    names = [*(_of_one(steps) for steps in range(1, _NEAREST + 1)), *after.names]
    correlations = np.abs(_standardised(stats).T @ _standardised(signal)) / len(signal)
    best = int(correlations.argmax())
    return f"is made of later values (most like {names[best]}, correlation {correlations[best]:.3f})"


def _signals(column: Column, values: Array, *, ranked: bool) -> Array:
    """Return a column's numbers, or whether it has each of its few values, shape (n, k), standardised."""
    levels, code = np.unique(values, return_inverse=True)
    texts = not column.is_numeric and column.type != "timestamp"
    signals = []
    if not texts:
        signals.append(_ranks(values) if ranked else values)
    if texts or (len(levels) <= _MOST_LEVELS and not ranked):
        frequent = np.argsort(np.bincount(code))[::-1][:_MOST_LEVELS]
        signals += [(code == level).astype(float) for level in frequent]
    standardised = [_standardised(signal) for signal in signals if np.ptp(signal) > 0]
    return np.column_stack(standardised) if standardised else np.empty((len(values), 0))


def _standardised(values: Array) -> Array:
    """Return numbers of mean 0 and deviation 1, whatever their scale; 0 where they do not vary."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = values / np.maximum(np.abs(values).max(axis=0), np.finfo(float).tiny)
    values = values - values.mean(axis=0)
    deviation = values.std(axis=0)
    return np.asarray(values / np.where(deviation > 1e-12, deviation, np.inf))


def _ranks(values: Array) -> Array:
    return np.unique(values, return_inverse=True)[1].astype(float)
