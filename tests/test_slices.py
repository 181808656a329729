"""Slices are cut in one way, wherever they are looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlcore.contract import Column, DataContract
from mlcore.policy.validation import SliceRule
from mlcore.slices import cut_slices, members

CONTRACT = DataContract(
    task="regression",
    columns=(
        Column(name="spend", type="number"),
        Column(name="rooms", type="integer"),
        Column(name="plan", type="category"),
        Column(name="y", type="number", role="target"),
    ),
)


def _cut(column: str, values: Any) -> dict[str, int]:
    """Return the label of each slice of a column and how many rows it has."""
    frame = pd.DataFrame({column: values})
    slices = cut_slices(frame, CONTRACT, [SliceRule(column=column)])
    masks = list(members(frame, slices))
    assert all(mask.dtype == bool and mask.shape == (len(frame),) for mask in masks)
    return {item.label: int(mask.sum()) for item, mask in zip(slices, masks, strict=True)}


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("spend", np.arange(100.0), {"below 24.75": 25, "24.75 to 49.5": 25, "49.5 to 74.25": 25, "from 74.25": 25}),
        ("spend", [*np.zeros(60), *np.arange(1.0, 41.0)], {"below 1": 60, "1 to 15.25": 15, "from 15.25": 25}),
        ("spend", [*np.zeros(90), *np.arange(1.0, 11.0)], {"below 1": 90, "from 1": 10}),
        ("spend", [*np.full(90, 7.0), *np.arange(-10.0, 0.0)], {"below 7": 10, "from 7": 90}),
        (
            "spend",
            [np.nan, np.inf, *np.arange(8.0)],
            {"below 1.75": 2, "1.75 to 3.5": 2, "3.5 to 5.25": 2, "from 5.25": 2},
        ),
        ("rooms", [10, 9, 2, 10], {"2": 1, "9": 1, "10": 2}),
        ("rooms", pd.array([2, None, 10], dtype="Int64"), {"2": 1, "10": 1}),
        ("plan", ["b", None, "a", "b"], {"a": 1, "b": 2}),
    ],
)
def test_values_and_quarters(column: str, values: Any, expected: dict[str, int]) -> None:
    """Each value of few in their order, quarters of many; the value that fills a quarter is a slice of its own."""
    assert _cut(column, values) == expected


def test_ranges_are_told_apart() -> None:
    """Where six digits leave two edges alike, all are given."""
    labels = list(_cut("spend", 1_700_000_000 + np.arange(9.0)))
    assert labels == [
        "below 1700000002.0",
        "1700000002.0 to 1700000004.0",
        "1700000004.0 to 1700000006.0",
        "from 1700000006.0",
    ]


def test_a_table_without_the_column_and_values_that_are_new() -> None:
    """A window need not have what held-out rows had: no row of it is in the slice."""
    slices = cut_slices(pd.DataFrame({"plan": ["a", "b"]}), CONTRACT, [SliceRule(column="plan")])
    found = [
        [mask.tolist() for mask in members(frame, slices)]
        for frame in (pd.DataFrame({"plan": ["c", None, "b"]}), pd.DataFrame({"y": [1.0]}))
    ]
    assert found == [[[False, False, False], [False, False, True]], [[False], [False]]]
