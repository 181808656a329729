"""Delivering what was committed to be announced: in order, at least once, retried with growing pauses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from mlcore.errors import RefusedError, ServerError
from mlcore.failpoints import failpoint
from mlcore.ledger.records import OutboxEntry

if TYPE_CHECKING:
    from mlcore.ledger.store import Ledger, Transaction, View

_FIRST_PAUSE: Final = timedelta(seconds=2)
_LONGEST_PAUSE: Final = timedelta(minutes=5)
#: An event is stuck after so many attempts in vain (half a minute of growing pauses), or when it is so old.
STUCK_ATTEMPTS: Final = 5
STUCK_AGE: Final = timedelta(minutes=10)

Post = Callable[[list[dict[str, Any]]], None]


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """How many events were delivered, how many must wait, and why."""

    delivered: int
    failed: int
    last_error: str = ""


def deliver(ledger: Ledger, post: Post, now: datetime, limit: int = 200) -> DeliveryReport:
    """Post what is due, in the order in which it was written.

    An event is marked only after the server took it, its id makes a second delivery harmless. One that waits for its
    next attempt, or that the server refuses for good, does not hold up the others: a batch that is refused is halved
    until what is wrong is alone. That one is stuck at once, and tried again now and then: a server can be updated.

    Parameters
    ----------
    ledger : Ledger
    post : callable
        Takes a list of event bodies; raises ServerError where the server did not accept all of them, RefusedError
        where it never will.
    now : datetime
    limit : int, default=200
        Events in one call.
    """
    with ledger.read() as view:
        due = [entry for entry in waiting(view) if _is_due(entry, now)]
    outcomes = list(_post(due[:limit], post))
    if outcomes:
        failpoint("outbox.after-post")
        with ledger.transaction() as tx:
            for entry, error in outcomes:
                _mark(tx, entry, error, now)
    errors = [error for _, error in outcomes if error is not None]
    return DeliveryReport(len(outcomes) - len(errors), len(errors), str(errors[-1]) if errors else "")


def _post(entries: list[OutboxEntry], post: Post) -> Iterator[tuple[OutboxEntry, ServerError | None]]:
    """Yield what became of each: None where the server took it."""
    if not entries:
        return
    try:
        failpoint("outbox.before-post")
        post([dict(entry.body) for entry in entries])
    except RefusedError as error:
        if len(entries) == 1:
            yield entries[0], error
            return
        half = len(entries) // 2
        yield from _post(entries[:half], post)
        yield from _post(entries[half:], post)
    except ServerError as error:
        yield from ((entry, error) for entry in entries)
    else:
        yield from ((entry, None) for entry in entries)


def _mark(tx: Transaction, entry: OutboxEntry, error: ServerError | None, now: datetime) -> None:
    attempts = entry.attempts + 1
    if error is None:
        tx.change(entry, attempts=attempts, delivered_at=now, last_error="")
        return
    pause = min(_FIRST_PAUSE * 2 ** min(entry.attempts, 10), _LONGEST_PAUSE)
    if isinstance(error, RefusedError):
        attempts, pause = max(attempts, STUCK_ATTEMPTS), _LONGEST_PAUSE
    tx.change(entry, attempts=attempts, next_attempt_at=now + pause, last_error=str(error)[:500])


def waiting(view: View) -> list[OutboxEntry]:
    """Return what is not delivered, in the order in which it was written."""
    return view.all(OutboxEntry, order_by="sequence", delivered_at=None)


def stuck(view: View, now: datetime) -> list[OutboxEntry]:
    """Return what a person should look at: not delivered after `STUCK_ATTEMPTS`, or for `STUCK_AGE`."""
    return [entry for entry in waiting(view) if entry.attempts >= STUCK_ATTEMPTS or now - entry.created_at >= STUCK_AGE]


def _is_due(entry: OutboxEntry, now: datetime) -> bool:
    # no pause is longer than the longest: one that seems to be began before the clock was set back
    return entry.next_attempt_at is None or not now < entry.next_attempt_at <= now + _LONGEST_PAUSE
