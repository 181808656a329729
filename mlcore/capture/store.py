"""Captured rows and labels in Delta Lake, joined when they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlcore.capture.records import PREDICTION, label_schema, prediction_schema
from mlcore.errors import CaptureError
from mlcore.failpoints import failpoint

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as ds
    from deltalake import DeltaTable

    from mlcore.contract import DataContract

ROWS: Final = "predictions"
LABELS: Final = "labels"
#: A time stamp further ahead of a row's arrival is no time of an event; it must not close every open window.
_FURTHEST_AHEAD: Final = timedelta(days=366)
_MOST_FILES: Final = 64


@dataclass(frozen=True, slots=True)
class Prediction:
    """Facts of one captured row, for tracing."""

    row_id: str
    model_version: int
    received_at: datetime
    prediction: Any
    label: Any


@dataclass(frozen=True, slots=True)
class Answered:
    """How many rows a model version has answered, how many of them have a label, and when the last one came."""

    rows: int
    labelled: int
    last_at: datetime


class CaptureStore:
    """The captures of one use case.

    Parameters
    ----------
    root : str
        The lake: a folder or an ``s3://`` address.
    usecase : str
    contract : DataContract
    """

    def __init__(self, root: str, usecase: str, contract: DataContract) -> None:
        self._base = f"{root.rstrip('/')}/captures/{usecase}"
        self._contract = contract
        self._target = contract.target.name

    @property
    def event_time(self) -> str:
        """The column that windows follow: the contract's time, or arrival where there is none."""
        time = self._contract.time
        return time.name if time is not None and time.capture == "plain" else "received_at"

    def append(self, segments: Mapping[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
        """Append the records of segments, each once: their names are part of the commit.

        Returns
        -------
        dict
            By segment, the records that do not fit the contract and were not stored.
        """
        refused: dict[str, list[dict[str, Any]]] = {}
        for name, schema in ((ROWS, prediction_schema(self._contract)), (LABELS, label_schema(self._contract))):
            parts = {
                segment: [record for record in records if (record["kind"] == PREDICTION) == (name == ROWS)]
                for segment, records in segments.items()
            }
            for segment, records in self._append(name, parts, schema).items():
                refused.setdefault(segment, []).extend(records)
        return refused

    def read(self, start: datetime | None = None, end: datetime | None = None) -> pd.DataFrame:
        """Return captured rows of ``[start, end)`` in the order of time, with the newest label each.

        A row without a time, or with one more than a year after its arrival, counts at its arrival.

        Returns
        -------
        DataFrame
            The captured inputs, the target's name as column (missing where no label has come), ``labelled_at``,
            ``prediction``, ``probabilities``, ``row_id``, ``model_version``, ``received_at``, ``scored_at``,
            ``request_id``.
        """
        rows = self._joined(prediction_schema(self._contract).names, self._between(start, end))
        return rows.sort_values(self.event_time, kind="stable").reset_index(drop=True)

    def labelled(self) -> pd.DataFrame:
        """Return the rows that have a label, with the contract's columns only, for training."""
        rows = self.read()
        rows = rows[rows[self._target].notna()]
        return rows.reindex(columns=list(self._contract.names))

    def summary(self) -> pd.DataFrame:
        """Return event time and whether a label is there, one row a captured row."""
        import pandas as pd

        rows = self._joined(list({"row_id", "received_at", self.event_time}))
        time, arrival = rows[self.event_time], rows["received_at"]
        return pd.DataFrame(
            {"at": time.where(time <= arrival + _FURTHEST_AHEAD, arrival), "labelled": rows[self._target].notna()}
        )

    def find(self, row_id: str) -> Prediction | None:
        """Return one captured row, None where there is none."""
        import pyarrow.dataset as ds

        rows = self._joined(["row_id", "model_version", "received_at", "prediction"], ds.field("row_id") == row_id)
        if rows.empty:
            return None
        (row,) = rows.head(1).to_dict("records")
        label = row[self._target]
        return Prediction(
            row_id,
            row["model_version"],
            row["received_at"].to_pydatetime(),
            _plain(row["prediction"]),
            None if label is None or label != label else _plain(label),  # noqa: PLR0124 (NaN is not equal to itself)
        )

    def answered(self, model_version: int) -> Answered | None:
        """Return how many rows a model version has answered, None where none was captured."""
        import pyarrow.dataset as ds

        rows = self._joined(["row_id", "received_at"], ds.field("model_version") == model_version)
        if rows.empty:
            return None
        return Answered(len(rows), int(rows[self._target].notna().sum()), rows["received_at"].max().to_pydatetime())

    def state(self) -> tuple[int | None, int | None]:
        """Return the versions of both tables, None before the first: the same as before, nothing has changed."""
        tables = (self._open(name) for name in (ROWS, LABELS))
        rows, labels = (None if table is None else table.version() for table in tables)
        return rows, labels

    def known(self, row_ids: Sequence[str]) -> set[str]:
        """Return which of `row_ids` a row or a label is kept of."""
        import pyarrow as pa
        import pyarrow.dataset as ds

        condition = ds.field("row_id").isin(pa.array(list(row_ids), pa.string()))
        kept = (
            self._read(name, schema, ["row_id"], condition)["row_id"]
            for name, schema in (
                (ROWS, prediction_schema(self._contract)),
                (LABELS, label_schema(self._contract)),
            )
        )
        return {row_id for ids in kept for row_id in ids}

    def erase(self, row_ids: Sequence[str]) -> int:
        """Remove rows and labels for good, the files of earlier table versions too; return how many rows.

        Rows still in the spool are not here yet: collect first.
        """
        if not row_ids:
            return 0
        return self._delete("row_id IN ({})".format(", ".join(f"'{_quoted(row_id)}'" for row_id in row_ids)))

    def forget_before(self, cutoff: datetime) -> int:
        """Remove rows received before `cutoff` for good; return how many."""
        moment = f"arrow_cast('{cutoff.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}', 'Timestamp(Microsecond, Some(\"UTC\"))')"
        return self._delete(f"received_at < {moment}")

    def _between(self, start: datetime | None, end: datetime | None) -> ds.Expression | None:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.dataset as ds

        def within(field: ds.Expression) -> ds.Expression:
            condition = field.is_valid()
            if start is not None:
                condition &= field >= pa.scalar(start, pa.timestamp("us", tz="UTC"))
            if end is not None:
                condition &= field < pa.scalar(end, pa.timestamp("us", tz="UTC"))
            return condition

        if start is None and end is None:
            return None
        arrival, time = ds.field("received_at"), ds.field(self.event_time)
        if self.event_time == "received_at":
            return within(arrival)
        sane = pc.less_equal(time, pc.add(arrival, pa.scalar(_FURTHEST_AHEAD, pa.duration("us"))))
        return (sane & within(time)) | ((time.is_null() | ~sane) & within(arrival))

    def _joined(self, columns: list[str], condition: ds.Expression | None = None) -> pd.DataFrame:
        """Return columns of rows, each row once, with `labelled_at` and the newest label under the target's name."""
        rows = self._read(ROWS, prediction_schema(self._contract), columns, condition)
        # a batch that was scored again after a kill has its rows twice
        rows = rows.drop_duplicates("row_id")
        labels = self._read(LABELS, label_schema(self._contract)).rename(
            columns={"value": self._target, "received_at": "labelled_at"}
        )
        labels = labels.sort_values("labelled_at", kind="stable").drop_duplicates("row_id", keep="last")
        return rows.merge(labels, on="row_id", how="left")

    def _read(
        self, name: str, schema: pa.Schema, columns: list[str] | None = None, condition: ds.Expression | None = None
    ) -> pd.DataFrame:
        import pyarrow as pa

        columns = columns or schema.names
        wanted = pa.schema([schema.field(column) for column in columns])
        table = self._open(name)
        if table is None:
            return wanted.empty_table().to_pandas()
        return table.to_pyarrow_dataset().to_table(columns, filter=condition).cast(wanted).to_pandas()

    def _append(
        self, name: str, parts: Mapping[str, list[dict[str, Any]]], schema: pa.Schema
    ) -> dict[str, list[dict[str, Any]]]:
        """Commit what is new of `parts`; return by segment what does not fit."""
        import pyarrow as pa
        from deltalake import CommitProperties, Transaction, write_deltalake
        from deltalake.exceptions import DeltaError

        from mlcore.capture.tables import table_of

        existing = self._open(name)
        tables, refused, new = [], {}, []
        for segment, records in parts.items():
            if not records:
                continue
            table, refused[segment] = table_of(records, schema)
            if table.num_rows and (existing is None or existing.transaction_version(segment) is None):
                tables.append(table)
                new.append(Transaction(segment, 1))
        if tables:
            uri = f"{self._base}/{name}"
            if "://" not in uri:
                Path(uri).mkdir(parents=True, exist_ok=True)
            commit = CommitProperties(app_transactions=new)
            failpoint("capture.before-append")
            try:
                write_deltalake(uri, pa.concat_tables(tables), mode="append", commit_properties=commit)
                if existing is not None and len(existing.file_uris()) >= _MOST_FILES:
                    # many small files, one a collection, would make every later read slow
                    existing.update_incremental()
                    existing.optimize.compact()
            except (DeltaError, OSError) as error:
                raise CaptureError("captured rows cannot be stored", subject=uri, got=str(error)[:200]) from error
        return refused

    def _delete(self, predicate: str) -> int:
        from deltalake.exceptions import DeltaError

        deleted = 0
        for name in (ROWS, LABELS):
            table = self._open(name)
            if table is None:
                continue
            try:
                metrics = table.delete(predicate)
                table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
            except (DeltaError, OSError) as error:
                raise CaptureError(
                    "captured rows cannot be removed",
                    subject=f"{self._base}/{name}",
                    got=str(error)[:200],
                    remedy="Try again: nothing is half removed that a second call does not finish.",
                ) from error
            deleted += metrics["num_deleted_rows"] or 0 if name == ROWS else 0
        return int(deleted)

    def _open(self, name: str) -> DeltaTable | None:
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        try:
            return DeltaTable(f"{self._base}/{name}")
        except TableNotFoundError:
            return None


def _plain(value: Any) -> Any:
    """Return a numpy scalar as what JSON knows."""
    return value.item() if hasattr(value, "item") else value


def _quoted(value: str) -> str:
    return value.replace("'", "''")
