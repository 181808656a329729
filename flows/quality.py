"""Check data against its contract, before anything is trained on it."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

from flows._context import Context, open_context, stage
from mlcore.errors import DatasetError
from mlcore.ledger.records import DatasetVersion, QualityRecord

if TYPE_CHECKING:
    import pyarrow as pa

    from mlcore.quality import QualityReport


@stage("check-quality")
async def check_quality(usecase: str, uri: str = "", dataset_version: int | None = None) -> bool:
    """Check a file, or a stored dataset version, against the use case's data contract.

    Args:
        usecase: Name of the use case.
        uri: A CSV or Parquet file: a path, file:// or s3://. Leave it out to check a dataset version.
        dataset_version: The version to check; the newest one if neither is given.
    """
    context = open_context(usecase)
    subject, table = await asyncio.to_thread(_load, context, uri, dataset_version)
    report, record = await asyncio.to_thread(check, context, table, subject)
    with context.ledger.transaction() as tx:
        tx.add(record)
    await context.tell(*describe(report, subject))
    return report.passed


def check(
    context: Context, table: pa.Table, subject: str, *, partial: bool = False
) -> tuple[QualityReport, QualityRecord]:
    """Check `table` and write its page; the caller adds the record to the ledger with whatever follows from it."""
    from mlcore.quality import check_table
    from mlcore.quality.docs import write_data_docs

    report = check_table(table, context.usecase.contract, partial=partial)
    record = QualityRecord(
        id=str(uuid.uuid4()),
        usecase=context.name,
        subject=subject,
        passed=report.passed,
        rows=report.rows,
        report=report.to_json(),
        created_at=context.now(),
    )
    write_data_docs(report, context.settings.artifacts_root / "quality" / context.name / record.id)
    return report, record


def describe(report: QualityReport, subject: str) -> tuple[str, str]:
    """Return one sentence and a Markdown table about `report`."""
    from mlcore.report.markdown import table

    sentence = (
        f"{subject}: all {len(report.checks)} checks hold on {report.rows:,} rows."
        if report.passed
        else f"{subject}: {len(report.failures)} of {len(report.checks)} checks fail on {report.rows:,} rows."
    )
    rows = [(item.column, item.check, item.expected, item.observed, item.sentence) for item in report.failures]
    return sentence, table(("column", "check", "expected", "observed", "what is wrong"), rows) if rows else ""


def _load(context: Context, uri: str, version: int | None) -> tuple[str, pa.Table]:
    if uri:
        from mlcore.data.ingest import read_source

        return uri, read_source(uri, context.usecase.contract)
    dataset = find_dataset(context, version)
    return f"{context.name}/dataset/{dataset.version}", context.datasets.read(dataset.uri, dataset.table_version)


def find_dataset(context: Context, version: int | None) -> DatasetVersion:
    """Return the dataset version asked for, the newest where none is named.

    Raises
    ------
    DatasetError
        If there is no such version.
    """
    with context.ledger.read() as view:
        if version is None:
            dataset = view.first(DatasetVersion, order_by="-version", usecase=context.name)
        else:
            dataset = view.get(DatasetVersion, usecase=context.name, version=version)
    if dataset is None:
        raise DatasetError(
            "no such dataset version",
            subject=context.name,
            expected="a published version",
            got=f"version {version}" if version is not None else "none yet",
            remedy="`mlops publish` publishes one.",
        )
    return dataset
