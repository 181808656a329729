"""Which training rows count, and how much: all alike, the newest, those of the same season, the newer the more."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.policy.training import RowsPolicy, Weighting

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

Array = np.ndarray[Any, Any]

_DAY, _ONE_DAY = np.timedelta64(1, "D"), timedelta(days=1)
_YEAR_DAYS: Final = 365.2425
#: A month to either side counts most; what is of the other half of the year still counts a twentieth.
_SEASON_DAYS: Final = 30.0
_LEAST: Final = 0.05


def row_weights(weighting: Weighting, times: pd.Series, policy: RowsPolicy) -> Array | None:
    """Return how much each row counts, from 0, not at all, to 1.

    Parameters
    ----------
    weighting : {"everything", "window", "season", "recency"}
    times : Series of shape (n_rows,)
        When each row was; the newest is what age and season are counted from. A row without a time counts least.
    policy : RowsPolicy

    Returns
    -------
    ndarray of shape (n_rows,) or None
        None where all rows count alike.

    References
    ----------
    Klinkenberg, R. (2004). Learning drifting concepts: example selection vs. example weighting. Intelligent Data
    Analysis 8(3).
    """
    if weighting == "everything":
        return None
    moments = times.to_numpy(dtype="datetime64[us]")
    known = ~np.isnat(moments)
    if not known.any():
        return None
    days = np.full(len(moments), np.inf)
    days[known] = (moments[known].max() - moments[known]) / _DAY
    if weighting == "window":
        return (days <= policy.window / _ONE_DAY).astype(float)
    if weighting == "recency":
        return np.maximum(np.exp2(-days / (policy.half_life / _ONE_DAY)), np.finfo(float).tiny)
    # the nearest way round the year: a year ago is as near as today
    apart = np.where(known, np.abs((np.where(known, days, 0.0) + _YEAR_DAYS / 2) % _YEAR_DAYS - _YEAR_DAYS / 2), np.inf)
    return np.maximum(np.exp(-0.5 * np.square(apart / _SEASON_DAYS)), _LEAST)


def takes_weights(pipeline: Pipeline, weights: Array | None) -> bool:
    """Return whether the estimator can be fitted so: weights that only leave rows out are no matter for any."""
    from sklearn.utils.validation import has_fit_parameter

    return weights is None or _alike(weights) or has_fit_parameter(pipeline[-1], "sample_weight")


def fit_weighted(pipeline: Pipeline, values: Any, target: Array, weights: Array | None) -> None:
    """Fit the pipeline on the rows that count, as much as they count."""
    if weights is None:
        pipeline.fit(values, target)
        return
    kept = weights > 0
    given = {} if _alike(weights) else {f"{pipeline.steps[-1][0]}__sample_weight": weights[kept]}
    pipeline.fit(values[kept], target[kept], **given)


def _alike(weights: Array) -> bool:
    return bool(np.isin(weights, (0.0, 1.0)).all())
