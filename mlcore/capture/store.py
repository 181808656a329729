"""Captured rows and labels in Delta Lake, joined when they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcore.capture.records import label_schema, prediction_schema
from mlcore.errors import CaptureError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from deltalake import DeltaTable

    from mlcore.contract import DataContract


@dataclass(frozen=True, slots=True)
class Prediction:
    """Facts of one captured row, for tracing."""

    row_id: str
    model_version: int
    received_at: datetime
    prediction: Any
    label: Any


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

    @property
    def event_time(self) -> str:
        """The column that windows follow: the contract's time, or arrival where there is none."""
        time = self._contract.time
        return time.name if time is not None and time.capture == "plain" else "received_at"

    def append(self, segment: str, predictions: list[dict[str, Any]], labels: list[dict[str, Any]]) -> None:
        """Append the records of one segment, once: the segment's name is part of the commit."""
        rows = [{**record, **record["features"]} for record in predictions]
        self._append("predictions", segment, _table(rows, prediction_schema(self._contract)))
        self._append("labels", segment, _table(labels, label_schema(self._contract)))

    def read(self, start: datetime | None = None, end: datetime | None = None) -> pd.DataFrame:
        """Return captured rows of ``[start, end)`` in the order of time, with the newest label each.

        Returns
        -------
        DataFrame
            The captured inputs, the target's name as column (missing where no label has come), ``prediction``,
            ``probabilities``, ``row_id``, ``model_version``, ``received_at``, ``scored_at``, ``request_id``.
        """
        import pyarrow as pa
        import pyarrow.dataset as ds

        condition = None
        for bound, is_start in ((start, True), (end, False)):
            if bound is not None:
                field, value = ds.field(self.event_time), pa.scalar(bound, pa.timestamp("us", tz="UTC"))
                part = field >= value if is_start else field < value
                condition = part if condition is None else condition & part
        predictions = self._read("predictions", prediction_schema(self._contract), condition)
        labels = self._read("labels", label_schema(self._contract))
        labels = labels.sort_values("received_at", kind="stable").drop_duplicates("row_id", keep="last")
        values = labels[["row_id", "value"]].rename(columns={"value": self._contract.target.name})
        joined = predictions.merge(values, on="row_id", how="left")
        return joined.sort_values(self.event_time, kind="stable").reset_index(drop=True)

    def labelled(self) -> pd.DataFrame:
        """Return the rows that have a label, with the contract's columns only, for training."""
        rows = self.read()
        rows = rows[rows[self._contract.target.name].notna()]
        return rows.reindex(columns=list(self._contract.names))

    def summary(self) -> pd.DataFrame:
        """Return event time and whether a label is there, one row a captured row."""
        rows = self.read()
        import pandas as pd

        labelled = rows[self._contract.target.name].notna()
        return pd.DataFrame({"at": rows[self.event_time], "labelled": labelled})

    def find(self, row_id: str) -> Prediction | None:
        """Return one captured row, None where there is none."""
        rows = self.read()
        rows = rows[rows["row_id"] == row_id]
        if rows.empty:
            return None
        row = rows.iloc[0]
        label = row[self._contract.target.name]
        return Prediction(
            row_id,
            int(row["model_version"]),
            row["received_at"].to_pydatetime(),
            row["prediction"],
            None if label != label else label,  # noqa: PLR0124 (NaN is not equal to itself)
        )

    def erase(self, row_ids: Sequence[str]) -> int:
        """Remove rows and labels for good, the files of earlier table versions too; return how many rows."""
        return self._delete("row_id IN ({})".format(", ".join(f"'{_quoted(row_id)}'" for row_id in row_ids)))

    def forget_before(self, cutoff: datetime) -> int:
        """Remove rows received before `cutoff` for good; return how many."""
        moment = f"arrow_cast('{cutoff.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}', 'Timestamp(Microsecond, Some(\"UTC\"))')"
        return self._delete(f"received_at < {moment}")

    def _delete(self, predicate: str) -> int:
        deleted = 0
        for name in ("predictions", "labels"):
            table = self._open(name)
            if table is not None:
                metrics = table.delete(predicate)
                deleted += metrics["num_deleted_rows"] or 0 if name == "predictions" else 0
                table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
        return int(deleted)

    def _append(self, name: str, segment: str, table: pa.Table) -> None:
        from deltalake import CommitProperties, Transaction, write_deltalake
        from deltalake.exceptions import DeltaError

        if table.num_rows == 0:
            return
        existing = self._open(name)
        if existing is not None and existing.transaction_version(segment) is not None:
            return
        uri = f"{self._base}/{name}"
        if "://" not in uri:
            Path(uri).mkdir(parents=True, exist_ok=True)
        try:
            write_deltalake(
                uri,
                table,
                mode="append",
                commit_properties=CommitProperties(app_transactions=[Transaction(segment, 1)]),
            )
        except (DeltaError, OSError) as error:
            raise CaptureError("captured rows cannot be stored", subject=uri, got=str(error)[:200]) from error

    def _read(self, name: str, schema: pa.Schema, condition: Any = None) -> pd.DataFrame:
        table = self._open(name)
        if table is None:
            return schema.empty_table().to_pandas()
        return table.to_pyarrow_dataset().to_table(filter=condition).cast(schema).to_pandas()

    def _open(self, name: str) -> DeltaTable | None:
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        try:
            return DeltaTable(f"{self._base}/{name}")
        except TableNotFoundError:
            return None


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        if pa.types.is_timestamp(field.type):
            parsed = pd.to_datetime(pd.Series(values, dtype=object), utc=True, format="ISO8601", errors="coerce")
            columns.append(pa.array(parsed.dt.floor("us"), type=field.type, from_pandas=True))
        elif pa.types.is_floating(field.type):
            columns.append(pa.array([None if value is None else float(value) for value in values], field.type))
        elif pa.types.is_string(field.type):
            columns.append(pa.array([None if value is None else str(value) for value in values], field.type))
        else:
            columns.append(pc.cast(pa.array(values), field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _quoted(value: str) -> str:
    return value.replace("'", "''")
