"""How alike the rows of one block are: a column that moves within a block is seen more often than once a block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]

_THRESHOLDS: Final = 10
#: Of what hardly a row is, or nearly all are, too little can be measured.
_LEAST_SHARE: Final = 0.02
#: Fewer blocks do not say how much they differ: the rows of one then count as one.
_LEAST_BLOCKS: Final = 8


def alikeness(column: pd.Series, blocks: Array) -> float:
    """Return the intraclass correlation of a column's values within blocks, at its upper end.

    The largest over ten thresholds of a number, or over the categories, of (d - 1) / (m - 1), where d is the design
    effect, the variance of the blocks' counts against that of as many independent rows, raised by its standard error
    √(2 / blocks), and m the rows of a block. A season is part of it: a window sees one stretch of that.

    Parameters
    ----------
    column : Series of shape (n_rows,)
    blocks : ndarray of shape (n_rows,)
        Number of the block of each row.

    Returns
    -------
    float in [0, 1]
        1 where there are fewer than 8 blocks.

    References
    ----------
    Kish, L. (1965). Survey sampling. Wiley.

    Examples
    --------
    >>> import pandas as pd
    >>> blocks = np.repeat(np.arange(100), 24)
    >>> noise = np.random.default_rng(0).normal(size=2_400)
    >>> round(alikeness(pd.Series(noise), blocks), 1), round(alikeness(pd.Series(noise[blocks]), blocks), 1)
    (0.0, 1.0)
    """
    import pandas as pd

    present = column.notna().to_numpy()
    place = pd.factorize(blocks[present], sort=True)[0]
    counts = _counts(column[present], place)
    sizes = np.bincount(place)
    usual = float(np.square(sizes).sum() / max(1, sizes.sum()))
    if len(counts) < _LEAST_BLOCKS:
        return 1.0
    shares = counts.sum(axis=0) / sizes.sum()
    told = (shares >= _LEAST_SHARE) & (shares <= 1 - _LEAST_SHARE)
    if usual <= 1 or not told.any():
        return 0.0
    left = counts[:, told] - sizes[:, None] * shares[told]
    effects = np.square(left).sum(axis=0) / (sizes.sum() * shares[told] * (1 - shares[told]))
    worst = float(effects.max()) * (1 + np.sqrt(2 / len(counts)))
    return float(np.clip((worst - 1) / (usual - 1), 0.0, 1.0))


def independent_rows(rows: int, blocks: int, alike: float | None) -> int:
    """Return how many independent ones so many rows are worth: n / (1 + (n / blocks - 1) alike), Kish's design effect.

    Examples
    --------
    >>> independent_rows(720, 30, 0.5), independent_rows(720, 30, 0.0), independent_rows(720, 30, None)
    (57, 720, 30)
    """
    if alike is None or blocks >= rows or not blocks:
        return min(rows, blocks)
    return int(rows / (1 + (rows / blocks - 1) * alike) + 1e-9)


def _counts(column: pd.Series, place: Array) -> Array:
    """Return for each block how many of its rows are below each threshold, or of each category."""
    import pandas as pd

    blocks = int(place.max(initial=-1)) + 1
    if column.dtype.kind in "iuf" or (pd.api.types.is_numeric_dtype(column.dtype) and column.dtype != bool):
        values = column.to_numpy(dtype=float)
        edges = np.unique(np.quantile(values, np.arange(1, _THRESHOLDS) / _THRESHOLDS)) if len(values) else np.empty(0)
        codes, size = np.searchsorted(edges, values), len(edges) + 1
        table = np.bincount(place * size + codes, minlength=blocks * size).reshape(blocks, size)
        # the last one is all rows, which tells nothing, and is left out by its share
        return np.asarray(table.cumsum(axis=1)) if size > 1 else np.asarray(table)
    codes, labels = pd.factorize(column)
    size = max(1, len(labels))
    return np.asarray(np.bincount(place * size + codes, minlength=blocks * size).reshape(blocks, size))
