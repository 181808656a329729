"""Turn announced data into a dataset version: read, checked, cleaned and stored, or quarantined with the reasons."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flows import _inbox, quality
from flows._context import Context, open_context, stage
from flows._server import ReceivedEvent
from mlcore import events
from mlcore.canonical import digest_value
from mlcore.errors import ContractError, DatasetError, IngestError
from mlcore.events import Event
from mlcore.failpoints import failpoint
from mlcore.ledger.records import DatasetVersion, QualityRecord, QuarantinedBatch

if TYPE_CHECKING:
    import pyarrow as pa

    from mlcore.ledger.store import Transaction


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one batch: a version, new or known already, or a quarantined batch."""

    dataset: DatasetVersion | None
    batch: QuarantinedBatch | None
    quality: QualityRecord | None
    sentence: str
    details: str = ""
    is_new: bool = True


@stage("publish-dataset")
async def publish(usecase: str, uri: str = "", event_id: str = "") -> list[str]:
    """Publish data as a dataset version, or quarantine it.

    Args:
        usecase: Name of the use case.
        uri: The CSV or Parquet file to publish. Leave it out to handle every announcement still unread.
        event_id: The event that woke this; left out when a person starts it.
    """
    context = open_context(usecase)
    if uri and not event_id:
        outcome = await asyncio.to_thread(_publish, context, uri, "manual")
        outcomes = [_save(context, outcome, None)]
    else:
        woken_by = None
        if event_id and uri:
            woken_by = _inbox.waking(context, events.DATASET_ANNOUNCED, event_id, {"uri": uri})
        outcomes = []
        for event in _inbox.unread(context, [events.DATASET_ANNOUNCED], woken_by=woken_by):
            named = _inbox.text(event.payload.get("uri", ""), 4000)
            outcome = await asyncio.to_thread(_publish, context, named, "announced")
            outcomes.append(_save(context, outcome, event))
    context.announce()
    sentences = [outcome.sentence for outcome in outcomes] or ["No announcement is unread."]
    await context.tell(" ".join(sentences), "\n\n".join(outcome.details for outcome in outcomes))
    return sentences


def publish_table(
    context: Context,
    table: pa.Table,
    *,
    origin: str,
    source: str,
    parents: tuple[int, ...] = (),
    windows: tuple[str, ...] = (),
) -> Outcome:
    """Check, clean and store `table`; nothing is in the ledger until the outcome is saved."""
    from mlcore.data.cleaning import clean

    report, record = quality.check(context, table, source)
    sentence, details = quality.describe(report, source)
    if not report.passed:
        batch = _quarantine(context, source, [item.sentence for item in report.failures], table, record)
        return Outcome(None, batch, record, f"Quarantined. {sentence}", details)
    cleaned = clean(table, context.usecase.contract, context.usecase.cleaning)
    if cleaned.table.num_rows < context.usecase.contract.minimum_rows:
        reason = f"only {cleaned.table.num_rows:,} rows are left after cleaning"
        batch = _quarantine(context, source, [reason], table, record)
        return Outcome(None, batch, record, f"Quarantined. {source}: {reason}.", details)
    stored = context.datasets.write(context.name, cleaned.table)
    failpoint("datasets.after-write")
    time_from, time_to = _span(context, cleaned.table)
    dataset = DatasetVersion(
        usecase=context.name,
        version=0,  # given when saved
        digest=stored.digest,
        uri=stored.uri,
        table_version=stored.table_version,
        rows=stored.rows,
        origin=origin,  # type: ignore[arg-type]
        source=source,
        parents=parents,
        windows=windows,
        time_from=time_from,
        time_to=time_to,
        quality_id=record.id,
        cleaning=cleaned.to_json(),
        published_at=context.now(),
    )
    return Outcome(dataset, None, record, sentence, details)


def save(tx: Transaction, context: Context, outcome: Outcome) -> Outcome:
    """Write `outcome` to the ledger and announce it; the same content is the same version, published twice or not."""
    if outcome.quality is not None:
        tx.add(outcome.quality)
    if outcome.batch is not None:
        _save_batch(tx, context, outcome.batch)
        return outcome
    assert outcome.dataset is not None
    known = tx.first(DatasetVersion, usecase=context.name, digest=outcome.dataset.digest)
    if known is not None:
        sentence = f"{outcome.dataset.source} is dataset version {known.version} already: the same content."
        return replace(outcome, dataset=known, sentence=sentence, is_new=False)
    if not context.datasets.holds(outcome.dataset.uri, outcome.dataset.table_version):
        # a dead run had left this very table, and it was collected between its being found and this transaction
        raise DatasetError("the stored table is gone", subject=outcome.dataset.uri, remedy="Publish it again.")
    dataset = replace(outcome.dataset, version=tx.next_version(DatasetVersion, context.name))
    tx.add(dataset)
    tx.audit(
        usecase=context.name,
        actor=context.actor,
        action="dataset.published",
        subject=f"{context.name}/dataset/{dataset.version}",
        at=context.now(),
        digest=dataset.digest,
        rows=dataset.rows,
        origin=dataset.origin,
        quality=dataset.quality_id,
    )
    tx.announce(
        Event(
            events.DATASET_PUBLISHED,
            context.name,
            key=dataset.digest,
            occurred=context.now(),
            payload={"dataset_version": dataset.version},
            labels={"ml.dataset.origin": "announced" if dataset.origin == "manual" else dataset.origin},
        )
    )
    steps = dataset.cleaning["steps"]
    dropped = steps[0]["rows_before"] - dataset.rows if steps else 0
    told = f" ({dropped:,} of {dropped + dataset.rows:,} dropped)" if dropped else ""
    sentence = (
        f"{dataset.source} is dataset version {dataset.version}: {dataset.rows:,} rows, checked and cleaned{told}."
    )
    return replace(outcome, dataset=dataset, sentence=sentence)


def _publish(context: Context, uri: str, origin: str) -> Outcome:
    from mlcore.data.ingest import read_source

    try:
        table = read_source(uri, context.usecase.contract)
    except (IngestError, ContractError) as error:
        if origin == "manual":
            raise  # the person who asked is told; there is nothing to keep that they don't have
        batch = _quarantine(context, uri, [str(error)])
        return Outcome(None, batch, None, f"Quarantined. {error}.")
    return publish_table(context, table, origin=origin, source=uri)


def _save(context: Context, outcome: Outcome, event: ReceivedEvent | None) -> Outcome:
    failpoint("publish.before-save")
    with context.ledger.transaction() as tx:
        saved = save(tx, context, outcome)
        if event is not None:
            key, sentence = f"announcement:{event.id}", saved.sentence[:500]
            tx.add_once(
                _inbox.row(context, event, key, acted=True, reason=sentence)
                if saved.is_new
                else _inbox.ignored(context, event, key, "same cause", sentence)
            )
    failpoint("publish.after-save")
    return saved


def _quarantine(
    context: Context,
    source: str,
    reasons: list[str],
    table: pa.Table | None = None,
    record: QualityRecord | None = None,
) -> QuarantinedBatch:
    from mlcore.data.quarantine import QuarantineStore

    batch_id = digest_value([context.name, source, reasons])[7:23]
    path = QuarantineStore(context.settings.root / "quarantine").keep(context.name, batch_id, source, reasons, table)
    failpoint("quarantine.after-keep")
    return QuarantinedBatch(
        id=batch_id,
        usecase=context.name,
        source=source,
        path=str(path),
        reasons=tuple(reasons),
        quality_id=record.id if record else None,
        created_at=context.now(),
    )


def _save_batch(tx: Transaction, context: Context, batch: QuarantinedBatch) -> None:
    if not tx.add_once(batch):
        return
    tx.audit(
        usecase=context.name,
        actor=context.actor,
        action="dataset.rejected",
        subject=batch.source,
        at=context.now(),
        batch=batch.id,
        reasons=list(batch.reasons),
    )
    tx.announce(
        Event(
            events.DATASET_REJECTED,
            context.name,
            key=batch.id,
            occurred=context.now(),
            payload={"batch_id": batch.id},
        )
    )


def _span(context: Context, table: pa.Table) -> tuple[datetime | None, datetime | None]:
    import pyarrow.compute as pc

    time = context.usecase.contract.time
    if time is None:
        return None, None
    ends = pc.min_max(table[time.name]).as_py()
    return ends["min"].astimezone(UTC), ends["max"].astimezone(UTC)
