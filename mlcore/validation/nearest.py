"""Held-out rows that are so near to a training row that they were made from it: copies with noise on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.validation.columns import numbers

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import DataContract

Array = np.ndarray[Any, Any]

#: Training rows around each held-out row that say how near rows are to each other there.
_NEIGHBOURS: Final = 20
_FEWEST_ROWS: Final = 40
#: How rarely rows that were not copied are as near as those that are counted, at each level, and how rarely a sound
#: table may have so many of them at any level, by all its numbers or by its fine ones: those of so many values.
_RARE: Final = (0.01, 0.001)
_RARE_TABLES: Final = 1e-4
_FINE: Final = (1, 30)
_FEWEST_COPIES: Final = 5
#: Held-out rows that are looked at, training rows they are looked for among, windows these are cut into, and columns.
_MOST_ROWS: Final = 2_000
_MOST_FITTED: Final = 20_000
_WINDOWS: Final = 4
_MOST_COLUMNS: Final = 100
#: Share of a window's rows at either end that have no neighbours beyond it.
_EDGE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Nearness:
    """How many of `rows` held-out rows are nearer to a training row than rows are to each other.

    `expected` is how many chance would have; `copied` whether there are too many for it.
    """

    near: int
    expected: float
    rows: int
    copied: bool

    @property
    def share(self) -> float:
        """The share of the held-out rows beyond what chance would have."""
        return max(0.0, self.near - self.expected) / self.rows if self.rows else 0.0


def nearness(contract: DataContract, train: pd.DataFrame, held: pd.DataFrame) -> Nearness:
    """Compare the distance of each held-out row to its nearest training row with that to its further neighbours.

    Where rows lie as densely as around it, the distances r of the k nearest ones give ``log(r_k / r_i)``, i < k, that
    are as many draws of one exponential distribution, whatever the number of columns and the density. The largest of
    them, that of the nearest row, as a share of their sum is Fisher's g, whose distribution is known exactly: no
    threshold depends on the table. Rows that agree with their nearest one in all texts, gaps and the label are counted
    where chance makes them so near in one of 100 or of 1,000 cases; a table fails where chance gives one table in ten
    thousand so many of them (binomial). Numbers are measured as finely as they come: each is moved at random within
    half the way to the values next to it, so that pixels and ages that are equal by rounding are not nearer than
    rounding tells.

    What a few coarse numbers are moved by hides how near the fine ones are. So rows are measured twice: by all numbers,
    and by those of many values, where the others are texts to agree in.

    Parameters
    ----------
    contract : DataContract
    train, held : DataFrame

    References
    ----------
    Levina, E. & Bickel, P. (2004). Maximum likelihood estimation of intrinsic dimension. NIPS 17.
    Fisher, R. A. (1929). Tests of significance in harmonic analysis. Proc. R. Soc. A 125.
    """
    from mlcore.training.splits import evenly_spread

    some = train.iloc[evenly_spread(len(train), _MOST_FITTED)]
    coarse = any(some[column.name].nunique() < _FINE[1] for column in contract.features if column.is_numeric)
    results = [_nearness(contract, train, held, fewest_values) for fewest_values in (_FINE if coarse else _FINE[:1])]
    return max(results, key=lambda result: (result.copied, result.share))


def _nearness(contract: DataContract, train: pd.DataFrame, held: pd.DataFrame, fewest_values: int) -> Nearness:
    from scipy import stats

    rng, rows, found = np.random.default_rng(0), 0, [np.empty(0)]
    for fitted, asked in _windows(contract, train, held):
        space = _space(contract, fitted, asked, rng, fewest_values)
        if space is not None and len(fitted) >= _FEWEST_ROWS and len(asked):
            p, nearest, same = _rarity(*space)
            if contract.time is not None:  # what has a key that comes back is measured again
                same &= ~_same_key(contract, fitted.iloc[nearest], asked)
            rows += len(asked)
            found.append(p[same])
    p = np.concatenate(found)
    counts = [int((p < level).sum()) for level in _RARE]
    by_chance = [float(stats.binom.sf(near - 1, len(p), level)) for near, level in zip(counts, _RARE, strict=True)]
    best = int(np.argmin(by_chance))
    copied = counts[best] >= _FEWEST_COPIES and by_chance[best] < _RARE_TABLES / len(_RARE) / len(_FINE)
    return Nearness(counts[best], _RARE[best] * len(p), rows, copied)


def _windows(
    contract: DataContract, train: pd.DataFrame, held: pd.DataFrame
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Yield training rows and held-out rows among them; of long tables stretches along their finest column."""
    from mlcore.training.splits import evenly_spread

    if len(train) <= _MOST_FITTED:
        yield train, held.iloc[evenly_spread(len(held), _MOST_ROWS)]
        return
    some = train.iloc[evenly_spread(len(train), _MOST_FITTED)]
    distinct = {column: some[column.name].nunique() for column in contract.features if column.is_numeric}
    finest = max(distinct, key=distinct.__getitem__, default=None)
    if finest is None:
        return
    fitted, asked = (numbers(finest, rows, rows) for rows in (train, held))
    known, order = np.flatnonzero(np.isfinite(fitted)), np.argsort(asked)
    order = order[np.isfinite(asked[order])]
    count = min(_MOST_FITTED // _WINDOWS, len(known))
    for middle in (2 * np.arange(_WINDOWS) + 1) / (2 * _WINDOWS) if count and len(order) else ():
        away = np.abs(fitted[known] - asked[order[int(middle * len(order))]])
        inside = np.sort(known[np.argpartition(away, count - 1)[:count]])
        low, high = np.quantile(fitted[inside], [_EDGE, 1 - _EDGE])
        among = np.flatnonzero((asked >= low) & (asked <= high))
        yield train.iloc[inside], held.iloc[among[evenly_spread(len(among), _MOST_ROWS // _WINDOWS)]]


def _space(
    contract: DataContract, fitted: pd.DataFrame, asked: pd.DataFrame, rng: np.random.Generator, fewest_values: int
) -> tuple[Array, Array, Array, Array] | None:
    """Return the numbers of both, shape (n, k), of one spread, and what two rows that are one must agree in."""
    from mlcore.training.splits import evenly_spread

    near: tuple[list[Array], list[Array]] = ([], [])
    same: tuple[list[Array], list[Array]] = ([], [])
    features = [contract.features[number] for number in evenly_spread(len(contract.features), _MOST_COLUMNS)]
    for column in (*features, contract.target):
        values = numbers(column, fitted, fitted), numbers(column, fitted, asked)
        for kept, side in zip(same, values, strict=True):
            kept.append(np.isfinite(side).astype(float))
        if column.is_numeric and (column is not contract.target or contract.task == "regression"):
            placed = _placed(*values, rng, fewest_values)
            if placed is not None:
                for kept, side in zip(near, placed, strict=True):
                    kept.append(side)
                continue
        for kept, side in zip(same, values, strict=True):
            kept.append(np.where(np.isfinite(side), side, 0.0))
    if not near[0]:
        return None
    return np.column_stack(near[0]), np.column_stack(near[1]), np.column_stack(same[0]), np.column_stack(same[1])


def _placed(fitted: Array, asked: Array, rng: np.random.Generator, fewest_values: int) -> tuple[Array, Array] | None:
    """Return a column's numbers, moved within their rounding, in deviations; None for one of two values or too few."""
    known = np.isfinite(fitted), np.isfinite(asked)
    sides = tuple(np.where(where, side, 0.0) for side, where in zip((fitted, asked), known, strict=True))
    largest = max(float(np.abs(side).max(initial=0.0)) for side in sides)
    if not largest > 0:
        return None
    fitted, asked = (side / largest for side in sides)
    values = np.unique(np.concatenate([fitted[known[0]], asked[known[1]]]))
    if len(values) < 3 or len(np.unique(fitted[known[0]])) < fewest_values:
        return None
    middle, edges = float(np.median(fitted[known[0]])), (values[1:] + values[:-1]) / 2
    edges = np.concatenate([[2 * values[0] - edges[0]], edges, [2 * values[-1] - edges[-1]]])
    # a column that hardly varies is no finer for it than its steps are
    spread = max(float(fitted[known[0]].std()), float(np.median(np.diff(values))))

    def moved(side: Array, where: Array) -> Array:
        code = np.searchsorted(values, side).clip(max=len(values) - 1)
        drawn = edges[code] + rng.random(len(side)) * (edges[code + 1] - edges[code])
        return np.where(where, (drawn - middle) / spread, 0.0)

    return moved(fitted, known[0]), moved(asked, known[1])


def _same_key(contract: DataContract, fitted: pd.DataFrame, asked: pd.DataFrame) -> Array:
    keys = [column.name for column in contract.columns if column.role == "key"]
    pairs = [fitted[name].to_numpy() == asked[name].to_numpy() for name in keys]
    return np.all(pairs, axis=0) if pairs else np.zeros(len(asked), dtype=bool)


def _rarity(fitted: Array, asked: Array, fitted_same: Array, asked_same: Array) -> tuple[Array, Array, Array]:
    """Return how rarely chance makes each row's nearest one so near, which one that is, and whether they agree."""
    from sklearn.neighbors import NearestNeighbors

    count = min(_NEIGHBOURS, len(fitted) // 4)
    distances, nearest = NearestNeighbors(n_neighbors=count).fit(fitted).kneighbors(asked)
    p = fisher_g(np.log(distances[:, -1:] / np.maximum(distances[:, :-1], 1e-300)))
    return p, nearest[:, 0], (fitted_same[nearest[:, 0]] == asked_same).all(axis=1)


def fisher_g(draws: Array) -> Array:
    """Return the probability that the largest of n exponential draws is as large a share of their sum as the first is.

    ``sum over j of (-1)^(j-1) C(n, j) (1 - j g)^(n-1)`` while ``j g < 1`` (Fisher, 1929).

    Parameters
    ----------
    draws : ndarray of shape (rows, n)
        Not negative, the largest one first.

    Examples
    --------
    >>> fisher_g(np.array([[3.0, 1, 1, 1], [1.0, 1, 1, 1], [9.0, 1, 1, 1]])).round(3)
    array([0.5  , 1.   , 0.062])
    """
    from scipy.special import comb

    count = draws.shape[1]
    share = draws[:, 0] / np.maximum(draws.sum(axis=1), 1e-300)
    p = sum(
        (-1.0) ** (j - 1) * comb(count, j) * np.maximum(1 - j * share, 0) ** (count - 1) for j in range(1, count + 1)
    )
    return np.where(share <= 1 / count + 1e-9, 1.0, np.clip(p, 0.0, 1.0))
