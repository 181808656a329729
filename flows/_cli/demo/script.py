"""What a demo announces and sends: read from the use case's demo.yaml."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlcore.errors import UseCaseError
from mlcore.usecase import UseCase, load_usecase

if TYPE_CHECKING:
    import pandas as pd

FILE_NAME = "demo.yaml"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Span(_Part):
    """Rows from the start of one day up to the start of another."""

    from_: date = Field(alias="from")
    to: date


class Conversion(_Part):
    """What a faulty sensor makes of a value: ``value * factor + offset``."""

    factor: float
    offset: float


class Spoiling(_Part):
    """How rows are spoiled: columns converted, and the share of values lost."""

    convert: dict[str, Conversion] = Field(default_factory=dict)
    missing: dict[str, float] = Field(default_factory=dict)


class Fault(Spoiling):
    """One faulty day of live traffic."""

    day: date


class Broken(Spoiling, Span):
    """A dataset that must be quarantined."""


class Answer(_Part):
    """What the demo answers to the approval form."""

    approver: str
    reason: str


class Script(_Part):
    """One demo."""

    data: Path
    history: Span
    traffic: Span
    fault: Fault
    broken: Broken
    test: Span
    storm_events: int = 200
    answer: Answer


class Past:
    """A use case's own data, cut into the pieces of the script.

    Raises
    ------
    UseCaseError
        If the use case has no demo.yaml, or a faulty one.
    """

    def __init__(self, folder: Path) -> None:
        from mlcore.data.ingest import read_source

        self.usecase: UseCase = load_usecase(folder)
        self.script = _read(folder / FILE_NAME)
        self.frame: pd.DataFrame = read_source(str(folder / self.script.data), self.usecase.contract).to_pandas()
        time = self.usecase.contract.time
        if time is None:
            raise UseCaseError("a demo needs a time column", subject=str(folder))
        self.time = time.name

    def between(self, start: date, end: date) -> pd.DataFrame:
        """Return the rows of ``[start, end)``."""
        import pandas as pd

        times = self.frame[self.time]
        low, high = (pd.Timestamp(day, tz="UTC") for day in (start, end))
        return self.frame[(times >= low) & (times < high)].reset_index(drop=True)

    def spoiled(self, rows: pd.DataFrame, spoiling: Spoiling) -> pd.DataFrame:
        """Return `rows` as a faulty source would deliver them."""
        import numpy as np

        rows = rows.copy()
        for column, conversion in spoiling.convert.items():
            rows[column] = rows[column] * conversion.factor + conversion.offset
        for column, share in spoiling.missing.items():
            lost = np.random.default_rng(0).choice(len(rows), size=int(np.ceil(share * len(rows))), replace=False)
            rows.loc[lost, column] = None
        return rows


def _read(path: Path) -> Script:
    import yaml

    if not path.is_file():
        raise UseCaseError("this use case has no demo", subject=str(path), expected="a demo.yaml")
    try:
        return Script.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        problem = error.errors()[0]
        raise UseCaseError(
            "the demo cannot be understood", subject=f"{path}: {problem['loc']}", got=problem["msg"]
        ) from None


def at_midnight(day: date) -> datetime:
    """Return the start of `day` in UTC."""
    from datetime import UTC

    return datetime(day.year, day.month, day.day, tzinfo=UTC)
