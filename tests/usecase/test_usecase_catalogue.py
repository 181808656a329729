"""The catalogue: what there is and of what type."""

from __future__ import annotations

from pathlib import Path

import yaml

from mlcore.catalogue import catalogue
from mlcore.usecase import parse_usecase

ROOT = Path(__file__).parent.parent.parent


def test_generated_features_have_the_type_that_they_are():
    """A cross is a category and a bin has a rank: an average of either would mean nothing."""
    data = yaml.safe_load((ROOT / "usecases" / "bikeshare" / "usecase.yaml").read_text())
    data["training"]["features"].append({"kind": "bins", "columns": ["humidity"]})
    types = {entry.name: entry.type for entry in catalogue([parse_usecase(data, source="x")])}
    assert types["recorded_at_hour"] == "integer"
    assert types["recorded_at_hour_sin"] == types["temperature_pow2"] == "number"
    assert types["workingday_x_recorded_at_hour"] == "category"
    assert types["humidity_bin"] == "ordinal"
