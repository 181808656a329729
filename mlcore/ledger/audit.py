"""The audit chain: each entry holds the hash of the one before, so that no change goes unseen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from mlcore.canonical import digest_value
from mlcore.errors import AuditError, CanonicalError
from mlcore.failpoints import failpoint
from mlcore.ledger.records import AuditEntry

if TYPE_CHECKING:
    from mlcore.ledger.store import Ledger, Transaction

GENESIS: Final = "sha256:" + "0" * 64
#: The triggers that the migrations leave.
_GUARDS: Final[Mapping[str, frozenset[str]]] = {
    "sqlite": frozenset({"audit_no_update", "audit_no_delete", "audit_no_replace"}),
    "postgresql": frozenset({"audit_append_only", "audit_no_truncate"}),
}


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The end of the chain: with it kept elsewhere, rows cut off at the end are found.

    Parameters
    ----------
    rows : int
        How many entries the chain has.
    hash : str
        The hash of the last one.
    at : datetime, optional
        When that was written; None where there is none, or where only the hash was kept.
    """

    rows: int
    hash: str
    at: datetime | None = None

    def to_json(self) -> str:
        """Return the text to export.

        Examples
        --------
        >>> AuditHead(1, "sha256:ab", datetime(2026, 1, 1, tzinfo=UTC)).to_json()
        '{"format": 1, "rows": 1, "hash": "sha256:ab", "at": "2026-01-01T00:00:00+00:00"}'
        """
        return json.dumps({"format": 1, **asdict(self), "at": self.at.isoformat() if self.at else None})

    @classmethod
    def from_json(cls, text: str) -> AuditHead:
        """Return the head that `text` holds.

        Raises
        ------
        AuditError
            If it holds none.
        """
        try:
            facts = json.loads(text)
            if facts["format"] != 1 or not isinstance(facts["rows"], int) or not isinstance(facts["hash"], str):
                raise ValueError
            return cls(facts["rows"], facts["hash"], datetime.fromisoformat(facts["at"]) if facts["at"] else None)
        except (ValueError, KeyError, TypeError):
            raise AuditError(
                "this is no exported head",
                expected="what `mlops audit head` wrote",
                got=text.strip()[:80],
            ) from None


def entry_hash(entry: AuditEntry) -> str:
    """Return the hash of an entry: over the canonical form (RFC 8785) of all of it but the hash itself."""
    row = {item.name: getattr(entry, item.name) for item in fields(entry)}
    return _hash({**row, "at": entry.at.isoformat()})


def append(
    tx: Transaction, *, usecase: str, actor: str, action: str, subject: str, at: datetime, facts: Mapping[str, Any]
) -> AuditEntry:
    """Add one entry to the end of the chain; the transaction holds the chain's lock.

    Raises
    ------
    CanonicalError
        If a fact is not JSON, or a number that not every reader keeps.
    """
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
    failpoint("audit.after-append")
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
    last = AuditHead(0, GENESIS)
    found = last if head is not None and head.rows == 0 else None
    with ledger.read() as view:
        for number, row in enumerate(view.raw(AuditEntry, order_by="sequence"), start=1):
            last = AuditHead(number, row["hash"], _check(number, last.hash, row))
            if head is not None and number == head.rows:
                found = last
    if head is not None:
        if found is None:
            raise _broken(head.rows, f"the exported head {head.hash}", "the chain ends before: it was cut off")
        if found.hash != head.hash or head.at not in (None, found.at):
            raise _broken(
                head.rows,
                f"the exported head {head.hash} of {head.at}",
                f"{found.hash} of {found.at}: it was rewritten",
            )
    return last


def export_head(ledger: Ledger) -> AuditHead:
    """Return the head, to be kept where whoever can write the ledger cannot."""
    with ledger.read() as view:
        last = view.first(AuditEntry, order_by="-sequence")
    return AuditHead(last.sequence, last.hash, last.at) if last else AuditHead(0, GENESIS)


def _check(number: int, previous: str, row: dict[str, Any]) -> datetime:
    """Return when `row` was written, if it is the link of this number."""
    if row["sequence"] != number:
        raise _broken(number, "the entry", "a gap: it was deleted")
    if row["previous_hash"] != previous:
        raise _broken(number, f"the previous hash {previous}", "another: entries were reordered or deleted")
    try:
        # a time that PostgreSQL's driver has parsed, a text in SQLite
        at = row["at"] if isinstance(row["at"], datetime) else datetime.fromisoformat(row["at"])
        facts = json.loads(row["facts"], object_pairs_hook=_each_once)
        if at.tzinfo is not None:
            raise ValueError("the ledger writes times without a zone, in UTC")
        at = at.replace(tzinfo=UTC)
        unchanged = _hash({**row, "at": at.isoformat(), "facts": facts}) == row["hash"]
    except (ValueError, TypeError, CanonicalError):  # it cannot even be read
        unchanged = False
    if not unchanged:
        raise _broken(number, "content that gives its hash", "other content: it was edited")
    return at


def require_guarded(ledger: Ledger) -> None:
    """Make sure that the database still forbids to change the audit trail.

    Raises
    ------
    AuditError
        If a trigger that forbids it is gone or switched off: a chain that verifies may have been made anew.
    """
    guards = _GUARDS[ledger.dialect]
    with ledger.read() as view:
        found = view.triggers("audit")
    if missing := sorted(guards - found):
        raise AuditError(
            "the audit trail is not guarded any more",
            subject=ledger.dialect,
            expected=f"triggers {', '.join(sorted(guards))} on table audit",
            got=f"{', '.join(missing)} gone or switched off",
            remedy="Find out who did it, verify against an exported head, and restore the triggers from a backup.",
        )


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON that has each name once: of two, one reader takes the first and another the last."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _hash(row: dict[str, Any]) -> str:
    return digest_value({name: value for name, value in row.items() if name != "hash"})


def _broken(sequence: int, expected: str, got: str) -> AuditError:
    return AuditError(
        "the audit trail was tampered with",
        subject=f"entry {sequence}",
        expected=expected,
        got=got,
        remedy="Keep the database as it is, and compare it with a backup.",
    )
