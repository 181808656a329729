"""`mlops audit`: the chain checked, its head exported, its entries shown."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows._cli.installation import Answer, open_ledger
from flows.settings import settings
from mlcore.errors import MLOpsError
from mlcore.ledger import audit
from mlcore.ledger.audit import AuditHead
from mlcore.ledger.records import AuditEntry


def audit_verify(head: str) -> Answer:
    """Check the chain, against an exported head (a file, or ``<rows>:<hash>``) where one is given."""
    ledger = open_ledger(settings())
    found = audit.verify(ledger, _head(head) if head else None)
    audit.require_guarded(ledger)
    text = (
        f"{found.rows:,} entries, all as they were written. Keep this head elsewhere: {found.rows}:{found.hash}, "
        "or `mlops audit head FILE`."
    )
    return asdict(found), text


def audit_head(file: Path | None) -> Answer:
    """Export the head of the chain, to `file` where one is given."""
    found = audit.export_head(open_ledger(settings()))
    if file is not None:
        try:
            file.write_text(found.to_json() + "\n")
        except OSError as error:
            raise MLOpsError("the head cannot be written", subject=str(file), got=str(error)) from None
    return asdict(found), found.to_json()


@dataclass(frozen=True)
class Filter:
    """Which entries to show; what is empty does not matter.

    An action that ends with a dot means all that begin with it, ``approval.`` for example.
    """

    usecase: str = ""
    action: str = ""
    subject: str = ""
    actor: str = ""
    since: str = ""
    until: str = ""


def audit_show(wanted: Filter, limit: int) -> Answer:
    """Return the newest entries that are wanted, oldest first.

    Raises
    ------
    MLOpsError
        If a time is none, or `limit` is less than one.
    """
    if limit < 1:
        raise MLOpsError("too few entries to show", subject="--limit", expected="1 or more", got=str(limit))
    since, until = _moment("--since", wanted.since), _moment("--until", wanted.until)
    names = ["usecase", "subject", "actor"] + ["action"] * (not wanted.action.endswith("."))
    equal: dict[str, Any] = {name: value for name in names if (value := getattr(wanted, name))}
    with open_ledger(settings()).read() as view:
        # the times of entries follow no order where a clock was set back: each is looked at
        found = view.all(AuditEntry, order_by="-sequence", **equal)
    entries = [
        item
        for item in found
        if (since is None or item.at >= since)
        and (until is None or item.at < until)
        and ("action" in equal or item.action.startswith(wanted.action))
    ][:limit][::-1]
    lines = [
        f"{item.sequence:>6}  {item.at:%Y-%m-%d %H:%M:%S}  {item.action:<20} {item.subject}  {item.actor}{_why(item)}"
        for item in entries
    ]
    return [asdict(item) for item in entries], "\n".join(lines) or "No entry."


def _why(entry: AuditEntry) -> str:
    reason = str(entry.facts.get("reason") or entry.facts.get("sentence") or "")
    return f"  {reason[:100]}" if reason else ""


def _moment(option: str, text: str) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise MLOpsError(
            "this is no time", subject=option, expected="a day or time such as 2026-11-23T12:00, in UTC", got=text[:100]
        ) from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _head(given: str) -> AuditHead:
    rows, _, digest = given.partition(":")
    if rows.isdigit() and digest:
        return AuditHead(int(rows), digest)
    try:
        return AuditHead.from_json(Path(given).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise MLOpsError(
            "this is no head", subject=given, expected="a file of `mlops audit head`, or <rows>:<hash>", got=str(error)
        ) from None
