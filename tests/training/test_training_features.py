"""What a model sees of a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlcore.errors import ContractError
from mlcore.policy.training import FeatureStep
from mlcore.training import generators
from mlcore.training.pipeline import build_pipeline, model_features
from mlcore.training.splits import target_values
from mlcore.usecase import UseCase


@pytest.mark.parametrize("part", sorted(generators.PERIODS))
def test_calendar_parts_agree_with_pandas(part: str) -> None:
    """Each part is the one that pandas finds, over leap years and year ends."""
    times = pd.date_range("2019-12-25", "2024-03-05", freq="37h", tz="UTC")
    accessor = times.isocalendar().week if part == "week" else None
    expected: Any = {
        "week": accessor,
        "is_weekend": times.weekday >= 5,
        "day_of_year": times.day_of_year,
    }.get(part, getattr(times, part, None))
    found = generators.calendar_part(times.to_numpy(dtype="datetime64[ns]").astype("datetime64[s]"), part)
    assert np.array_equal(found, np.asarray(expected, dtype=float))


def test_keys_targets_and_raw_timestamps_never_reach_the_estimator(make_churn: Any, bikeshare: UseCase) -> None:
    """Only features and what is made of them have a column."""
    assert list(model_features(make_churn()).get_feature_names_out()) == ["age", "spend", "plan", "active"]
    names = set(model_features(bikeshare).get_feature_names_out())
    assert not names & {"recorded_at", "bikers"}
    assert {"recorded_at_hour", "workingday_x_recorded_at_hour", "temperature_pow2"} <= names


def test_unseen_and_missing_values_are_answered(make_churn: Any, customers: pd.DataFrame) -> None:
    """A category never seen, an empty cell and an infinite number each get an answer, alone and in any column order."""
    usecase = make_churn()
    for candidate in usecase.training.candidates:
        pipeline = build_pipeline(usecase, candidate, {}, 0).fit(customers, target_values(customers, usecase.contract))
        odd = pd.DataFrame(
            {
                "plan": ["platinum", None, "gold"],
                "customer": [1, 2, 3],
                "active": [None, True, False],
                "spend": [np.inf, None, 1e300],
                "age": [None, None, 30.0],
            }
        )
        assert np.isfinite(pipeline.predict_proba(odd)).all()
        assert np.allclose(pipeline.predict_proba(odd[:1]), pipeline.predict_proba(odd)[:1])


def test_a_missing_column_and_a_wrong_type_are_named(make_churn: Any, customers: pd.DataFrame) -> None:
    """What a caller does wrong is said with the column's name."""
    features = model_features(make_churn()).fit(customers)
    with pytest.raises(ContractError, match="spend"):
        features.transform(customers.drop(columns="spend"))
    with pytest.raises(ContractError, match="age"):
        features.transform(customers.assign(age="old"))


def test_generated_values_are_right(make_churn: Any, customers: pd.DataFrame) -> None:
    """Ratios, products, crosses, bins and polynomials hold what their names say; a zero divisor is missing."""
    usecase = make_churn(
        features=[
            {"kind": "ratio", "columns": ["age", "spend"]},
            {"kind": "product", "columns": ["age", "spend"]},
            {"kind": "cross", "columns": ["plan", "active"]},
            {"kind": "bins", "columns": ["spend"], "count": 4},
            {"kind": "polynomial", "columns": ["spend"], "degree": 3},
        ]
    )
    customers.loc[0, "spend"] = 0.0
    features = model_features(usecase).fit(customers)
    made = pd.DataFrame(features.transform(customers), columns=features.get_feature_names_out())
    assert np.isnan(made.loc[0, "age_per_spend"])
    assert np.allclose(made["age_times_spend"], customers["age"] * customers["spend"], equal_nan=True)
    assert np.allclose(made["spend_pow3"], customers["spend"] ** 3)
    assert made["spend_bin"].value_counts().tolist() == [150] * 4
    assert made["plan_x_active"].nunique() == 6


def test_a_frequency_is_the_share_of_the_training_rows(make_churn: Any, customers: pd.DataFrame) -> None:
    """Values of training have their share of it, whatever rows are asked about; unseen ones none, missing ones NaN."""
    cross = {"kind": "cross", "columns": ["plan", "active"]}
    usecase = make_churn(features=[cross, {"kind": "frequency", "columns": ["plan", "active", "plan_x_active"]}])
    features = model_features(usecase).fit(customers)
    names = list(features.get_feature_names_out())[-3:]
    assert names == ["plan_frequency", "active_frequency", "plan_x_active_frequency"]
    made = pd.DataFrame(features.transform(customers)[:, -3:], columns=names)
    for name, column in zip(names, ["plan", "active", ["plan", "active"]], strict=True):
        expected = customers.groupby(column)["spend"].transform("size") / len(customers)
        assert np.allclose(made[name], expected)
    odd = customers.head(3).assign(plan=["platinum", None, "gold"], active=[None, True, False])
    found = features.transform(odd)[:, -3:]
    gold = (customers["plan"] == "gold").mean()
    assert np.array_equal(found[:, 0], [0, np.nan, gold], equal_nan=True)
    assert np.isnan(found[0, 1])
    assert np.isnan(found[:2, 2]).all()
    first_rows = model_features(usecase).fit(customers.assign(plan=None)).transform(odd)
    assert np.array_equal(first_rows[:, -3], [0, np.nan, 0], equal_nan=True)


def test_features_do_not_depend_on_the_target(make_churn: Any, customers: pd.DataFrame) -> None:
    """Shuffled labels change nothing about any feature."""
    usecase = make_churn(features=[{"kind": "bins", "columns": ["spend"]}, {"kind": "frequency", "columns": ["plan"]}])
    one = model_features(usecase).fit(customers, customers["left"]).transform(customers)
    other = model_features(usecase).fit(customers, customers["left"][::-1]).transform(customers)
    assert np.array_equal(one, other, equal_nan=True)


def test_steps_are_plain_values(bikeshare: UseCase) -> None:
    """The step keeps only what JSON can hold, so that a model file needs no type of ours for it."""
    kinds = {type(value) for step in model_features(bikeshare).steps for value in step.values()}
    assert kinds <= {str, int, list}
    assert FeatureStep(kind="bins", columns=("spend",)).count == 5


def test_few_rows_and_many_have_the_same_features():
    """Hash tables are worth it for many rows only; a row's features do not depend on how many come with it."""
    rng = np.random.default_rng(0)
    words = np.array(["a", "b", "c & d", None], dtype=object)[rng.integers(0, 4, 3 * generators.FEW)]
    sizes = rng.choice([-0.0, 0.0, 1.0, 2.5, np.nan], len(words))
    many = generators.crossed([words, sizes])
    few = [
        generators.crossed([words[start : start + 7], sizes[start : start + 7]]) for start in range(0, len(words), 7)
    ]
    assert many.tolist() == np.concatenate(few).tolist()
