"""Which rows train and which judge."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlcore.contract import DataContract
from mlcore.errors import TrainingError
from mlcore.training.splits import search_folds, split_holdout, usable
from mlcore.usecase import UseCase


def _with_search(usecase: UseCase, **values: Any) -> UseCase:
    search = usecase.training.search.model_copy(update=values)
    return usecase.model_copy(update={"training": usecase.training.model_copy(update={"search": search})})


def test_the_holdout_is_the_newest_share(bikeshare: UseCase, rentals: pd.DataFrame) -> None:
    """Every held-out row is newer than every training row, whatever the order of the table."""
    train, holdout = split_holdout(rentals.sample(frac=1, random_state=1), bikeshare)
    assert train["recorded_at"].max() < holdout["recorded_at"].min()
    assert len(holdout) / len(rentals) == pytest.approx(0.15, abs=0.01)
    again = split_holdout(rentals, bikeshare)
    pd.testing.assert_frame_equal(holdout, again[1])


def test_no_more_is_held_out_than_the_longest_time(bikeshare: UseCase, rentals: pd.DataFrame) -> None:
    """Of a long past a share is so long that what has changed since is not learned for months."""
    contract = bikeshare.contract.model_copy(update={"minimum_rows": 100})
    few = _with_search(bikeshare.model_copy(update={"contract": contract}), holdout_longest=timedelta(days=7))
    train, holdout = split_holdout(rentals, few)
    assert len(train) + len(holdout) == len(rentals)
    assert train["recorded_at"].max() == rentals["recorded_at"].max() - timedelta(days=7)
    # two days are fewer rows than are asked for: the share it is
    short = _with_search(few, holdout_longest=timedelta(days=2))
    assert len(split_holdout(rentals, short)[1]) / len(rentals) == pytest.approx(0.15, abs=0.01)


def test_a_time_stamp_is_never_on_both_sides(bikeshare: UseCase, rentals: pd.DataFrame) -> None:
    """Rows of one hour stay together in the holdout and in every fold."""
    doubled = pd.concat([rentals.assign(recorded_at=rentals["recorded_at"].dt.floor("D")), rentals[:0]])
    train, holdout = split_holdout(doubled, bikeshare)
    assert not set(train["recorded_at"]) & set(holdout["recorded_at"])
    for fold in search_folds(train, bikeshare):
        assert not set(train["recorded_at"].iloc[fold.train]) & set(train["recorded_at"].iloc[fold.validation])


def test_folds_roll_forward_with_the_gap(bikeshare: UseCase, rentals: pd.DataFrame) -> None:
    """A fold trains only on rows older than its validation rows by more than the gap; the newest comes first."""
    usecase = _with_search(bikeshare, gap=timedelta(days=2), folds=4)
    rows = usable(rentals, usecase.contract)
    folds = search_folds(rows, usecase)
    times = rows["recorded_at"].to_numpy()
    assert len(folds) == 4
    for fold in folds:
        assert times[fold.train].max() < times[fold.validation].min() - np.timedelta64(2, "D")
    assert folds[0].validation.min() > folds[1].validation.max()


def test_without_time_classes_keep_their_shares(make_churn: Any, customers: pd.DataFrame) -> None:
    """The random holdout is stratified by class and covers the table."""
    train, holdout = split_holdout(customers, make_churn())
    assert len(train) + len(holdout) == len(customers)
    share = (customers["left"] == "yes").mean()
    assert (holdout["left"] == "yes").mean() == pytest.approx(share, abs=0.02)


def test_a_repeating_key_stays_on_one_side(make_churn: Any, customers: pd.DataFrame) -> None:
    """Rows of one customer are all in training or all held out, and so in each fold."""
    customers["customer"] = customers["customer"] // 4
    train, holdout = split_holdout(customers, make_churn())
    assert not set(train["customer"]) & set(holdout["customer"])
    for fold in search_folds(train, make_churn()):
        assert not set(train["customer"].iloc[fold.train]) & set(train["customer"].iloc[fold.validation])


def test_too_few_rows_are_one_error(bikeshare: UseCase, rentals: pd.DataFrame) -> None:
    """One row, or one time stamp, cannot be split."""
    with pytest.raises(TrainingError, match="at least 2 rows"):
        split_holdout(rentals[:1], bikeshare)
    with pytest.raises(TrainingError, match="time stamps"):
        split_holdout(rentals[:5].assign(recorded_at=rentals["recorded_at"].iloc[0]), bikeshare)


def test_rows_are_ordered_as_pandas_orders_them(bikeshare: UseCase, rentals: pd.DataFrame) -> None:
    """Times that tie, texts beyond ASCII and missing values are in Arrow's order where pandas has them."""
    rng = np.random.default_rng(3)
    declared = bikeshare.contract.model_dump()
    for column in declared["columns"]:
        column["role"] = "key" if column["name"] in ("weather", "temperature") else column["role"]
    contract = DataContract.model_validate(declared)
    frame = rentals.head(400).assign(
        recorded_at=lambda rows: rng.choice(rows["recorded_at"].iloc[:40], len(rows)),
        weather=rng.choice(["b", "é", "a", None, "Z", "\U0001f6b2"], 400),
        temperature=rng.choice([1.0, np.nan, 2.0], 400),
    )
    order = ["recorded_at", *(column.name for column in contract.keys)]
    expected = frame.sort_values(order, kind="stable").reset_index(drop=True)
    pd.testing.assert_frame_equal(usable(frame, contract), expected)
    assert len(order) == 3
