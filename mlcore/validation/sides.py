"""Whether equal rows are on both sides of a split more often than rows that repeat by themselves would be."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def rarity_of_sides(seen: Array, held: Array) -> float:
    """Return how rarely a split at random puts so many of the rows that come more than once on both of its sides.

    A row that comes c times is on both sides with the probability ``1 - (1 - f)^c - f^c`` where the share f of all rows
    is held out. No distribution of so many independent cases has more in its tail than the binomial one of their mean
    probability (Hoeffding, 1956). What repeats by itself is on one side as often as this says, and so is a table that
    was doubled as a whole; copies of training rows among the held-out ones are always on both.

    Parameters
    ----------
    seen, held : ndarray of shape (n,)
        A number for each training row and for each held-out one, the same for equal rows.

    References
    ----------
    Hoeffding, W. (1956). On the distribution of the number of successes in independent trials. Ann. Math. Stat. 27.

    Examples
    --------
    >>> pairs = np.arange(100).repeat(2)
    >>> by_themselves = np.random.default_rng(0).permutation(pairs)
    >>> rarity_of_sides(by_themselves[40:], by_themselves[:40]) > 0.05
    True
    >>> rarity_of_sides(np.arange(160), np.arange(40)) < 1e-19
    True
    """
    from scipy import stats

    code = np.unique(np.concatenate([seen, held]), return_inverse=True)[1]
    counts, out = np.bincount(code), np.bincount(code[len(seen) :], minlength=int(code.max()) + 1)
    several = counts > 1
    counts, out, share = counts[several], out[several], len(held) / len(code)
    if not len(counts):
        return 1.0
    both = int(((out > 0) & (out < counts)).sum())
    return float(stats.binom.sf(both - 1, len(counts), np.mean(1 - (1 - share) ** counts - share**counts)))


def rarity_of_stretch(seen: Array, held: Array, rows: int) -> float:
    """Return how rarely more different held-out rows are among older ones than chance has it, given the stretch before.

    Rows near in time may repeat more often than others, or less: then a split in time is none at random. The last
    `rows` training rows are to the ones before them what the held-out rows are to the newest as many (Fisher's exact
    test).

    Parameters
    ----------
    seen, held : ndarray
        As in `rarity_of_sides`, in the order of time.
    rows : int
        Of which `held` was taken, evenly.
    """
    from scipy import stats

    from mlcore.training.splits import evenly_spread

    rows = min(rows, len(seen) // 2)
    last = seen[len(seen) - rows :][evenly_spread(rows, len(held))]
    different = [np.unique(part) for part in (held, last)]
    among = [
        int(np.isin(part, older).sum())
        for part, older in zip(different, (seen[rows:], seen[: len(seen) - rows]), strict=True)
    ]
    asked = [len(part) for part in different]
    return float(stats.hypergeom.sf(among[0] - 1, sum(asked), sum(among), asked[0]))
