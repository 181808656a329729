"""How a published batch is cleaned before it is stored as a dataset version."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlcore.contract import Frozen, Name


class OutlierRule(Frozen):
    """Values of one column further than `whiskers` interquartile ranges outside the quartiles (Tukey, 1977)."""

    column: Name
    whiskers: float = Field(default=3.0, gt=0)
    action: Literal["drop_row", "set_missing", "clip"] = "set_missing"


class CleaningPolicy(Frozen):
    """Steps are executed in this order: exact duplicates, key duplicates, missing values, outliers."""

    exact_duplicates: Literal["drop", "keep"] = "drop"
    key_duplicates: Literal["keep_first", "keep_last", "keep"] = "keep_last"
    missing_target: Literal["drop_row", "keep"] = Field(
        default="drop_row", description="Rows without a target cannot be trained on."
    )
    drop_rows_missing: tuple[Name, ...] = Field(default=())
    outliers: tuple[OutlierRule, ...] = Field(default=())
