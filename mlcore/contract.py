"""The data contract: every column written once, for storage, checks, serving, drift and docs."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    import pyarrow as pa

ColumnType = Literal["timestamp", "integer", "number", "boolean", "category", "text"]
Role = Literal["time", "key", "feature", "target", "metadata"]
Task = Literal["regression", "classification"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class Frozen(BaseModel):
    """Base of everything read from usecase.yaml: immutable, strict, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Column(Frozen):
    """One column of a use case's data.

    Roles: ``time`` orders the rows (at most one), ``key`` identifies a row together with the other keys,
    ``feature`` is what the model may use, ``target`` what it predicts, ``metadata`` is stored and never
    shown to a model.
    """

    name: Name = Field(description="Unique name: lower case letters, digits, underscores.")
    type: ColumnType = Field(description="Logical type of the values.")
    role: Role = Field(default="feature", description="What the column is for.")
    unit: str = Field(default="", description="Unit of the values, for example °C or USD.")
    description: str = Field(default="", description="What the column means.")
    owner: str = Field(default="", description="Who answers for the column, if not the use case's owner.")
    minimum: float | None = Field(default=None, description="Smallest valid value, inclusive.")
    maximum: float | None = Field(default=None, description="Largest valid value, inclusive.")
    categories: tuple[str, ...] | None = Field(default=None, description="All valid values.")
    maximum_missing_fraction: float = Field(
        default=0.0, ge=0, le=1, description="Share of missing values above which a batch fails."
    )
    minimum_valid_fraction: float = Field(
        default=1.0, gt=0, le=1, description="Share of present values that must be in range or in categories."
    )
    sensitive: bool = Field(default=False, description="Personal or protected: fairness is measured by it.")
    capture: Literal["plain", "hash", "omit"] = Field(default="plain", description="How served rows keep this column.")
    drift: bool = Field(default=True, description="Whether the column is watched for drift.")
    format: str = Field(
        default="",
        description="How files write a time stamp, in strptime's letters, as %d/%m/%Y %H:%M; s or ms where they count "
        "from 1970; empty: ISO 8601.",
    )
    made_of: tuple[Name, ...] = Field(
        default=(),
        description="Columns of a file that give a time stamp together, joined by blanks and read by `format`: year, "
        "month, day, hour. They need not be in the contract.",
    )

    missing_as: tuple[str, ...] = Field(
        default=(),
        description="What files write for no value, besides empty cells, NA and null: `?`, `-999`.",
    )

    @property
    def is_numeric(self) -> bool:
        """Whether values are numbers one can average."""
        return self.type in ("integer", "number")

    @model_validator(mode="after")
    def _limits_fit_the_type(self) -> Self:
        if self.categories is not None and self.type != "category":
            raise ValueError(f"column {self.name!r}: categories need type 'category', got {self.type!r}")
        if self.categories is not None and len(set(self.categories)) != len(self.categories):
            raise ValueError(f"column {self.name!r}: categories repeat a value")
        if (self.minimum, self.maximum) != (None, None) and not self.is_numeric:
            raise ValueError(f"column {self.name!r}: minimum and maximum need a numeric type, got {self.type!r}")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"column {self.name!r}: minimum {self.minimum} is above maximum {self.maximum}")
        if (self.format or self.made_of) and self.type != "timestamp":
            raise ValueError(f"column {self.name!r}: format and made_of need type 'timestamp', got {self.type!r}")
        if self.role == "time" and self.type != "timestamp":
            raise ValueError(f"column {self.name!r}: role 'time' needs type 'timestamp', got {self.type!r}")
        return self


class DataContract(Frozen):
    """All columns of a use case and what they promise.

    Raises
    ------
    pydantic.ValidationError
        When names repeat, or there is not exactly one target, or more than one time column, or no feature.
    """

    task: Task = Field(description="What the target is: a number or a class.")
    columns: tuple[Column, ...] = Field(min_length=2, description="Every column of the data.")
    extra_columns: Literal["refuse", "drop"] = Field(
        default="refuse", description="What to do with a source's columns that are not in the contract."
    )
    minimum_rows: int = Field(default=1, ge=1, description="A batch with fewer rows fails.")

    @model_validator(mode="after")
    def _roles_add_up(self) -> Self:
        names = [column.name for column in self.columns]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"columns repeat: {', '.join(repeated)}")
        for role, least, most in (("target", 1, 1), ("time", 0, 1), ("feature", 1, len(names))):
            count = len(self._by_role(role))
            if not least <= count <= most:
                raise ValueError(f"expected {least} to {most} columns of role {role!r}, got {count}")
        target = self.target
        if self.task == "regression" and not target.is_numeric:
            raise ValueError(f"target {target.name!r}: regression needs a numeric type, got {target.type!r}")
        if self.task == "classification" and target.type not in ("category", "boolean", "integer"):
            raise ValueError(
                f"target {target.name!r}: classification needs category, boolean or integer, got {target.type!r}"
            )
        return self

    def _by_role(self, role: str) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.role == role)

    @functools.cached_property
    def target(self) -> Column:
        """The column to predict."""
        return self._by_role("target")[0]

    @functools.cached_property
    def time(self) -> Column | None:
        """The column that orders the rows, if there is one."""
        return next(iter(self._by_role("time")), None)

    @functools.cached_property
    def keys(self) -> tuple[Column, ...]:
        """The columns that together identify a row; the time column where no key is declared."""
        return self._by_role("key") or ((self.time,) if self.time else ())

    @functools.cached_property
    def features(self) -> tuple[Column, ...]:
        """The columns a model may use."""
        return self._by_role("feature")

    @functools.cached_property
    def inputs(self) -> tuple[Column, ...]:
        """What a caller of the model sends: keys, time and features, in contract order."""
        return tuple(column for column in self.columns if column.role in ("time", "key", "feature"))

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """All column names, in contract order."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """Return the column called `name`.

        Raises
        ------
        KeyError
            If the contract has no such column.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def arrow_schema(self, *, inputs_only: bool = False) -> pa.Schema:
        """Return the storage schema: UTC microsecond timestamps, int64, float64, bool and strings."""
        import pyarrow as pa

        types = {
            "timestamp": pa.timestamp("us", tz="UTC"),
            "integer": pa.int64(),
            "number": pa.float64(),
            "boolean": pa.bool_(),
            "category": pa.string(),
            "text": pa.string(),
        }
        columns = self.inputs if inputs_only else self.columns
        return pa.schema([pa.field(column.name, types[column.type]) for column in columns])
