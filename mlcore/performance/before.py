"""What the champions before the one that serves could do: a model of bad times is asked for it, too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from mlcore.metrics import Metric

#: So many champions back: after as many retrainings that did not help the world is taken to be harder for good.
REMEMBERED: Final = 3


@dataclass(frozen=True, slots=True)
class Validated:
    """A metric on the rows that were held out when a model was trained, and the best constant answer's on them."""

    value: float
    dummy: float

    @classmethod
    def of(cls, metrics: Mapping[str, Any], name: str) -> Self:
        """Return what `Scores.to_json` keeps of a metric, nan where it is not known."""
        held_out, dummy = (metrics.get(which, {}).get(name) for which in ("holdout", "dummy_holdout"))
        return cls(*(math.nan if value is None else value for value in (held_out, dummy)))


def possible_before(metric: Metric, now: Validated, earlier: Sequence[Validated]) -> float | None:
    """Return the metric that the best of the champions before would have had on the rows held out now, as far as told.

    Rows differ in how hard they are, as summer's rentals and winter's: of errors the share of the constant answer's
    is what is carried over, loss * dummy now / dummy then. Metrics of which more is better are without a scale, and
    carried over as they are.

    Parameters
    ----------
    metric : Metric
    now : Validated
        Of the model that serves.
    earlier : sequence of Validated
        Of the models that served before it.

    Returns
    -------
    float or None
        None where nothing is known of any.

    Examples
    --------
    >>> from mlcore.metrics import metric_named
    >>> error = metric_named("mean_absolute_error", "regression")
    >>> possible_before(error, Validated(60.0, 100.0), [Validated(10.0, 50.0), Validated(30.0, 60.0)])
    20.0
    """
    if metric.higher_is_better:
        found = [item.value for item in earlier]
    else:
        found = [item.value * now.dummy / item.dummy for item in earlier if item.dummy > 0]
    return min((value for value in found if math.isfinite(value)), key=metric.loss, default=None)
