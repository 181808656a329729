"""How a published batch is cleaned before it is stored as a dataset version."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlcore.contract import Frozen, Name


class OutlierRule(Frozen):
    """Values of one column further than `whiskers` interquartile ranges outside the quartiles (Tukey, 1977)."""

    column: Name = Field(description="A numeric column of the contract.")
    whiskers: float = Field(
        default=3.0, gt=0, description="Interquartile ranges beyond the quartiles from which on a value is an outlier."
    )
    action: Literal["drop_row", "set_missing", "clip"] = Field(
        default="set_missing", description="What becomes of an outlier; `clip` moves it to the end of the whisker."
    )


class CleaningPolicy(Frozen):
    """Steps are executed in this order: exact duplicates, key duplicates, missing values, outliers."""

    exact_duplicates: Literal["drop", "keep"] = Field(
        default="drop",
        description="Rows that repeat another in every column. Where they are dropped, the gate asks about held-out "
        "rows that are among the training rows all the same.",
    )
    key_duplicates: Literal["keep_first", "keep_last", "keep"] = Field(
        default="keep_last",
        description="Rows that share their key with another; without a key in the contract, their time.",
    )
    missing_target: Literal["drop_row", "keep"] = Field(
        default="drop_row", description="Rows without a target cannot be trained on."
    )
    drop_rows_missing: tuple[Name, ...] = Field(
        default=(), description="Columns without which a row is worthless: rows that miss one are dropped."
    )
    outliers: tuple[OutlierRule, ...] = Field(default=(), description="Rules for outliers, one a column.")
