"""The audit chain: each entry holds the hash of the one before, so that no change goes unseen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from mlcore.canonical import digest_value
from mlcore.errors import AuditError
from mlcore.ledger.records import AuditEntry

if TYPE_CHECKING:
    from mlcore.ledger.store import Ledger, Transaction

GENESIS: Final = "sha256:" + "0" * 64


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The end of the chain: with it kept elsewhere, rows cut off at the end are found."""

    sequence: int
    hash: str


def entry_hash(entry: AuditEntry) -> str:
    """Return the hash of an entry: over the canonical form (RFC 8785) of all of it but the hash itself."""
    return digest_value(
        {
            "sequence": entry.sequence,
            "at": entry.at.isoformat(),
            "usecase": entry.usecase,
            "actor": entry.actor,
            "action": entry.action,
            "subject": entry.subject,
            "facts": entry.facts,
            "previous_hash": entry.previous_hash,
        }
    )


def append(
    tx: Transaction, *, usecase: str, actor: str, action: str, subject: str, at: datetime, facts: Mapping[str, Any]
) -> AuditEntry:
    """Add one entry to the end of the chain; the transaction holds the chain's lock."""
    from dataclasses import replace

    last = tx.first(AuditEntry, order_by="-sequence")
    entry = AuditEntry(
        sequence=last.sequence + 1 if last else 1,
        # a clock that was set back does not disorder the chain
        at=max(at, last.at) if last else at,
        usecase=usecase,
        actor=actor,
        action=action,
        subject=subject,
        facts=dict(facts),
        previous_hash=last.hash if last else GENESIS,
    )
    entry = replace(entry, hash=entry_hash(entry))
    tx.add(entry)
    return entry


def verify(ledger: Ledger, head: AuditHead | None = None) -> AuditHead:
    """Check every link; return the chain's head.

    Parameters
    ----------
    ledger : Ledger
    head : AuditHead, optional
        One exported earlier: the chain must contain it.

    Raises
    ------
    AuditError
        Naming the first entry that was edited, deleted, reordered or cut off.
    """
    previous, sequence, passed_head = GENESIS, 0, head is None or head == AuditHead(0, GENESIS)
    with ledger.read() as view:
        for entry in view.all(AuditEntry, order_by="sequence"):
            if entry.sequence != sequence + 1:
                raise _broken(sequence + 1, "the entry", "a gap: it was deleted")
            if entry.previous_hash != previous:
                raise _broken(
                    entry.sequence, f"the previous hash {previous}", "another: entries were reordered or deleted"
                )
            if entry_hash(entry) != entry.hash:
                raise _broken(entry.sequence, "content that gives its hash", "other content: it was edited")
            previous, sequence = entry.hash, entry.sequence
            if head is not None and sequence == head.sequence:
                passed_head = entry.hash == head.hash
    if not passed_head:
        assert head is not None
        got = "the chain ends before: it was cut off" if sequence < head.sequence else "another hash: it was rewritten"
        raise _broken(head.sequence, f"the exported head {head.hash}", got)
    return AuditHead(sequence, previous)


def export_head(ledger: Ledger) -> AuditHead:
    """Return the head, to be kept where whoever can write the ledger cannot."""
    with ledger.read() as view:
        last = view.first(AuditEntry, order_by="-sequence")
    return AuditHead(last.sequence, last.hash) if last else AuditHead(0, GENESIS)


def _broken(sequence: int, expected: str, got: str) -> AuditError:
    return AuditError(
        "the audit trail was tampered with",
        subject=f"entry {sequence}",
        expected=expected,
        got=got,
        remedy="Keep the database as it is, and compare it with a backup.",
    )
