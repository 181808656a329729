"""The audit chain: 100,000 entries verified; floor: reading the same rows and hashing their bytes."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.timing import race
from mlcore.ledger import audit
from mlcore.ledger.records import AuditEntry
from mlcore.ledger.store import Ledger

ROWS = 100_000


def run() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.open(f"sqlite:///{Path(folder) / 'ledger.db'}")
        with ledger.transaction() as tx:
            tx.add_many_once(_entries())
        print(f"audit, {ROWS:,} entries on SQLite")
        race(
            {"floor: read and hash the bytes": lambda: _floor(ledger), "ours: verify": lambda: audit.verify(ledger)},
            floor="floor: read and hash the bytes",
            rounds=3,
        )
        ledger.close()


def _entries() -> list[AuditEntry]:
    """Return a chain as a year of promotions and decisions would leave it."""
    began, previous, entries = datetime(2026, 1, 1, tzinfo=UTC), audit.GENESIS, []
    for number in range(1, ROWS + 1):
        entry = AuditEntry(
            sequence=number,
            at=began + timedelta(seconds=number),
            usecase="bikeshare",
            actor="flow-run:0f9a3b5e-3a52-4a52-9a4c-0a6f4f6d2c11",
            action="model.registered",
            subject=f"bikeshare/model/{number}",
            facts={"digest": previous, "seed": number, "error": number / 7, "parameters": {"depth": 3, "rate": 0.1}},
            previous_hash=previous,
        )
        entries.append(replace(entry, hash=audit.entry_hash(entry)))
        previous = entries[-1].hash
    return entries


def _floor(ledger: Ledger) -> None:
    with ledger.read() as view:
        for row in view.raw(AuditEntry, order_by="sequence"):
            hashlib.sha256(repr(row).encode()).hexdigest()
