"""Which rows train, which choose, which judge: by time where there is time, never a row on both sides."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcore.contract import DataContract
from mlcore.errors import TrainingError

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.usecase import UseCase

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Fold:
    """Positions of the rows to fit on and of the rows to score."""

    train: Array
    validation: Array


def stretches(times: pd.Series, count: int) -> list[tuple[str, Array]]:
    """Return the positions of ordered rows in up to `count` parts of equally many, each with its first time (ISO 8601).

    Rows without a time come last; a part that begins with one is left out.
    """
    parts = [part for part in np.array_split(np.arange(len(times)), count) if len(part)]
    known = times.notna().to_numpy()
    return [(times.iloc[int(part[0])].isoformat(), part) for part in parts if known[part[0]]]


def usable(frame: pd.DataFrame, contract: DataContract) -> pd.DataFrame:
    """Return the rows that have a target, in the order of time and keys, with a fresh index."""
    known = frame[contract.target.name].notna()
    kept = frame if known.all() else frame[known]
    order = [column.name for column in (contract.time, *contract.keys) if column is not None]
    if order:
        kept = kept.take(_ordered(kept, list(dict.fromkeys(order))))
    return kept.reset_index(drop=True)


def _ordered(frame: pd.DataFrame, names: list[str]) -> Array:
    """Return the positions that sort by these columns, equal rows left as they are.

    Arrow compares texts as bytes, where pandas first numbers the distinct ones: three times slower on a key.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    table = pa.table({name: pa.array(frame[name], from_pandas=True) for name in names})
    return np.asarray(pc.sort_indices(table, sort_keys=[(name, "ascending") for name in names]))


def evenly_spread(rows: int, most: int) -> Array:
    """Return up to `most` positions, from the first of `rows` to the last.

    Examples
    --------
    >>> evenly_spread(9, 3).tolist(), evenly_spread(2, 3).tolist()
    ([0, 4, 8], [0, 1])
    """
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(int))


def target_values(frame: pd.DataFrame, contract: DataContract) -> Array:
    """Return the target as float64 (regression), or as text, bool or int64 labels (classification)."""
    column = frame[contract.target.name]
    if contract.task == "regression":
        return np.asarray(column.to_numpy(dtype=np.float64))
    kinds: dict[str, type] = {"boolean": bool, "integer": np.int64}
    return np.asarray(column.to_numpy()).astype(kinds.get(contract.target.type, str))


def split_holdout(frame: pd.DataFrame, usecase: UseCase) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split off the rows that judge: the newest share or stretch, whole time stamps kept together.

    Without a time column rows are drawn at random: rows that share a key stay together, else classes keep
    their shares. The same frame and use case give the same split.

    Parameters
    ----------
    frame : DataFrame
        Contract columns; rows without a target are left out.
    usecase : UseCase

    Returns
    -------
    train, holdout : DataFrame

    Raises
    ------
    TrainingError
        If fewer than two rows, or a single time stamp, are there to be split.
    """
    contract, policy = usecase.contract, usecase.training.search
    rows = usable(frame, contract)
    if len(rows) < 2:
        raise _too_few(usecase, "at least 2 rows with a target", str(len(rows)))
    if contract.time is not None:
        times = _times(rows, contract)
        held_out = _newest(times, policy.holdout_fraction)
        if policy.holdout_longest is not None:
            recent = held_out & (times > times.max() - np.timedelta64(policy.holdout_longest))
            held_out = recent if recent.sum() >= contract.minimum_rows else held_out
        if held_out.all() or not held_out.any():
            raise _too_few(usecase, "at least 2 different time stamps", "1")
    else:
        parts = max(2, round(1 / policy.holdout_fraction))
        held_out = _shuffled_parts(rows, usecase, parts) == 0
    return rows[~held_out].reset_index(drop=True), rows[held_out].reset_index(drop=True)


def search_folds(rows: pd.DataFrame, usecase: UseCase) -> list[Fold]:
    """Return the folds that candidates are compared on, the newest first.

    With time: rolling origin (Tashman, 2000). Each fold validates on the next 1 / (folds + 2) of the rows and
    trains on all rows that are older by more than the policy's gap, since in production the labels of the
    newest rows are not there yet. Without time: shuffled, grouped by key or stratified by class.

    Parameters
    ----------
    rows : DataFrame
        What `usable` or `split_holdout` returned.
    usecase : UseCase

    Raises
    ------
    TrainingError
        If no fold has rows on both sides.
    """
    policy, contract = usecase.training.search, usecase.contract
    if contract.time is None:
        parts = _shuffled_parts(rows, usecase, max(policy.folds, 5 if policy.folds == 1 else 2))
        folds = [Fold(np.flatnonzero(parts != k), np.flatnonzero(parts == k)) for k in range(policy.folds)]
    else:
        folds = _rolling_origin(_times(rows, contract), policy.folds, np.timedelta64(policy.gap))
    folds = [fold for fold in folds if len(fold.train) and len(fold.validation)]
    if not folds:
        raise _too_few(usecase, "rows on both sides of a validation fold", f"{len(rows)} rows")
    return folds


def _rolling_origin(times: Array, count: int, gap: np.timedelta64) -> list[Fold]:
    starts = np.unique(times, return_index=True)[1]
    # A boundary is the first row of a time stamp, so that no stamp is on both sides.
    wanted = len(times) * np.arange(2, count + 3) / (count + 2)
    edges = np.append(starts, len(times))[np.searchsorted(starts, wanted)]
    folds = []
    for begin, end in itertools.pairwise(edges):
        if begin < end:
            train = np.flatnonzero(times < times[begin] - gap) if gap else np.arange(begin)
            folds.append(Fold(train, np.arange(begin, end)))
    return folds[::-1]


def _newest(times: Array, fraction: float) -> Array:
    boundary = np.sort(times)[min(len(times) - 1, int(np.ceil(len(times) * (1 - fraction))))]
    held_out = times >= boundary
    return held_out if not held_out.all() else times > boundary


def _times(rows: pd.DataFrame, contract: DataContract) -> Array:
    import pandas as pd

    assert contract.time is not None
    times = pd.to_datetime(rows[contract.time.name], utc=True).to_numpy(dtype="datetime64[ns]")
    return np.where(np.isnat(times), np.datetime64("1678-01-01", "ns"), times)


def _shuffled_parts(rows: pd.DataFrame, usecase: UseCase, parts: int) -> Array:
    """Deal the rows into `parts` numbered parts of about equal size."""
    rng = np.random.default_rng(usecase.training.search.seed)
    groups = _groups(rows, usecase.contract)
    if groups is not None:
        return rng.permutation(np.arange(groups.max() + 1) % parts)[groups]
    order = rng.permutation(len(rows))
    if usecase.contract.task == "classification":
        labels = np.unique(target_values(rows, usecase.contract), return_inverse=True)[1]
        order = order[np.argsort(labels[order], kind="stable")]
    dealt = np.empty(len(rows), dtype=np.int64)
    dealt[order] = np.arange(len(rows)) % parts
    return dealt


def _groups(rows: pd.DataFrame, contract: DataContract) -> Array | None:
    for key in contract.keys:
        codes, values = rows[key.name].factorize(sort=True)
        if len(values) < len(rows):
            return np.asarray(codes - codes.min())
    return None


def _too_few(usecase: UseCase, expected: str, got: str) -> TrainingError:
    return TrainingError(
        "too few rows to split", subject=usecase.name, expected=expected, got=got, remedy="Publish more data."
    )
