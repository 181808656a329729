"""Batch scoring, file to file: streamed, so that the file may be larger than memory, and resumed after a kill."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from mlcore.capture.records import answer_type, prediction_record
from mlcore.errors import IngestError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

    from mlcore.capture.spool import Spool
    from mlcore.contract import DataContract
    from mlcore.metrics import Output
    from mlcore.modelstore import LoadedModel

BATCH_ROWS: Final = 65_536
_ADDED: Final = ("prediction", "row_id", "model_version")


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
    batch_rows: int = BATCH_ROWS,
) -> ScoringReport:
    """Score every row of `source` into the Parquet file `destination`.

    The rows are read, scored, captured and written in parts. The answers of a part are kept until the file is whole, so
    that it is not scored again after a kill; only then has the file its name. Row ids are those of the work, not of the
    attempt, so a row captured twice over a kill counts once. A model with lags or rolling statistics looks back at the
    rows of earlier parts too, so that a file in the order of time is answered the same however it is cut.

    Parameters
    ----------
    model : LoadedModel
    source : str
        Path of a CSV or Parquet file with the contract's input columns; others are carried along.
    destination : Path
    model_version : int
    spool : Spool, optional
        Where scored rows are captured, as a service does.
    batch_rows : int, default=65536
        Rows of a Parquet file scored at once; CSV is cut by the megabyte.

    Raises
    ------
    IngestError
        If the source cannot be read, is empty, lacks columns, or has one of the names that are added.
    ContractError
        If values do not have the contract's types.
    """
    parts = destination.with_name(f".{destination.name}.parts")
    work = {"source": _identity(source), "model": model.digest, "batch_rows": batch_rows}
    parts.mkdir(parents=True, exist_ok=True)
    request = _same_work(parts / "work.json", work)
    rows = count = resumed = 0
    earlier: pd.DataFrame | None = None
    with _Whole(destination) as whole:
        for number, batch in enumerate(_batches(source, batch_rows, model.contract)):
            inputs = _inputs(batch, model.contract, source)
            attempt = _Attempt(model, inputs, request, rows, earlier)
            known, answers = _answers(parts / f"{number:06d}.parquet", attempt, model_version, spool)
            whole.write(attempt.beside(batch, answers, model_version))
            if model.usecase.training.looks_back:
                earlier = _with_newest(earlier, _frame(inputs, model.contract), model)
            rows, count, resumed = rows + batch.num_rows, count + 1, resumed + known
        if rows == 0:
            raise IngestError("the table is empty", subject=source, expected="at least one row")
    shutil.rmtree(parts)
    return ScoringReport(rows, count, resumed)


class _Whole:
    """The file that is written part by part, beside the scoring, and has its name when nothing went wrong."""

    def __init__(self, destination: Path) -> None:
        self._destination, self._unfinished = destination, destination.with_name(f".{destination.name}.new")
        self._writer: parquet.ParquetWriter | None = None
        self._thread = ThreadPoolExecutor(1, "scored")
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, part: pa.Table) -> None:
        """Append a part, as soon as the one before it is written: no more than one waits in memory."""
        if self._last is not None:
            self._last.result()
        self._last = self._thread.submit(self._append, part)

    def _append(self, part: pa.Table) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        if self._writer is None:
            # numbers and row ids hardly repeat: to look for the same ones takes as long as all the rest
            again = [field.name for field in part.schema if pa.types.is_string(field.type) and field.name != "row_id"]
            self._writer = parquet.ParquetWriter(self._unfinished, part.schema, use_dictionary=again)
        self._writer.write_table(part)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        whole = False
        try:
            if self._last is not None:
                self._last.result()
            whole = error is None and self._writer is not None
        finally:
            self._thread.shutdown()
            if self._writer is not None:
                self._writer.close()
                self._unfinished.replace(self._destination) if whole else self._unfinished.unlink()


def _answers(path: Path, attempt: _Attempt, model_version: int, spool: Spool | None) -> tuple[bool, pa.Array]:
    """Return whether a part's answers were in its file, and the answers, which are in it when this returns.

    Only answers are kept, not the rows: these are in the source still.
    """
    import pyarrow as pa
    from pyarrow import parquet

    if path.is_file():
        return True, parquet.read_table(path)[_ADDED[0]]
    answers = attempt.score(model_version, spool)
    unfinished = path.with_suffix(".new")
    parquet.write_table(pa.table({_ADDED[0]: answers}), unfinished)
    unfinished.rename(path)
    return False, answers


@dataclass(frozen=True, slots=True)
class _Attempt:
    """Scoring one part."""

    model: LoadedModel
    inputs: pa.Table
    request: str
    first_row: int
    earlier: pd.DataFrame | None

    @property
    def ids(self) -> pa.Array:
        """The id of each row."""
        import pyarrow as pa
        import pyarrow.compute as pc

        places = pa.array(np.arange(self.first_row, self.first_row + self.inputs.num_rows)).cast(pa.string())
        return pc.binary_join_element_wise(self.request, places, "-")

    def score(self, model_version: int, spool: Spool | None) -> pa.Array:
        """Return the answers; with the rows they are in the spool, on disk, when this returns."""
        import pyarrow as pa

        received = datetime.now(UTC)
        contract = self.model.contract
        output = self.model.output(_frame(self.inputs, contract), self.earlier)
        if spool is not None:
            spool.append(self._records(output, received, model_version, spool.hash_key))
            spool.flush()
        return pa.array(output.values, answer_type(contract))

    def beside(self, batch: pa.Table, answers: pa.Array, model_version: int) -> pa.Table:
        """Return the part with its answers, row ids and the model's version."""
        import pyarrow as pa

        versions = pa.array(np.full(batch.num_rows, model_version))
        for name, column in zip(_ADDED, (answers, self.ids, versions), strict=True):
            batch = batch.append_column(name, column)
        return batch

    def _records(self, output: Output, received: datetime, model_version: int, hash_key: bytes) -> list[dict[str, Any]]:
        scored, ids, rows = datetime.now(UTC).isoformat(), self.ids.to_pylist(), self.inputs.to_pylist()
        for name in (column.name for column in self.model.contract.inputs if column.type == "timestamp"):
            for row in rows:
                row[name] = None if row[name] is None else row[name].isoformat()
        values = output.values.tolist()
        probabilities = None if output.probabilities is None else output.probabilities.tolist()
        return [
            prediction_record(
                self.model.contract,
                row,
                row_id=ids[number],
                request_id=self.request,
                received_at=received.isoformat(),
                scored_at=scored,
                model_version=model_version,
                prediction=values[number],
                probabilities=probabilities[number] if probabilities else None,
                hash_key=hash_key,
            )
            for number, row in enumerate(rows)
        ]


def _batches(source: str, batch_rows: int, contract: DataContract) -> Iterator[pa.Table]:
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        if source.endswith(".parquet"):
            # what is read ahead stays in memory: the whole file would
            for batch in parquet.ParquetFile(source, pre_buffer=False).iter_batches(batch_rows):
                yield pa.Table.from_batches([batch])
        elif source.endswith(".csv"):
            # the contract says what its columns are; a guess from the first rows may be wrong for later ones
            as_text = csv.ConvertOptions(
                column_types={column.name: pa.string() for column in contract.columns}, strings_can_be_null=True
            )
            for batch in csv.open_csv(source, convert_options=as_text):
                yield pa.Table.from_batches([batch])
        else:
            raise IngestError("this kind of file is not scored", subject=source, expected=".csv or .parquet")
    except (OSError, pa.ArrowInvalid) as error:
        raise IngestError("the file cannot be read", subject=source, got=str(error).splitlines()[0][:200]) from None


def _inputs(batch: pa.Table, contract: DataContract, source: str) -> pa.Table:
    """Return the columns that the model takes, with the contract's types."""
    import pyarrow as pa

    from mlcore.data.ingest import conform

    names = [column.name for column in contract.inputs]
    missing = [name for name in names if name not in batch.column_names]
    taken = [name for name in _ADDED if name in batch.column_names]
    if missing or taken:
        raise IngestError(
            "columns are missing" if missing else "columns have the names of what is added",
            subject=source,
            expected=", ".join(missing) if missing else f"other names than {', '.join(_ADDED)}",
            got=", ".join(batch.column_names[:10]),
            remedy="The file must have the contract's input columns." if missing else "Rename them.",
        )
    whole = batch.select(names)
    for column in contract.columns:
        if column.name not in names:
            whole = whole.append_column(column.name, pa.nulls(batch.num_rows))
    return conform(whole, contract, source=source).select(names)


def _frame(inputs: pa.Table, contract: DataContract) -> pd.DataFrame:
    """Return what a service would hand to the model for the same rows."""
    frame = inputs.to_pandas()
    numbers = [column.name for column in contract.inputs if column.is_numeric]
    return frame.astype(dict.fromkeys(numbers, "float64"), copy=False)


def _with_newest(earlier: pd.DataFrame | None, frame: pd.DataFrame, model: LoadedModel) -> pd.DataFrame:
    """Return of both what later rows look back at."""
    import pandas as pd

    both = frame if earlier is None else pd.concat([earlier, frame], ignore_index=True)
    kept: pd.DataFrame = model.pipeline[0].newest(both)
    return kept


def _identity(source: str) -> list[str | int]:
    """Return what changes when the file is another."""
    try:
        facts = Path(source).stat()
    except OSError as error:
        raise IngestError(
            "the file cannot be opened", subject=source, expected="a readable file", got=error.strerror or ""
        ) from None
    return [str(Path(source).resolve()), facts.st_size, facts.st_mtime_ns]


def _same_work(path: Path, work: dict[str, Any]) -> str:
    """Return the id of this work; parts that another model or file left are thrown away."""
    known = json.loads(path.read_text()) if path.is_file() else {}
    request: str = known.pop("request", "")
    if request and known == work:
        return request
    for part in path.parent.glob("*.parquet"):
        part.unlink()
    request = str(uuid.uuid4())
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps({**work, "request": request}))
    unfinished.replace(path)
    return request
