"""Events that came in: every one is read from the server and gets a row in the ledger saying what became of it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol

from flows._server import ReceivedEvent, Server
from mlcore.errors import ServerError
from mlcore.events import RESOURCE_PREFIX, usecase_of
from mlcore.ledger.records import Bookmark, OutboxEntry, Wakeup
from mlcore.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Why an event is ignored; its row says the details after it.
Ignored = Literal[
    "same cause",
    "cool-down",
    "budget spent",
    "already running",
    "stale",
    "unknown use case",
    "not justified by the ledger",
]

_RETENTION = timedelta(days=7)  # how long the server keeps events
_OVERLAP = timedelta(minutes=15)  # an event may reach the server's list late
_WHOLE_EVERY = timedelta(hours=1)
_LONGEST_PAYLOAD = 4000
_LATE = 200  # as many as the outbox delivers at once


class Reader(Protocol):
    """Whose events are read: a run's context is one."""

    @property
    def name(self) -> str:
        """The use case's name."""

    @property
    def ledger(self) -> Ledger:
        """Where the rows are."""

    @property
    def server(self) -> Server:
        """Where the events are."""

    @property
    def run_id(self) -> str:
        """The flow run that reads."""

    def now(self) -> datetime:
        """The time."""


def unread(context: Reader, names: Sequence[str], *, woken_by: ReceivedEvent | None = None) -> list[ReceivedEvent]:
    """Return this use case's events called one of `names` that have no row yet, oldest first.

    The server lists an event up to five seconds late, so the one that woke this run is given as `woken_by`. A server
    that does not answer leaves that one event; the others are read by the next run.
    """
    found = {} if woken_by is None else {woken_by.id: woken_by}
    since, is_listed = _since(context, names), True
    try:
        for event in context.server.find_events(names, since=since, until=_until(context)):
            found[event.id] = event
    except ServerError:
        if woken_by is None:
            raise
        is_listed = False
    with context.ledger.read() as view:
        taken = view.existing(Wakeup, list(found))
    mine = (event for event in found.values() if usecase_of(event.resource_id) == context.name)
    left = sorted((event for event in mine if event.id not in taken), key=lambda event: event.occurred)
    if is_listed:
        _mark(context, names, since, left)
    return left


def of_anybody(context: Reader, names: Sequence[str]) -> list[ReceivedEvent]:
    """Return every event called one of `names` that has no row, whatever use case it names."""
    since = _since(context, names)
    found = {event.id: event for event in context.server.find_events(names, since=since, until=_until(context))}
    with context.ledger.read() as view:
        taken = view.existing(Wakeup, list(found))
    _mark(context, names, since, [])
    return [event for event in found.values() if event.id not in taken]


def waking(context: Reader, name: str, event_id: str, payload: dict[str, Any]) -> ReceivedEvent:
    """Return the event that an automation woke this run for, from the parameters it gave."""
    return ReceivedEvent(event_id, name, RESOURCE_PREFIX + context.name, context.now(), payload)


def row(
    context: Reader, event: ReceivedEvent, cause_key: str, *, acted: bool, reason: str, usecase: str | None = None
) -> Wakeup:
    """Return the ledger's row for `event`, of this use case where no other is named."""
    return Wakeup(
        event_id=event.id,
        event=event.name,
        usecase=text(context.name if usecase is None else usecase, 200),
        cause_key=cause_key,
        outcome="acted" if acted else "ignored",
        reason=reason,
        flow_run_id=context.run_id,
        payload=_kept(event.payload),
        occurred_at=event.occurred,
        received_at=context.now(),
    )


def ignored(
    context: Reader, event: ReceivedEvent, cause_key: str, why: Ignored, detail: str, *, usecase: str | None = None
) -> Wakeup:
    """Return the ledger's row for an event that leads to nothing."""
    return row(context, event, cause_key, acted=False, reason=f"{why}: {detail}", usecase=usecase)


def text(value: object, longest: int) -> str:
    """Return what an event says as a text that any database takes: anybody can put anything into one."""
    return str(value)[:longest].encode(errors="replace").decode().replace("\0", "?")


def _kept(payload: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a payload: it carries ids, and whoever sends a megabyte does not fill the ledger."""
    whole = json.dumps(payload)
    return payload if len(whole) <= _LONGEST_PAYLOAD else {"longer": len(whole), "begins": whole[:_LONGEST_PAYLOAD]}


def _since(context: Reader, names: Sequence[str]) -> datetime:
    """Return from when on to look: where the last reading ended, all the server keeps once an hour.

    The server lists events by when they occurred. One of ours that waited in the outbox comes later than that, and
    the outbox knows which; one of another system may, too, and is found by the hour's look at everything.
    """
    now = context.now()
    with context.ledger.read() as view:
        read, all_read = (view.get(Bookmark, name=name) for name in _bookmarks(context, names))
        if read is None or all_read is None or abs(now - all_read.at) > _WHOLE_EVERY:
            return now - _RETENTION
        since = min(read.at, now) - _OVERLAP
        for name in names:
            last = view.all(OutboxEntry, order_by="-sequence", limit=_LATE, usecase=context.name, event=name)
            late = [entry.created_at for entry in last if entry.delivered_at is None or entry.delivered_at >= since]
            since = min([since, *late])
    return max(since, now - _RETENTION)


def _until(context: Reader) -> datetime:
    # what occurs in the future comes from a system whose clock is ahead
    return context.now() + _RETENTION


def _mark(context: Reader, names: Sequence[str], since: datetime, unread: Sequence[ReceivedEvent]) -> None:
    """Note how far was read: to what has no row yet, so that a run that dies with it loses nothing."""
    now = context.now()
    until = min([now, *(event.occurred for event in unread)])
    read, all_read = _bookmarks(context, names)
    with context.ledger.transaction() as tx:
        tx.put(Bookmark(read, until))
        if since <= now - _RETENTION and not unread:
            tx.put(Bookmark(all_read, now))


def _bookmarks(context: Reader, names: Sequence[str]) -> tuple[str, str]:
    what = f"{context.name}:{','.join(names)}"
    return f"inbox:{what}", f"inbox-whole:{what}"
