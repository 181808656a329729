"""`mlops erase`: captured rows of somebody who asks for it, gone for good and on the record."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flows._cli.installation import open_ledger
from flows.settings import settings
from mlcore.errors import CaptureError
from mlcore.ledger.records import AuditEntry
from mlcore.usecase import load_usecase

if TYPE_CHECKING:
    from mlcore.ledger.store import View

_MOST_NAMED = 5


def erase(usecase: str, row_ids: tuple[str, ...], *, reason: str, actor: str) -> tuple[dict[str, Any], str]:
    """Remove captured rows with their labels, also from the files of earlier versions of the tables.

    What the service has answered and nobody has collected yet is collected first. Asking and having done it are two
    entries of the audit trail: killed in between, the same command finishes it.

    Raises
    ------
    CaptureError
        If a row is not known; nothing is removed then.
    """
    from mlcore.capture.collect import collect
    from mlcore.capture.store import CaptureStore

    here = settings()
    found = load_usecase(here.usecases / usecase)
    ledger = open_ledger(here)
    wanted = tuple(dict.fromkeys(row_ids))
    store = CaptureStore(here.lake_root, found.name, found.contract)
    collect(here.spool / found.name, store)
    with ledger.read() as view:
        begun = _begun(view, found.name)
    unknown = sorted(set(wanted) - store.known(wanted) - begun)
    if unknown or not wanted:
        more = len(unknown) - _MOST_NAMED
        named = ", ".join(unknown[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        raise CaptureError(
            "these rows are not kept" if unknown else "say which rows",
            subject=found.name,
            expected="ids that /predict answered, one a row",
            got=f"{len(unknown)} unknown of {len(wanted)}: {named}" if unknown else "none",
            remedy="Nothing was removed. `mlops trace ID` shows whether a row is kept.",
        )
    subject, who = f"{found.name}/captures", actor or getpass.getuser()
    facts = {"row_ids": list(wanted), "reason": reason}
    with ledger.transaction() as tx:
        tx.audit(
            usecase=found.name,
            actor=who,
            action="capture.erasure-asked",
            subject=subject,
            at=datetime.now(UTC),
            **facts,
        )
    rows = store.erase(wanted)
    with ledger.transaction() as tx:
        tx.audit(
            usecase=found.name,
            actor=who,
            action="capture.erased",
            subject=subject,
            at=datetime.now(UTC),
            rows=rows,
            **facts,
        )
    text = (
        f"{rows:,} rows of {found.name} were erased, with their labels. "
        "Dataset versions made of them before never change and keep them."
    )
    return {"usecase": found.name, "rows": rows, "row_ids": list(wanted)}, text


def _begun(view: View, usecase: str) -> set[str]:
    """Return the rows of erasures that a killed command has begun: they may be gone, and nothing says so yet."""
    entries = [
        entry
        for action in ("capture.erasure-asked", "capture.erased")
        for entry in view.all(AuditEntry, usecase=usecase, action=action)
    ]
    left: set[str] = set()
    for entry in sorted(entries, key=lambda entry: entry.sequence):
        named = set(entry.facts["row_ids"])
        left = left | named if entry.action == "capture.erasure-asked" else left - named
    return left
