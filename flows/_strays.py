"""Events that nothing on record has sent: of use cases that are not there, or forged; each has a row that says so."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from prefect.runtime import flow_run

from flows import _inbox
from flows._server import ReceivedEvent, Server
from flows.settings import Settings, settings
from mlcore import events
from mlcore.errors import ServerError
from mlcore.ledger.records import OutboxEntry, Wakeup
from mlcore.ledger.store import Ledger
from mlcore.usecase import list_usecases

#: Events that somebody else may send; the flow that each wakes gives it its row, where the use case is there.
_CLAIMED: Final = frozenset({events.DATASET_ANNOUNCED, events.DATASET_PUBLISHED, events.DRIFT_DETECTED})
#: A nudge for `maintain`, which runs by itself as well: there are too many of them to be listed again and again.
_NAMES: Final = tuple(sorted(events.PAYLOAD_KEYS.keys() - {events.CAPTURE_SEALED}))


@dataclass(frozen=True, slots=True)
class Stranger:
    """Who reads events of no use case in particular."""

    ledger: Ledger
    server: Server
    run_id: str
    name: str = "*"

    @classmethod
    def at(cls, here: Settings) -> Stranger:
        """Return the stranger of an installation."""
        return cls(Ledger.open(here.ledger), Server.of(here), str(flow_run.id or "local"))

    def now(self) -> datetime:
        """The time, aware and in UTC."""
        return datetime.now(UTC)


def ignore_unknown(usecase: str, event_id: str) -> str | None:
    """Give the event that woke a run for a use case that is not there its row; return what to say, None where it is."""
    unknown = unknown_to(here := settings(), usecase)
    if unknown is None:
        return None
    stranger = Stranger.at(here)
    try:
        found = stranger.server.find_event(event_id)
    except ServerError:
        found = None  # `account` finds it later
    if found is not None:
        with stranger.ledger.transaction() as tx:
            tx.add_once(_row(stranger, found, usecase))
    return unknown


def unknown_to(here: Settings, usecase: str) -> str | None:
    """Return what to say of an event for a use case that is not there, None where it is."""
    if usecase in list_usecases(here.usecases):
        return None
    return f"There is no use case {_inbox.text(usecase, 200)}; the event is ignored."


def account(stranger: Stranger, known: Collection[str]) -> int:
    """Give every stray event its row; return how many there were.

    What this ledger announces is in its outbox by its id. So an event of another id says something that did not
    happen here, whoever was woken by it and whatever it says.
    """
    listed = _inbox.of_anybody(stranger, _NAMES)
    with stranger.ledger.read() as view:
        ours = view.existing(OutboxEntry, [event.id for event in listed])
    rows = []
    for event in listed:
        usecase = events.usecase_of(event.resource_id) or event.resource_id
        if usecase not in known or (event.name not in _CLAIMED and event.id not in ours):
            rows.append(_row(stranger, event, usecase, is_known=usecase in known))
    with stranger.ledger.transaction() as tx:
        return tx.add_many_once(rows)


def _row(stranger: Stranger, event: ReceivedEvent, usecase: str, *, is_known: bool = False) -> Wakeup:
    why: _inbox.Ignored = "not justified by the ledger" if is_known else "unknown use case"
    detail = "this ledger has not announced it" if is_known else _inbox.text(usecase, 200)
    return _inbox.ignored(stranger, event, f"event:{event.id}", why, detail, usecase=usecase)
