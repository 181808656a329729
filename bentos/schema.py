"""The typed input of a service, made from the data contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field, create_model

from mlcore.contract import DataContract

if TYPE_CHECKING:
    import pandas as pd

_TYPES: Final[Mapping[str, Any]] = {
    "timestamp": datetime,
    "integer": int,
    "number": float,
    "boolean": bool,
    "category": str,
    "text": str,
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Label(_Strict):
    """The true value of a row that was scored."""

    id: str = Field(description="The row's id, as /predict returned it.")
    value: float | bool | str = Field(description="The true value.")


class LabelRequest(_Strict):
    """Body of ``POST /labels``."""

    labels: list[Label] = Field(min_length=1, max_length=100_000)


class PredictionAnswer(BaseModel):
    """The answer for one row."""

    id: str = Field(description="Unique id of this row; send the true value with it later.")
    prediction: float | bool | int | str
    probabilities: dict[str, float] | None = Field(default=None, description="By class; null for regression.")


class PredictResponse(BaseModel):
    """Body of the answer to ``POST /predict``."""

    predictions: list[PredictionAnswer]
    usecase: str
    model_version: int
    request_id: str


def predict_request(contract: DataContract, maximum_rows: int) -> type[BaseModel]:
    """Return the model of ``POST /predict``'s body: ``{"rows": [{column: value, ...}, ...]}``.

    A column that is left out is a missing value, which the model can handle; an unknown column or a value of another
    type is refused. Values out of range are scored: that they came is for monitoring to find.
    """
    fields: dict[str, Any] = {
        column.name: (
            _TYPES[column.type] | None,
            Field(
                default=None,
                description=" ".join(filter(None, (column.description, f"[{column.unit}]" * bool(column.unit)))),
            ),
        )
        for column in contract.inputs
    }
    row = create_model("Row", __base__=_Strict, **fields)
    return create_model(
        "PredictRequest",
        __base__=_Strict,
        rows=(list[row], Field(min_length=1, max_length=maximum_rows)),
    )


def frame_of(rows: Sequence[Mapping[str, Any]], contract: DataContract) -> pd.DataFrame:
    """Return rows as the DataFrame that models take: the contract's inputs with the lake's types."""
    import pandas as pd

    columns = {}
    for column in contract.inputs:
        values = [row.get(column.name) for row in rows]
        if column.type == "timestamp":
            columns[column.name] = pd.to_datetime(pd.Series(values, dtype=object), utc=True)
        elif column.is_numeric:
            columns[column.name] = pd.Series(values, dtype="float64")
        else:
            columns[column.name] = pd.Series(values, dtype=object)
    return pd.DataFrame(columns)
