"""What champions before could do, carried over to rows that are harder or easier."""

from __future__ import annotations

import math

import pytest

from mlcore.metrics import metric_named
from mlcore.performance import Validated, possible_before

ERROR = metric_named("mean_absolute_error", "regression")
NOW = Validated(40.0, 100.0)


def test_the_best_before_counts_as_a_share_of_the_constant_answers_error():
    """A tenth of the constant answer's error then is a tenth of it now, however much more there is to predict."""
    assert possible_before(ERROR, NOW, [Validated(5.0, 50.0), Validated(4.0, 8.0)]) == 10.0


@pytest.mark.parametrize("unknown", [Validated(math.nan, 50.0), Validated(5.0, math.nan), Validated(5.0, 0.0)])
def test_what_is_not_known_is_asked_of_nobody(unknown):
    """A model of before whose figures are missing, or whose rows had one value, does not count."""
    assert possible_before(ERROR, NOW, [unknown]) is None
    assert possible_before(ERROR, NOW, [unknown, Validated(20.0, 100.0)]) == 20.0
    assert possible_before(ERROR, NOW, []) is None


def test_metrics_without_a_scale_are_carried_over_as_they_are():
    """An area under the curve is the same share of pairs on any rows; the highest is asked for."""
    area = metric_named("roc_auc", "classification")
    assert possible_before(area, Validated(0.7, 0.5), [Validated(0.8, 0.5), Validated(0.9, 0.5)]) == 0.9


def test_figures_are_read_from_what_a_model_keeps():
    """Metrics that were not measured then are not known."""
    kept = {"holdout": {"r2": 0.5}, "dummy_holdout": {"r2": 0.0}}
    assert Validated.of(kept, "r2") == Validated(0.5, 0.0)
    assert math.isnan(Validated.of(kept, "mean_absolute_error").value)
    assert math.isnan(Validated.of({}, "r2").dummy)
