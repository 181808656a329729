"""Delivering what was committed to be announced: in order, at least once, retried with growing pauses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from mlcore.errors import ServerError
from mlcore.ledger.records import OutboxEntry

if TYPE_CHECKING:
    from mlcore.ledger.store import Ledger, View

_FIRST_PAUSE: Final = timedelta(seconds=2)
_LONGEST_PAUSE: Final = timedelta(minutes=5)

Post = Callable[[list[dict[str, Any]]], None]


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """How many events were delivered, how many must wait, and why."""

    delivered: int
    failed: int
    last_error: str = ""


def deliver(ledger: Ledger, post: Post, now: datetime, limit: int = 200) -> DeliveryReport:
    """Post what is due; an event is marked only after the server took it, its id makes a second delivery harmless.

    Parameters
    ----------
    ledger : Ledger
    post : callable
        Takes a list of event bodies; raises ServerError where the server did not accept all of them.
    now : datetime
    limit : int, default=200
        Events in one call.
    """
    with ledger.read() as view:
        due = [entry for entry in waiting(view) if entry.next_attempt_at is None or entry.next_attempt_at <= now]
    due = due[:limit]
    if not due:
        return DeliveryReport(0, 0)
    try:
        post([dict(entry.body) for entry in due])
    except ServerError as error:
        with ledger.transaction() as tx:
            for entry in due:
                pause = min(_FIRST_PAUSE * 2 ** min(entry.attempts, 10), _LONGEST_PAUSE)
                tx.change(entry, attempts=entry.attempts + 1, next_attempt_at=now + pause, last_error=str(error)[:500])
        return DeliveryReport(0, len(due), str(error))
    with ledger.transaction() as tx:
        for entry in due:
            tx.change(entry, attempts=entry.attempts + 1, delivered_at=now, last_error="")
    return DeliveryReport(len(due), 0)


def waiting(view: View) -> list[OutboxEntry]:
    """Return what is not delivered, oldest first."""
    return view.all(OutboxEntry, order_by="created_at", delivered_at=None)
