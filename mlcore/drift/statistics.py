"""Two-sample statistics, exact over all values: two sorted samples are merged once, ties and infinities included.

Large samples are merged by compiled code (`mlcore.drift._merge`); small ones, for which loading it would cost more than
it saves, and machines without numba, by NumPy. Both give the same answers.
"""

from __future__ import annotations

from functools import cache
from math import ceil, exp, pi, sqrt
from typing import Any, Final, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

#: Share a bin is taken to have at least, so that an empty one does not make the index infinite.
SMALLEST_SHARE: Final = 1e-4
#: Pooled values of one column from which on the compiled merge is worth importing numba for.
_COMPILED_FROM: Final = 10_000
#: Terms that the sum over a large sample is evaluated at.
_TERMS: Final = 1_000


class Distances(NamedTuple):
    """How far two samples are apart.

    Parameters
    ----------
    kolmogorov_smirnov : float in [0, 1]
        Largest difference of the empirical distribution functions.
    wasserstein : float
        First Wasserstein distance, the area between them, in the samples' own unit; infinite where the samples differ
        in their shares of infinite values.
    cramer_von_mises : float
        n·m/(n + m)² times the sum of their squared difference over the pooled sample.
    """

    kolmogorov_smirnov: float
    wasserstein: float
    cramer_von_mises: float


def distances(reference: Array, window: Array) -> Distances:
    """Return three distances of two samples, from one pass over both.

    Without ties the Cramér-von Mises statistic is that of ``scipy.stats.cramervonmises_2samp``. With ties it stays
    what Anderson defined, a sum over distribution functions, and is 0 for equal ones; scipy ranks ties by their middle,
    which is large for equal distributions in samples of different sizes.

    Parameters
    ----------
    reference, window : ndarray of shape (n,) and (m,)
        Sorted float64, not empty, without missing values.

    References
    ----------
    Anderson, T. W. (1962). On the distribution of the two-sample Cramér-von Mises criterion. Ann. Math. Stat. 33.

    Examples
    --------
    >>> distances(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    Distances(kolmogorov_smirnov=0.5, wasserstein=1.0, cramer_von_mises=0.1875)
    """
    if len(reference) + len(window) >= _COMPILED_FROM and _is_finite(reference) and _is_finite(window):
        merge = compiled_merge()
        if merge is not None:
            return _scaled(len(reference), len(window), *merge(reference, window))
    return _scaled(len(reference), len(window), *merge_by_numpy(reference, window))


@cache
def compiled_merge() -> Any:
    """Return `mlcore.drift._merge.merge`, None where it cannot be had."""
    try:
        from mlcore.drift._merge import merge
    except (ImportError, RuntimeError):  # no numba; or no place that its compiled code can be kept in
        return None
    return merge


def merge_by_numpy(reference: Array, window: Array) -> tuple[int, float, float]:
    """Return what the compiled merge does, also for infinite values."""
    pooled = np.sort(np.concatenate([reference, window]), kind="stable")  # which merges what is sorted
    last = np.flatnonzero(np.append(pooled[1:] != pooled[:-1], True))
    values = pooled[last]
    gaps = np.abs(
        np.searchsorted(reference, values, side="right") * len(window)
        - np.searchsorted(window, values, side="right") * len(reference)
    )
    apart = gaps[:-1] > 0  # between equal functions there is no area, however wide
    area = float((gaps[:-1][apart] * np.diff(values)[apart]).sum())
    squares = float((np.diff(last, prepend=-1) * gaps.astype(float) ** 2).sum())
    return int(gaps.max()), area, squares


def _scaled(n: int, m: int, furthest: int, area: float, squares: float) -> Distances:
    return Distances(furthest / (n * m), float(area) / (n * m), float(squares) / (n * m * (n + m) ** 2))


def _is_finite(ordered: Array) -> bool:
    return bool(np.isfinite(ordered[0]) and np.isfinite(ordered[-1]))


def kolmogorov_smirnov(reference: Array, window: Array, *, sizes: tuple[int, int] | None = None) -> tuple[float, float]:
    """Return the two-sample Kolmogorov-Smirnov distance and its asymptotic p-value.

    Parameters
    ----------
    reference, window : ndarray of shape (n,) and (m,)
        Sorted, without missing values.
    sizes : tuple of int, optional
        Numbers of independent observations, where they are fewer than the values.

    Examples
    --------
    >>> round(kolmogorov_smirnov(np.arange(100.0), np.arange(100.0) + 10)[0], 3)
    0.1
    """
    distance = distances(reference, window).kolmogorov_smirnov
    return distance, kolmogorov_smirnov_p(distance, sizes or (len(reference), len(window)))


def kolmogorov_smirnov_p(distance: float, sizes: tuple[int, int]) -> float:
    """Return the p-value of ``scipy.stats.ks_2samp(method='asymp')``.

    It is the two-sided one-sample distribution at n·m/(n + m), rounded. In its tail that is twice Smirnov's one-sided
    sum, over as many terms as there are observations: scipy adds up all of them, which takes a second for a million
    rows. The terms are those of a smooth bump, for which the trapezoidal rule over a thousand of them is as exact.
    Before the tail it is Pelz and Good's series, which scipy evaluates, too, a dozen times slower.

    Parameters
    ----------
    distance : float in [0, 1]
    sizes : tuple of int
        Numbers of independent observations.

    References
    ----------
    Hodges, J. L. (1958). The significance probability of the Smirnov two-sample test. Arkiv för Matematik 3.
    Pelz, W. & Good, I. J. (1976). Approximating the lower tail-areas of the Kolmogorov-Smirnov statistic. JRSS B 38.
    Simard, R. & L'Ecuyer, P. (2011). Computing the two-sided Kolmogorov-Smirnov distribution. J. Stat. Softw. 39(11).
    Trefethen, L. N. & Weideman, J. A. C. (2014). The exponentially convergent trapezoidal rule. SIAM Review 56.
    Loader, C. (2000). Fast and accurate computation of binomial probabilities.

    Examples
    --------
    >>> round(kolmogorov_smirnov_p(0.1, (100, 100)), 4), round(kolmogorov_smirnov_p(0.01, (100_000, 100_000)), 6)
    (0.6623, 9e-05)
    """
    from scipy.stats import kstwo

    if min(sizes) < 2:
        return 1.0  # scipy answers 0 or NaN; of one observation nothing can be said
    size = int(np.round(sizes[0] * sizes[1] / (sizes[0] + sizes[1])))
    # the bounds of the two regions are scipy's
    squared = size * distance * distance
    if size > _TERMS and distance < 0.5 and 2.2 <= squared < 370:
        return min(1.0, 2 * _smirnov_sum(size, distance))
    if size > _TERMS and 0.1 <= squared < 2.2 and (size > 100_000 or size * distance**1.5 > 1.4):
        return min(1.0, 1 - _pelz_good(size, distance))
    return float(np.clip(kstwo.sf(distance, size), 0.0, 1.0))


def _smirnov_sum(size: int, distance: float) -> float:
    """Return d Σ C(n, v) (d + v/n)^(v-1) (1 - d - v/n)^(n-v), each term a binomial probability in Loader's form."""
    step = size // _TERMS
    v = np.arange(step, int(size * (1 - distance)), step, dtype=float)
    rest = size - v
    p = distance + v / size
    log_terms = (
        v * np.log1p(size * distance / v)
        + rest * np.log1p(-size * distance / rest)
        + (_stirling_error(np.array(float(size))) - _stirling_error(v) - _stirling_error(rest))
        - 0.5 * np.log(2 * np.pi * v * rest / size)
    )
    return float(step * distance * (np.exp(log_terms) / p).sum())


def _pelz_good(size: int, distance: float) -> float:
    """Return P(D <= d) by Pelz and Good's four terms in 1/√n, in the form for small z = d√n."""
    z = sqrt(size) * distance
    halves, wholes = [0.0, 0.0, 0.0, 0.0], [0.0, 0.0]
    for k in range(1, ceil(16 * z / pi) + 1):
        square = (pi * (k - 0.5)) ** 2
        power = exp(-square / (2 * z**2))
        halves[0] += power
        halves[1] += power * (square - z**2)
        halves[2] += power * (6 * z**6 + 2 * z**4 + (2 * z**4 - 5 * z**2) * square + (1 - 2 * z**2) * square**2)
        halves[3] += power * (
            -30 * z**6
            - 90 * z**8
            + (135 * z**4 - 96 * z**6) * square
            + (212 * z**4 - 60 * z**2) * square**2
            + (5 - 30 * z**2) * square**3
        )
        square = (pi * k) ** 2
        power = exp(-square / (2 * z**2))
        wholes[0] += power * square
        wholes[1] += power * square * (3 * z**2 - square)
    return sqrt(2 * pi) * (
        halves[0] / z
        + halves[1] / (6 * z**4) / sqrt(size)
        + (halves[2] / (72 * z**7) - wholes[0] / (36 * z**3)) / size
        + (halves[3] / (6480 * z**10) + wholes[1] / (216 * z**6)) / size**1.5
    )


def _stirling_error(v: Array) -> Array:
    return (1 / 12 - (1 / 360 - (1 / 1260 - 1 / 1680 / v**2) / v**2) / v**2) / v


def cramer_von_mises_p(statistic: float, sizes: tuple[int, int]) -> float:
    """Return the asymptotic p-value of the two-sample Cramér-von Mises statistic.

    The statistic is brought to the mean and variance of its limit (Anderson, 1962, eq. 11, 14 and 15), whose
    distribution is summed as by Csörgő & Faraway (1996, eq. 1.2). Beyond 4, where that sum is 1 but for rounding, the
    tail of its largest component is taken (Zolotarev, 1961). ``scipy.stats.cramervonmises_2samp(method='asymptotic')``
    is the same up to there; beyond, it answers noise of up to 1e-6.

    Parameters
    ----------
    statistic : float
        Of samples of `sizes`.
    sizes : tuple of int

    References
    ----------
    Anderson, T. W. (1962). On the distribution of the two-sample Cramér-von Mises criterion. Ann. Math. Stat. 33.
    Csörgő, S. & Faraway, J. J. (1996). The exact and asymptotic distributions of Cramér-von Mises statistics. JRSS B.
    Zolotarev, V. M. (1961). Concerning a certain probability problem. Theory Probab. Appl. 6.

    Examples
    --------
    >>> round(cramer_von_mises_p(0.46136, (10_000, 10_000)), 3)
    0.05
    """
    from scipy.special import erfc, gammaln, kve

    n, m = sizes
    if min(n, m) < 2:
        return 1.0
    pairs, total = n * m, n + m
    mean = (1 + 1 / total) / 6
    variance = (total + 1) * (4 * pairs * total - 3 * (n**2 + m**2) - 2 * pairs) / (45 * total**2 * 4 * pairs)
    x = 1 / 6 + (statistic - mean) / np.sqrt(45 * variance)
    if x < 0.003:
        return 1.0
    if x > 4:
        return float(np.sqrt(2) * erfc(np.pi * np.sqrt(x / 2)))
    k = np.arange(20.0)
    y = 4 * k + 1
    q = y**2 / (16 * x)
    terms = np.exp(gammaln(k + 0.5) - gammaln(k + 1) - 2 * q) * np.sqrt(y) * kve(0.25, q)
    return float(np.clip(1 - terms.sum() / (np.pi**1.5 * np.sqrt(x)), 0.0, 1.0))


def chi_square(reference: Array, window: Array, *, sizes: tuple[int, int] | None = None) -> tuple[float, float]:
    """Return the chi-square statistic of homogeneity of two rows of counts, and its p-value.

    Parameters
    ----------
    reference, window : ndarray of shape (n_categories,)
        Counts.
    sizes : tuple of int, optional
        Numbers of independent observations: the counts are scaled down to them.

    References
    ----------
    Pearson, K. (1900). On the criterion that a given system of deviations from the probable … Phil. Mag. 50.

    Examples
    --------
    >>> statistic, p_value = chi_square(np.array([50, 50]), np.array([30, 70]))
    >>> round(statistic, 3), round(p_value, 4)
    (8.333, 0.0039)
    """
    from scipy.special import chdtrc

    counts = np.array([reference, window], dtype=float)
    counts = counts[:, counts.sum(axis=0) > 0]
    if counts.shape[1] < 2:
        return 0.0, 1.0
    if sizes is not None:
        counts *= np.minimum(1.0, np.array(sizes) / counts.sum(axis=1))[:, None]
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return statistic, float(chdtrc(counts.shape[1] - 1, statistic))


def pool_rare(reference: Array, window: Array, *, sizes: tuple[int, int]) -> Array:
    """Return two rows of counts, categories of which less than one is expected in either taken together.

    Where less than one is expected the chi-square distribution is no approximation (Cochran, 1954): a category seen
    once in a year would raise an alarm whenever that row is in the window.

    Parameters
    ----------
    reference, window : ndarray of shape (n_categories,)
        Counts.
    sizes : tuple of int
        Numbers of independent observations.

    References
    ----------
    Cochran, W. G. (1954). Some methods for strengthening the common χ² tests. Biometrics 10.

    Examples
    --------
    >>> pool_rare(np.array([500, 499, 1, 0]), np.array([50, 49, 0, 1]), sizes=(1_000, 100)).tolist()
    [[500.0, 500.0], [50.0, 50.0]]
    """
    counts = np.array([reference, window], dtype=float)
    smaller = min(*sizes, *counts.sum(axis=1).tolist())
    rare = counts.sum(axis=0) / counts.sum() * smaller < 1
    common, rest = counts[:, ~rare], counts[:, rare].sum(axis=1)
    if not rare.any():
        return counts
    if common.shape[1] and rest.sum() / counts.sum() * smaller < 1:
        common[:, common.sum(axis=0).argmin()] += rest
        return common
    return np.column_stack([common, rest])


def population_stability_index(reference: Array, window: Array) -> float:
    """Return the population stability index of two rows of counts: the symmetrised Kullback-Leibler divergence.

    References
    ----------
    Siddiqi, N. (2006). Credit Risk Scorecards. Wiley.

    Examples
    --------
    >>> round(population_stability_index(np.array([50, 50]), np.array([30, 70])), 4)
    0.1695
    """
    shares = [
        np.maximum(counts / counts.sum(), SMALLEST_SHARE) for counts in (np.asarray(reference), np.asarray(window))
    ]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def jensen_shannon(reference: Array, window: Array) -> float:
    """Return the Jensen-Shannon distance of two rows of counts, to base 2: 0 where they are alike, 1 where disjoint.

    References
    ----------
    Endres, D. M. & Schindelin, J. E. (2003). A new metric for probability distributions. IEEE Trans. Inf. Theory 49.

    Examples
    --------
    >>> jensen_shannon(np.array([1, 0]), np.array([0, 2]))
    1.0
    """
    from scipy.special import rel_entr

    first, second = (np.asarray(counts) / np.sum(counts) for counts in (reference, window))
    middle = (first + second) / 2
    divergence = (rel_entr(first, middle).sum() + rel_entr(second, middle).sum()) / 2
    return float(np.sqrt(np.clip(divergence / np.log(2), 0.0, 1.0)))


def cramers_v(reference: Array, window: Array) -> float:
    """Return Cramér's V of two rows of counts: how strongly the category tells which of them a row is from, 0 to 1.

    References
    ----------
    Cramér, H. (1946). Mathematical Methods of Statistics. Princeton University Press.

    Examples
    --------
    >>> round(cramers_v(np.array([50, 50]), np.array([30, 70])), 3)
    0.204
    """
    return float(np.sqrt(min(1.0, chi_square(reference, window)[0] / (np.sum(reference) + np.sum(window)))))


def benjamini_hochberg(p_values: Array) -> Array:
    """Return p-values adjusted for the false discovery rate (Benjamini & Hochberg, 1995).

    Examples
    --------
    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    count = len(p_values)
    order = np.argsort(p_values)[::-1]
    ranked = p_values[order] * count / np.arange(count, 0, -1)
    adjusted = np.empty(count)
    adjusted[order] = np.minimum.accumulate(ranked)
    return np.minimum(adjusted, 1.0)
