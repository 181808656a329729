"""Events that came in: every one is read from the server and gets a row in the ledger saying what became of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from flows._server import ReceivedEvent
from mlcore.errors import ServerError
from mlcore.events import RESOURCE_PREFIX, usecase_of
from mlcore.ledger.records import Wakeup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flows._context import Context

_RETENTION = timedelta(days=7)  # how long the server keeps events
_OVERLAP = timedelta(minutes=15)  # an event may reach the server's list late


def unread(context: Context, names: Sequence[str], *, woken_by: ReceivedEvent | None = None) -> list[ReceivedEvent]:
    """Return this use case's events called one of `names` that have no row yet, oldest first.

    The server lists an event up to five seconds late, so the one that woke this run is given as `woken_by`. A server
    that does not answer leaves that one event; the others are read by the next run.
    """
    found = {} if woken_by is None else {woken_by.id: woken_by}
    try:
        for event in context.server.find_events(names, since=_since(context, names), until=context.now()):
            found[event.id] = event
    except ServerError:
        if woken_by is None:
            raise
    with context.ledger.read() as view:
        mine = [event for event in found.values() if usecase_of(event.resource_id) == context.name]
        return sorted(
            (event for event in mine if view.get(Wakeup, event_id=event.id) is None), key=lambda event: event.occurred
        )


def waking(context: Context, name: str, event_id: str, payload: dict[str, Any]) -> ReceivedEvent:
    """Return the event that an automation woke this run for, from the parameters it gave."""
    return ReceivedEvent(event_id, name, RESOURCE_PREFIX + context.name, context.now(), payload)


def row(context: Context, event: ReceivedEvent, cause_key: str, *, acted: bool, reason: str) -> Wakeup:
    """Return the ledger's row for `event`."""
    return Wakeup(
        event_id=event.id,
        event=event.name,
        usecase=context.name,
        cause_key=cause_key,
        outcome="acted" if acted else "ignored",
        reason=reason,
        flow_run_id=context.run_id,
        payload=event.payload,
        occurred_at=event.occurred,
        received_at=context.now(),
    )


def _since(context: Context, names: Sequence[str]) -> datetime:
    since = context.now() - _RETENTION
    with context.ledger.read() as view:
        newest = [view.first(Wakeup, order_by="-received_at", usecase=context.name, event=name) for name in names]
    if all(newest):
        since = max(since, min(wakeup.received_at for wakeup in newest if wakeup) - _OVERLAP)
    return since
