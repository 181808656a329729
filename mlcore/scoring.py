"""Batch scoring, file to file: streamed, so that the file may be larger than memory, and resumed after a kill."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlcore.capture.records import answer_type, prediction_record
from mlcore.errors import IngestError

if TYPE_CHECKING:
    import pyarrow as pa

    from mlcore.capture.spool import Spool
    from mlcore.modelstore import LoadedModel

BATCH_ROWS: Final = 65_536


@dataclass(frozen=True, slots=True)
class ScoringReport:
    """What was scored."""

    rows: int
    parts: int
    resumed_parts: int


def score_file(
    model: LoadedModel,
    source: str,
    destination: Path,
    *,
    model_version: int,
    spool: Spool | None = None,
    hash_key: bytes = b"",
    batch_rows: int = BATCH_ROWS,
) -> ScoringReport:
    """Score every row of `source` into the Parquet file `destination`.

    The rows are read, scored and written in parts. A part that is written is not scored again after a kill; the file
    appears under its name only when it is whole.

    Parameters
    ----------
    model : LoadedModel
    source : str
        Path of a CSV or Parquet file with the contract's input columns; others are carried along.
    destination : Path
    model_version : int
    spool : Spool, optional
        Where scored rows are captured, as a service does.
    hash_key : bytes
        Key for columns that are kept hashed.
    batch_rows : int, default=65536

    Raises
    ------
    IngestError
        If the source cannot be read, or its columns are not those of the contract.
    """
    from pyarrow import parquet

    parts = destination.with_name(f".{destination.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    _same_work(parts / "work.json", {"source": source, "model": model.digest, "batch_rows": batch_rows})
    rows = count = resumed = 0
    for number, batch in enumerate(_batches(source, batch_rows)):
        part = parts / f"{number:06d}.parquet"
        if part.is_file():
            resumed += 1
        else:
            scored, records = _score(model, batch, model_version, hash_key, capture=spool is not None)
            unfinished = part.with_suffix(".new")
            parquet.write_table(scored, unfinished)
            if spool is not None:
                spool.append(records)
            unfinished.rename(part)
        rows, count = rows + batch.num_rows, count + 1
    if count == 0:
        raise IngestError("the table is empty", subject=source, expected="at least one row")
    _join([parts / f"{number:06d}.parquet" for number in range(count)], destination)
    shutil.rmtree(parts)
    if spool is not None:
        spool.flush()
    return ScoringReport(rows, count, resumed)


def _batches(source: str, batch_rows: int) -> Iterator[pa.Table]:
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        if source.endswith(".parquet"):
            for batch in parquet.ParquetFile(source).iter_batches(batch_rows):
                yield pa.Table.from_batches([batch])
        elif source.endswith(".csv"):
            for batch in csv.open_csv(source):
                yield pa.Table.from_batches([batch])
        else:
            raise IngestError("this kind of file is not scored", subject=source, expected=".csv or .parquet")
    except (OSError, pa.ArrowInvalid) as error:
        raise IngestError("the file cannot be read", subject=source, got=str(error).splitlines()[0][:200]) from None


def _score(
    model: LoadedModel, batch: pa.Table, model_version: int, hash_key: bytes, *, capture: bool
) -> tuple[pa.Table, list[dict[str, Any]]]:
    import pyarrow as pa

    contract = model.contract
    missing = [column.name for column in contract.inputs if column.name not in batch.column_names]
    if missing:
        raise IngestError(
            "columns are missing",
            expected=", ".join(missing),
            got=", ".join(batch.column_names[:10]),
            remedy="The file must have the contract's input columns.",
        )
    frame = batch.select([column.name for column in contract.inputs]).to_pandas()
    for column in contract.inputs:
        if column.type == "timestamp":
            import pandas as pd

            frame[column.name] = pd.to_datetime(frame[column.name], utc=True)
    received = datetime.now(UTC).isoformat()
    output = model.output(frame)
    request = str(uuid.uuid4())
    ids = [f"{request}-{number}" for number in range(len(frame))]
    values = output.values.tolist()
    scored = batch.append_column("prediction", pa.array(values, answer_type(contract)))
    scored = scored.append_column("row_id", pa.array(ids)).append_column(
        "model_version", pa.array([model_version] * len(ids))
    )
    if not capture:
        return scored, []
    rows = json.loads(frame.to_json(orient="records", date_format="iso", date_unit="us"))
    done = datetime.now(UTC).isoformat()
    probabilities = None if output.probabilities is None else output.probabilities.tolist()
    return scored, [
        prediction_record(
            contract,
            row,
            row_id=ids[number],
            request_id=request,
            received_at=received,
            scored_at=done,
            model_version=model_version,
            prediction=values[number],
            probabilities=probabilities[number] if probabilities else None,
            hash_key=hash_key,
        )
        for number, row in enumerate(rows)
    ]


def _join(parts: list[Path], destination: Path) -> None:
    from pyarrow import parquet

    unfinished = destination.with_name(f".{destination.name}.new")
    with parquet.ParquetWriter(unfinished, parquet.read_schema(parts[0])) as writer:
        for part in parts:
            writer.write_table(parquet.read_table(part))
    unfinished.replace(destination)


def _same_work(path: Path, work: dict[str, Any]) -> None:
    """Throw away parts that another model or file left."""
    if path.is_file() and json.loads(path.read_text()) != work:
        for part in path.parent.glob("*.parquet"):
            part.unlink()
    path.write_text(json.dumps(work))
