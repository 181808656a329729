"""Whether rows come again, and on both sides of a split, as often as rows that repeat by themselves do."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]

#: Most times that a row comes that are looked at, and expectations that are tried for each.
_MOST_TIMES: Final = 20
_TRIED: Final = 400


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


def rarity_of_counts(rows: Array) -> float:
    """Return how rarely so many rows come just so many times, and so few come once more, wherever they are from.

    Rows that are drawn one by one, whatever the stock and however unequal its shares, come a Poisson-distributed number
    of times each. By the inequality of Cauchy and Schwarz the numbers N(c) of rows that come c times then satisfy
    ``E N(c) <= sqrt((c + 1) / c E N(c - 1) E N(c + 1))``: where many come twice, some come three times. Where each row
    of a part of the table was copied once, many come twice and hardly any three times. Of all expectations the one is
    taken under which what was found is the least rare; p = q (1 - log q), as for Fisher's product q of two (1932).
    N(c - 1) is taken four deviations larger than it is.

    Parameters
    ----------
    rows : ndarray of shape (n,)
        A number for each row, the same for equal ones.

    References
    ----------
    Good, I. J. (1953). The population frequencies of species and the estimation of population parameters. Biometrika
    40(3/4).

    Examples
    --------
    >>> stock = np.random.default_rng(0).integers(0, 1_000, 1_000)
    >>> rarity_of_counts(stock) > 0.01, rarity_of_counts(np.concatenate([np.arange(1_000), np.arange(300)])) < 1e-9
    (True, True)
    """
    from scipy import stats

    times = np.bincount(np.unique(rows, return_counts=True)[1].clip(max=_MOST_TIMES + 2), minlength=_MOST_TIMES + 3)
    found: list[float] = []
    for count in range(2, _MOST_TIMES + 1):
        less, same, more = (int(times[number]) for number in (count - 1, count, count + 1))
        if not same:
            continue
        expected = np.linspace(0, 2 * more + 20, _TRIED)[1:]
        most = np.sqrt((count + 1) / count * (less + 4 * np.sqrt(less) + 4) * expected)
        found.append(float((stats.poisson.cdf(more, expected) * stats.poisson.sf(same - 1, most)).max()))
    if not found:
        return 1.0
    rarest = max(min(found), float(np.finfo(float).tiny))
    return min(1.0, len(found) * rarest * (1 - math.log(rarest)))
