"""Names of generated features."""

from __future__ import annotations

import pytest

from mlcore.contract import Column, DataContract
from mlcore.errors import UseCaseError
from mlcore.policy.naming import feature_names, generated_names
from mlcore.policy.training import Candidate, FeatureStep, TrainingPolicy

CONTRACT = DataContract(
    task="regression",
    columns=(
        Column(name="at", type="timestamp", role="time"),
        Column(name="shop", type="category", role="key"),
        Column(name="a", type="number"),
        Column(name="b", type="integer"),
        Column(name="c", type="category"),
        Column(name="y", type="number", role="target"),
    ),
)


@pytest.mark.parametrize(
    ("step", "names"),
    [
        (FeatureStep(kind="calendar", columns=("at",), parts=("hour", "week")), ("at_hour", "at_week")),
        (FeatureStep(kind="cyclic", columns=("at",), parts=("month",)), ("at_month_sin", "at_month_cos")),
        (FeatureStep(kind="ratio", columns=("a", "b")), ("a_per_b",)),
        (FeatureStep(kind="product", columns=("a", "b")), ("a_times_b",)),
        (FeatureStep(kind="cross", columns=("c", "b")), ("c_x_b",)),
        (FeatureStep(kind="bins", columns=("a", "b")), ("a_bin", "b_bin")),
        (FeatureStep(kind="frequency", columns=("c", "b")), ("c_frequency", "b_frequency")),
        (
            FeatureStep(kind="polynomial", columns=("a", "b"), degree=3),
            ("a_pow2", "a_times_b", "b_pow2", "a_pow3", "a_pow2_times_b", "a_times_b_pow2", "b_pow3"),
        ),
    ],
)
def test_every_kind_has_its_names(step: FeatureStep, names: tuple[str, ...]) -> None:
    """Each kind of step names its features by its rule."""
    assert generated_names(step, CONTRACT) == names


@pytest.mark.parametrize(
    "step",
    [
        FeatureStep(kind="ratio", columns=("a", "y")),
        FeatureStep(kind="cross", columns=("shop", "c")),
        FeatureStep(kind="ratio", columns=("a", "c")),
        FeatureStep(kind="frequency", columns=("a",)),
        FeatureStep(kind="frequency", columns=("y",)),
        FeatureStep(kind="calendar", columns=("at",)),
        FeatureStep(kind="ratio", columns=("a",)),
    ],
)
def test_what_a_model_may_not_see_is_refused(step: FeatureStep) -> None:
    """A step on the target, on a key, on the wrong type, or half written is one clear error."""
    with pytest.raises(UseCaseError, match="a feature cannot be made"):
        generated_names(step, CONTRACT)


def test_a_step_can_use_an_earlier_feature_and_names_stay_unique() -> None:
    """Generated features can be combined; a second feature of one name is refused."""
    hour = FeatureStep(kind="calendar", columns=("at",), parts=("hour",))
    cross = FeatureStep(kind="cross", columns=("c", "at_hour"))
    model = (Candidate(name="ridge", estimator="sklearn.linear_model.Ridge"),)
    policy = TrainingPolicy(features=(hour, cross), exclude=("b",), candidates=model)
    assert feature_names(policy, CONTRACT) == ("a", "c", "at_hour", "c_x_at_hour")
    with pytest.raises(UseCaseError, match="one name"):
        feature_names(TrainingPolicy(features=(hour, hour), candidates=model), CONTRACT)
    with pytest.raises(UseCaseError, match="at_hour"):
        feature_names(TrainingPolicy(features=(cross, hour), candidates=model), CONTRACT)
