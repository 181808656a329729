"""The typed input of a service, made from the data contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model

from mlcore.contract import DataContract

if TYPE_CHECKING:
    import pandas as pd

_FIRST_YEAR: Final = 1678
_LAST_YEAR: Final = 2261
_MOST_HISTORY: Final = 100_000


def _time(value: datetime) -> datetime:
    """Return a time in UTC; one without a zone is meant so. Outside these years nanoseconds do not reach."""
    if not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        raise ValueError(f"a time between {_FIRST_YEAR} and {_LAST_YEAR} is expected")
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


_Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_TYPES: Final[Mapping[str, Any]] = {
    "timestamp": Annotated[datetime, AfterValidator(_time)],
    "integer": _Integer,
    "number": _Number,
    "boolean": bool,
    "category": str,
    "text": str,
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


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


def predict_request(contract: DataContract, maximum_rows: int, *, history: bool = False) -> type[BaseModel]:
    """Return the model of ``POST /predict``'s body: ``{"rows": [{column: value, ...}, ...]}``.

    A column that is left out is a missing value, which the model can handle; an unknown column or a value of another
    type is refused. Values out of range are scored: that they came is for monitoring to find.

    Parameters
    ----------
    contract : DataContract
    maximum_rows : int
    history : bool, default=False
        Whether the model looks back: then ``"history"``, a list of earlier rows, is taken too. They may hold the
        target, are not scored, not captured, and each row sees only those strictly before its own time.
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
    body: dict[str, Any] = {"rows": (list[row], Field(min_length=1, max_length=maximum_rows))}
    if history:
        known = Field(default=None, description="True value of the target, where it is known.")
        target: dict[str, Any] = {contract.target.name: (_target_type(contract) | None, known)}
        told = "Earlier rows that the model looks back at, with those that it kept from its training; not scored."
        body["history"] = (
            list[create_model("HistoryRow", __base__=row, **target)],  # type: ignore[misc]
            Field(default=[], max_length=_MOST_HISTORY, description=told),
        )
    return create_model("PredictRequest", __base__=_Strict, **body)


def _target_type(contract: DataContract) -> Any:
    return _Number if contract.task == "regression" else _TYPES[contract.target.type]


def label_request(contract: DataContract) -> type[BaseModel]:
    """Return the model of ``POST /labels``' body: ``{"labels": [{"id": row id, "value": true value}, ...]}``."""
    value = _target_type(contract)
    label = create_model(
        "Label",
        __base__=_Strict,
        id=(str, Field(max_length=200, description="The row's id, as /predict returned it.")),
        value=(value, Field(description=f"True value of {contract.target.name}.")),
    )
    return create_model("LabelRequest", __base__=_Strict, labels=(list[label], Field(min_length=1, max_length=100_000)))


def frame_of(rows: Sequence[Mapping[str, Any]], contract: DataContract, *, with_target: bool = False) -> pd.DataFrame:
    """Return validated rows as the DataFrame that models take: numbers as float64, times in UTC, the rest as it is."""
    import numpy as np
    import pandas as pd

    columns: dict[str, Any] = {}
    for column in (*contract.inputs, contract.target) if with_target else contract.inputs:
        values = [row.get(column.name) for row in rows]
        if column.type == "timestamp":
            # the zone is known to be UTC: parsing each value again would cost more than a small model
            naive = np.array([None if value is None else value.replace(tzinfo=None) for value in values], "M8[ns]")
            columns[column.name] = pd.DatetimeIndex(naive, tz="UTC")
        elif column.is_numeric:
            columns[column.name] = np.array(values, dtype="float64")
        else:
            array = np.empty(len(values), dtype=object)
            array[:] = values
            columns[column.name] = array
    return pd.DataFrame(columns, copy=False)
