"""Lags and rolling statistics: right, of the past only, and the same in training and in service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlcore.errors import ContractError, UseCaseError
from mlcore.metrics import Output, metric_named
from mlcore.modelstore import ModelMetadata, load_model, save_model
from mlcore.policy.naming import feature_names
from mlcore.training.features import ModelFeatures
from mlcore.training.fitting import Bench
from mlcore.training.importance import permutation_importance
from mlcore.training.pipeline import build_pipeline, model_features
from mlcore.training.run import golden_rows, train_model
from mlcore.training.search import search
from mlcore.training.splits import target_values, usable
from mlcore.usecase import UseCase, parse_usecase

STATISTICS = ["mean", "sum", "std", "min", "max", "count"]
STEPS: list[dict[str, Any]] = [
    {"kind": "lag", "columns": ["load", "weather"], "after": "PT6H", "by": ["sensor"]},
    {"kind": "lag", "columns": ["load"], "after": "PT1H"},
    {"kind": "lag", "columns": ["output"], "after": "PT24H", "by": ["sensor", "weather"]},
    {"kind": "rolling", "columns": ["load"], "window": "PT12H", "by": ["sensor"], "statistics": STATISTICS},
    {"kind": "rolling", "columns": ["output"], "window": "P2D", "after": "PT24H", "statistics": STATISTICS},
    {"kind": "rolling", "columns": ["load"], "window": "PT5H", "statistics": ["sum", "count"]},
]


def make_usecase(*features: dict[str, Any], gap: str = "PT24H") -> UseCase:
    """Return a use case of sensors that report at irregular times."""
    columns = [
        {"name": "sensor", "type": "text", "role": "key"},
        {"name": "at", "type": "timestamp", "role": "time"},
        {"name": "load", "type": "number", "maximum_missing_fraction": 0.5},
        {"name": "weather", "type": "category", "categories": ["dry", "wet"], "maximum_missing_fraction": 0.5},
        {"name": "output", "type": "number", "role": "target"},
    ]
    data = {
        "format": 1,
        "name": "sensors",
        "title": "What sensors say",
        "owner": {"name": "Owner", "email": "owner@example.org"},
        "contract": {"task": "regression", "columns": columns},
        "training": {
            "features": list(features or STEPS),
            "candidates": [{"name": "ridge", "estimator": "sklearn.linear_model.Ridge"}],
            "search": {"folds": 1, "trials": 2, "gap": gap},
        },
    }
    return parse_usecase(data, source="sensors")


def make_rows(count: int, seed: int = 0) -> pd.DataFrame:
    """Return rows in any order, with missing values, times that several rows share, and values of any size."""
    rng = np.random.default_rng(seed)
    minutes = np.sort(rng.integers(0, 40 * count, count)) // 30 * 30
    frame = pd.DataFrame(
        {
            "sensor": rng.choice(["a", "b", "c"], count).astype(object),
            "at": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(minutes, unit="min"),
            "load": rng.normal(1e3, 10, count) * 10.0 ** rng.integers(-3, 4, count),
            "weather": rng.choice(["dry", "wet"], count).astype(object),
            "output": rng.gamma(2, 5, count),
        }
    )
    frame.loc[rng.random(count) < 0.1, "load"] = np.nan
    frame.loc[rng.random(count) < 0.1, "weather"] = None
    frame.loc[rng.random(count) < 0.05, "sensor"] = None
    frame.loc[rng.random(count) < 0.03, "at"] = pd.NaT
    return frame.drop_duplicates(["sensor", "at"]).sample(frac=1, random_state=seed).reset_index(drop=True)


def made(features: ModelFeatures, frame: pd.DataFrame, history: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the features under their names."""
    return pd.DataFrame(features.transform(frame, history), columns=features.get_feature_names_out())


def same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Return whether two tables of features are equal to the last bit."""
    return np.array_equal(one.to_numpy(), other.to_numpy(), equal_nan=True)


def earlier(frame: pd.DataFrame, row: Any, by: list[str]) -> pd.DataFrame:
    """Return the rows that `row` may look at, found one by one."""
    kept = frame[frame["at"] < row["at"]]
    for name in by:
        kept = kept[(kept[name] == row[name]).to_numpy(dtype=bool)]
    return kept.sort_values("at")


def test_values_are_what_a_row_by_row_search_finds() -> None:
    """Lags and statistics agree with the plain definition, over groups, gaps, ties and missing values."""
    frame = make_rows(300)
    found = made(model_features(make_usecase()).fit(frame), frame)
    for position, row in frame.iterrows():
        lagged = earlier(frame, row, ["sensor"])
        lagged = lagged[(lagged["at"] <= row["at"] - pd.Timedelta("6h")) & lagged["weather"].notna()]
        code = {"dry": 0.0, "wet": 1.0}[lagged["weather"].iloc[-1]] if len(lagged) else -1.0
        assert found.loc[position, "weather_lag_6h_by_sensor"] == code
        window = earlier(frame, row, ["sensor"])
        window = window.loc[window["at"] >= row["at"] - pd.Timedelta("12h"), "load"].dropna()
        known = pd.notna(row["at"]) and row["sensor"] is not None
        for statistic in STATISTICS:
            expected = getattr(window, statistic)() if len(window) or statistic == "count" else np.nan
            expected = expected if known else np.nan
            value = found.loc[position, f"load_{statistic}_12h_by_sensor"]
            assert value == pytest.approx(expected, rel=1e-6, nan_ok=True), (position, statistic)
        late = earlier(frame, row, [])
        ended = row["at"] - pd.Timedelta("24h")
        late = late[(late["at"] < ended) & (late["at"] >= ended - pd.Timedelta("2d"))]
        assert found.loc[position, "output_mean_2d_lag_24h"] == pytest.approx(late["output"].mean(), nan_ok=True)


@pytest.mark.parametrize("seed", range(5))
def test_no_later_row_and_none_of_the_same_time_changes_a_value(seed: int) -> None:
    """Rows of the same time and later ones can be changed or deleted: not a bit of any value moves."""
    rng = np.random.default_rng(seed)
    frame = make_rows(200, seed)
    features = model_features(make_usecase()).fit(make_rows(150, seed + 100))
    whole = made(features, frame)
    for position in rng.choice(len(frame), 15, replace=False):
        later = (frame["at"] >= frame.loc[position, "at"]) | frame["at"].isna()
        later[position] = False
        changed = frame.copy()
        changed.loc[later, "load"] = rng.normal(0, 1e6, later.sum())
        changed.loc[later, "output"] = np.nan
        changed.loc[later, "weather"] = "dry"
        fewer = frame[~later | (rng.random(len(frame)) < 0.3)]
        row = whole.loc[[position]]
        assert same(made(features, changed).loc[[position]], row)
        assert same(made(features, fewer).set_index(fewer.index).loc[[position]], row)
        assert same(made(features, frame.loc[[position]], frame), row)


def test_the_order_of_the_rows_does_not_matter() -> None:
    """A shuffled table gets the very same features."""
    frame = make_rows(300)
    order = np.random.default_rng(1).permutation(len(frame))
    shuffled = frame.iloc[order]
    one = made(model_features(make_usecase()).fit(frame), frame)
    assert same(one.iloc[order], made(model_features(make_usecase()).fit(frame), shuffled))
    times = frame.assign(at=frame["at"].dt.floor("6h"))
    one = made(model_features(make_usecase()).fit(times), times)
    assert same(one.iloc[order], made(model_features(make_usecase()).fit(times), times.iloc[order]))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("steps", [STEPS, *([step] for step in STEPS)], ids=range(7))
def test_training_and_service_agree_to_the_last_bit(steps: list[dict[str, Any]], seed: int) -> None:
    """What training saw in a long table is what a service finds with the tail it kept and the history it is sent."""
    frame = make_rows(400, seed).dropna(subset=["at"]).sort_values("at").reset_index(drop=True)
    edge = frame.loc[300, "at"]
    train, after = frame[frame["at"] < edge], frame[frame["at"] >= edge]
    features = model_features(make_usecase(*steps)).fit(train)
    assert len(features.history_times_) < len(train) / 2
    expected = made(features, frame).loc[after.index]
    together = made(features, after)
    assert same(together, expected)
    assert same(made(features, after, train), expected)
    for number in range(0, len(after), 20):
        alone = made(features, after.iloc[[number]], after.iloc[:number])
        assert same(alone, expected.iloc[[number]])


def test_a_row_that_is_given_twice_counts_once() -> None:
    """History that overlaps with the rows, or with what the model kept, changes nothing."""
    frame = make_rows(200)
    features = model_features(make_usecase()).fit(frame)
    assert same(made(features, frame), made(features, frame, frame))
    assert same(made(features, frame), pd.DataFrame(model_features(make_usecase()).fit_transform(frame)))


def test_a_model_with_lags_is_saved_and_answers_with_a_history(tmp_path: Path) -> None:
    """The kept tail travels in the model file; labels that came later reach the answers as history."""
    usecase = make_usecase()
    frame = make_rows(500).dropna(subset=["at"])
    frame["output"] = (frame["at"] - frame["at"].min()) / pd.Timedelta("1h")
    trained = train_model(frame, usecase, seed=0)
    assert {"load_mean_12h_by_sensor", "output_lag_24h_by_sensor_weather"} <= {x.feature for x in trained.importance}
    metadata = ModelMetadata("ridge", "x", {}, 0, trained.metric, {}, trained.train_rows, trained.holdout_rows)
    saved = save_model(trained, tmp_path, usecase, metadata, golden_rows(frame, usecase))
    loaded = load_model(saved.uri, saved.digest)
    newest = frame.sort_values("at").tail(5)
    expected = Output.of(trained.pipeline, newest, frame).values
    assert np.array_equal(Output.of(loaded.pipeline, newest, frame).values, expected)
    assert np.array_equal(Output.of(loaded.pipeline, newest.drop(columns="output"), frame).values, expected)
    assert not np.array_equal(Output.of(loaded.pipeline, newest.drop(columns="output")).values, expected)


def test_importance_and_search_look_at_all_earlier_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of rows is judged with the past it has among all rows, not with what is left of it in the sample."""
    usecase = make_usecase({"kind": "rolling", "columns": ["load"], "window": "P2D", "statistics": ["count"]})
    frame = make_rows(800).dropna(subset=["at"]).assign(load=1.0)
    target = model_features(usecase).fit(frame).transform(frame)[:, -1]
    pipeline = build_pipeline(usecase, usecase.training.candidates[0], {}, 0).fit(frame, target)
    metric = metric_named("mean_absolute_error", "regression")
    monkeypatch.setattr("mlcore.training.importance.MAXIMUM_ROWS", 100)
    found = permutation_importance(pipeline, frame, target, metric, np.random.default_rng(0))
    spread = np.abs(target[:, None] - target).mean()
    # were the count of the sample, an eighth of it, the worsening would be small against the error made
    assert found[0].feature == "load_count_2d"
    assert found[0].worsening == pytest.approx(spread, rel=0.3)
    usecase_frame = frame.assign(output=target)
    trial = search(Bench.of(usable(usecase_frame, usecase.contract), usecase, seed=0)).trials[1]
    assert max(*trial.train, *trial.validation) < 0.1 * spread


def test_a_history_needs_times_and_costs_other_models_nothing() -> None:
    """History without its time is refused by name; models that do not look back do not even read it."""
    frame = make_rows(100)
    features = model_features(make_usecase()).fit(frame)
    with pytest.raises(ContractError, match="at"):
        features.transform(frame, frame.drop(columns="at"))
    with pytest.raises(ContractError, match="load"):
        features.transform(frame, frame.assign(load="much"))
    # of a column that is absent nothing is known
    assert np.isnan(made(features, frame[:1], frame[["at", "sensor"]].assign(at=frame["at"])).to_numpy()).any()
    usecase = make_usecase({"kind": "ratio", "columns": ["load", "load"]})
    plain = build_pipeline(usecase, usecase.training.candidates[0], {}, 0).fit(
        frame, target_values(frame, usecase.contract)
    )
    unread: Any = object()
    assert np.array_equal(Output.of(plain, frame, unread).values, Output.of(plain, frame).values)


def test_names_say_statistic_window_delay_and_group() -> None:
    """Durations are written in their largest whole unit, a day as 24 hours."""
    assert feature_names(make_usecase().training, make_usecase().contract)[2:6] == (
        "load_lag_6h_by_sensor",
        "weather_lag_6h_by_sensor",
        "load_lag_1h",
        "output_lag_24h_by_sensor_weather",
    )
    step = {"kind": "rolling", "columns": ["load"], "window": "P7D", "after": "PT90S", "statistics": ["std"]}
    usecase = make_usecase(step)
    assert feature_names(usecase.training, usecase.contract)[-1] == "load_std_7d_lag_90s"


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ({"kind": "lag", "columns": ["load"]}, "after above zero"),
        ({"kind": "lag", "columns": ["output"], "after": "PT23H"}, "at least training.search.gap, 24h"),
        ({"kind": "rolling", "columns": ["output"], "window": "P1D"}, "after"),
        ({"kind": "rolling", "columns": ["load"]}, "a window"),
        ({"kind": "rolling", "columns": ["weather"], "window": "P1D"}, "of type category"),
        ({"kind": "lag", "columns": ["sensor"], "after": "P1D"}, "not the key"),
        ({"kind": "lag", "columns": ["load"], "after": "P1D", "by": ["at"]}, "by of sensor, weather"),
        ({"kind": "lag", "columns": ["load"], "after": "PT0.5S"}, "whole seconds"),
        ({"kind": "lag", "columns": ["load"], "after": "-P1D"}, "greater than or equal"),
        ({"kind": "rolling", "columns": ["load"], "window": "P1D", "statistics": []}, "at least 1"),
    ],
)
def test_what_cannot_be_looked_back_at_is_refused(step: dict[str, Any], told: str) -> None:
    """Each mistake is told when the use case is read."""
    with pytest.raises(UseCaseError, match=told):
        make_usecase(step)


def test_looking_back_needs_a_time_column_and_raw_columns(make_churn: Any) -> None:
    """Without a time there is no past, and generated features are not kept."""
    with pytest.raises(UseCaseError, match="time column"):
        make_churn(features=[{"kind": "lag", "columns": ["age"], "after": "P1D"}])
    ratio = {"kind": "ratio", "columns": ["load", "load"]}
    with pytest.raises(UseCaseError, match="generated features are not kept"):
        make_usecase(ratio, {"kind": "lag", "columns": ["load_per_load"], "after": "P1D"})
