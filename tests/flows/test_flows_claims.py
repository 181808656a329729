"""Wake-ups: each cause is decided about once, and every other event has a row that says why it was ignored."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import get_args

import httpx
import pytest
import sqlalchemy as sa

from flows import _causes, _inbox, _pending
from flows._context import Context
from flows._server import ReceivedEvent, Server
from flows.settings import Settings
from mlcore import events, registry
from mlcore.diagnosis import Diagnosis
from mlcore.events import Event
from mlcore.ledger.outbox import deliver
from mlcore.ledger.records import (
    DatasetVersion,
    DecisionRecord,
    DiagnosisRecord,
    ModelVersion,
    OutboxEntry,
    Retraining,
    Wakeup,
    Window,
)
from mlcore.policy.retraining import RetrainingPolicy

AWAY = "http://127.0.0.1:9/api"
POLICY = RetrainingPolicy(
    harmed_windows=1, of_last_windows=1, minimum_new_rows=1, cooldown=timedelta(hours=1), budget=2
)


@pytest.fixture
def context(ledger, bikeshare, tmp_path) -> Context:
    """A run of the use case whose champion is version 1, and whose server is away."""
    usecase = bikeshare.model_copy(update={"retraining": POLICY})
    found = Context(Settings(home=tmp_path), usecase, ledger, Server(AWAY, attempts=1), "run")
    now = datetime.now(UTC)
    with ledger.transaction() as tx:
        model = ModelVersion(
            usecase.name, 0, "d", "u", 1, "forest", {}, 0, {}, (), "c", False, "l", "u", "dataset", "k", "run", now
        )
        registry.register(tx, model, now)
        registry.promote(tx, usecase.name, 1, expected_generation=0, actor="me", reason="", now=now)
    return found


def _window(context: Context, number: int, cause: str = "harmful_shift") -> ReceivedEvent:
    """Keep a diagnosed window; return an event that names it."""
    now = datetime.now(UTC)
    start = now - timedelta(days=100 - number)
    window = Window(
        f"{context.name}/daily/{number}",
        context.name,
        "daily",
        start,
        start + timedelta(days=1),
        50,
        50,
        "diagnosed",
        now,
    )
    diagnosis = Diagnosis(cause, f"{cause} it is.", (), {})
    with context.ledger.transaction() as tx:
        tx.add(window)
        tx.add(
            DiagnosisRecord(
                f"d{number}", context.name, window.id, 1, cause, diagnosis.sentence, diagnosis.to_json(), now
            )
        )
    return _event(context, f"e{number}", events.DRIFT_DETECTED, window_id=window.id)


def _event(context: Context, event_id: str, name: str, **payload: object) -> ReceivedEvent:
    return ReceivedEvent(event_id, name, f"ml.usecase.{context.name}", datetime.now(UTC), payload)


def _retrained(context: Context, number: int, age: timedelta, state: str = "done") -> None:
    at = datetime.now(UTC) - age
    with context.ledger.transaction() as tx:
        tx.add(
            Retraining(f"r{number}", context.name, "drift", f"k{number}", state, "run", None, None, at, None, "")  # type: ignore[arg-type]
        )


def _listing(found: list[ReceivedEvent]) -> Server:
    """Return a server that lists `found` in one page."""
    page = {
        "events": [
            {
                "id": event.id,
                "event": event.name,
                "resource": {"prefect.resource.id": event.resource_id},
                "occurred": event.occurred.isoformat(),
                "payload": event.payload,
            }
            for event in found
        ]
    }
    server = Server(AWAY, attempts=1)
    server._client = httpx.Client(
        base_url=AWAY, transport=httpx.MockTransport(lambda _: httpx.Response(200, json=page))
    )
    return server


def _row(context: Context, event: ReceivedEvent) -> Wakeup:
    with context.ledger.read() as view:
        found = view.get(Wakeup, event_id=event.id)
    assert found is not None
    return found


def _why(context: Context, event: ReceivedEvent) -> str:
    """Claim `event`; return why it was ignored."""
    _causes.claim_all(context, event)
    row = _row(context, event)
    why, _, detail = row.reason.partition(": ")
    assert row.outcome == "ignored"
    assert why in get_args(_inbox.Ignored)
    assert detail
    return why


def test_harm_of_answers_from_before_the_champion_is_not_acted_on(context):
    """Labels of the last model's window come when the next one answers already: it has not been judged yet."""
    event = _window(context, 1)
    now = datetime.now(UTC)
    with context.ledger.transaction() as tx:
        model = ModelVersion(
            context.name, 0, "e", "u", 1, "forest", {}, 0, {}, (), "c", False, "l", "u", "drift", "k", "run", now
        )
        registry.register(tx, model, now)
        registry.promote(tx, context.name, 2, expected_generation=1, actor="me", reason="", now=now)
    assert [item.action for item in _causes.claim_all(context, event)] == ["wait"]
    with context.ledger.read() as view:
        chains = [registry.replaced(view, context.name, version, 3) for version in (2, 1)]
    assert [[model.version for model in chain] for chain in chains] == [[1], []]


def test_a_new_cause_is_acted_on_and_the_same_cause_is_not(context):
    """Two events about one window: one decision."""
    event = _window(context, 1)
    assert [item.action for item in _causes.claim_all(context, event)] == ["retrain"]
    assert (_row(context, event).outcome, _row(context, event).reason) == ("acted", "decided: retrain")
    assert _why(context, replace(event, id="other")) == "same cause"
    assert _causes.claim_all(context, event) == []  # and a double of the event itself changes nothing
    assert _row(context, event).outcome == "acted"


def test_a_window_while_a_retraining_is_not_done_is_already_running(context):
    """Asked for or running; a dataset is not seen by it, and waits its turn."""
    _retrained(context, 1, timedelta(days=20), state="running")
    assert _why(context, _window(context, 1)) == "already running"
    now = datetime.now(UTC)
    with context.ledger.transaction() as tx:
        tx.add(DatasetVersion(context.name, 1, "d", "u", 0, 9, "announced", "s", (), (), None, None, "q", {}, now))
    decided = _causes.claim_all(context, _event(context, "new", events.DATASET_PUBLISHED, dataset_version=1))
    assert [item.action for item in decided] == ["retrain"]


def test_a_retraining_a_moment_ago_is_a_cool_down(context):
    """Held back by the policy, and the decision says for how long."""
    _retrained(context, 1, timedelta(minutes=5))
    assert _why(context, _window(context, 1)) == "cool-down"
    with context.ledger.read() as view:
        assert view.first(DecisionRecord, usecase=context.name).evidence["limit"] == "cool-down"
        assert view.all(Retraining, state="requested") == []


def test_too_many_retrainings_have_spent_the_budget(context):
    """Two in the period, long enough ago for the cool-down."""
    for number in (1, 2):
        _retrained(context, number, timedelta(hours=2))
    assert _why(context, _window(context, 1)) == "budget spent"


def test_an_old_event_is_stale(context):
    """Even about a window that would be acted on."""
    event = replace(_window(context, 1), occurred=datetime.now(UTC) - timedelta(days=8))
    assert _why(context, event) == "stale"


def test_a_forged_event_is_not_justified_by_the_ledger(context):
    """No such window, no such version, a healthy window, nonsense: nothing is decided."""
    _window(context, 1, "healthy")
    forged = [
        {"window_id": "bikeshare/daily/99"},
        {"window_id": "bikeshare/daily/1"},
        {"window_id": {"a": ["b"]}},
        {"window_id": "\0"},
        {"window_id": "\ud800"},
        {"window_id": "x" * 1_000_000},
        {},
    ]
    for number, payload in enumerate(forged):
        event = _event(context, f"f{number}", events.DRIFT_DETECTED, **payload)
        assert _why(context, event) == "not justified by the ledger"
    for number, version in enumerate((99, "1", None, True, -1, 10**30, 1.5, "\0")):
        event = _event(context, f"v{number}", events.DATASET_PUBLISHED, dataset_version=version)
        assert _why(context, event) == "not justified by the ledger"
    with context.ledger.read() as view:
        assert view.all(DecisionRecord) == []


def test_a_storm_is_one_retraining_and_one_statement(context):
    """A thousand events, doubled and in any order, about five causes and a forged one: all have a row."""
    named = [_window(context, number) for number in range(5)]
    named.append(_event(context, "forged", events.DRIFT_DETECTED, window_id="nowhere"))
    storm = [replace(named[number % 6], id=f"s{number}") for number in range(1000)]
    storm += storm[:500]
    random.Random(4).shuffle(storm)
    statements: list[str] = []
    context = replace(context, server=_listing(storm))
    sa.event.listen(
        context.ledger._engine, "before_cursor_execute", lambda *call: statements.append(call[2]), named=False
    )
    decided = _causes.claim_all(context, None)
    assert Counter(item.action for item in decided) == {"retrain": 1, "wait": 4}
    assert sum(statement.startswith("INSERT INTO wakeups") for statement in statements) == 1
    assert _causes.claim_all(context, None) == []
    with context.ledger.read() as view:
        rows = view.all(Wakeup)
        assert len(view.all(Retraining)) == 1
    assert Counter(row.reason.split(":")[0] for row in rows) == {
        "decided": 1,
        "already running": 4,
        "same cause": 1000 - 5 - 166,
        "not justified by the ledger": 166,
    }


class _Listed(Server):
    """A server that keeps events, lists them by when they occurred, and notes what it was asked for."""

    def __init__(self) -> None:
        super().__init__(AWAY, attempts=1)
        self.kept: list[ReceivedEvent] = []
        self.asked: list[timedelta] = []

    def find_events(self, names, *, since, until):
        """Yield what occurred in between."""
        self.asked.append(datetime.now(UTC) - since)
        yield from (item for item in self.kept if item.name in names and since <= item.occurred <= until)


def _read(context: Context) -> list[str]:
    found = _inbox.unread(context, _causes.WAKING)
    with context.ledger.transaction() as tx:
        tx.add_many_once([_inbox.row(context, event, "k", acted=True, reason="") for event in found])
    return [event.id for event in found]


def test_the_inbox_goes_on_where_it_was(context):
    """A week once, then minutes, also where one kind of event has never come; late and reordered events are found."""
    server = _Listed()
    context = replace(context, server=server)
    now = datetime.now(UTC)

    def occurred(name: str, minutes: int) -> None:
        event = _event(context, name, events.DRIFT_DETECTED, window_id="w")
        server.kept.append(replace(event, occurred=now - timedelta(minutes=minutes)))

    occurred("old", 60 * 24 * 3)
    assert _read(context) == ["old"]
    assert _read(context) == []
    occurred("second", 1)
    occurred("first", 12)
    assert _read(context) == ["first", "second"]
    assert [span > timedelta(days=6) for span in server.asked] == [True, True, False]
    assert server.asked[-1] < timedelta(minutes=16)


def test_a_run_that_dies_with_what_it_read_loses_nothing(context):
    """What has no row yet is read again, however often it was listed."""
    server = _Listed()
    context = replace(context, server=server)
    server.kept.append(_event(context, "a", events.DRIFT_DETECTED, window_id="w"))
    for _ in range(3):
        assert [event.id for event in _inbox.unread(context, _causes.WAKING)] == ["a"]
    assert _read(context) == ["a"]
    assert _read(context) == []


def test_what_waited_in_the_outbox_is_found_when_it_comes(context):
    """Delivered now, it says when it occurred, hours ago: the outbox knows, and the inbox looks that far back."""
    server = _Listed()
    context = replace(context, server=server)
    assert _read(context) == []
    assert _read(context) == []
    now = datetime.now(UTC)
    late = Event(events.DRIFT_DETECTED, context.name, "k", now - timedelta(hours=5), {"window_id": "w"})
    with context.ledger.transaction() as tx:
        tx.announce(late)
    deliver(context.ledger, lambda _: None, now)
    server.kept.append(replace(_event(context, str(late.id), late.name), occurred=late.occurred))
    assert _read(context) == [str(late.id)]
    assert timedelta(hours=5) <= server.asked[-1] < timedelta(hours=6)


def test_a_late_event_of_another_system_is_found_within_the_hour(context, monkeypatch):
    """Nothing tells that it comes: once an hour everything that the server keeps is looked at."""
    server = _Listed()
    context = replace(context, server=server)
    assert _read(context) == []
    event = _event(context, "foreign", events.DRIFT_DETECTED, window_id="w")
    server.kept.append(replace(event, occurred=event.occurred - timedelta(days=2)))
    assert _read(context) == []
    later = datetime.now(UTC) + timedelta(minutes=61)
    monkeypatch.setattr(Context, "now", lambda _: later)
    assert _read(context) == ["foreign"]


def test_the_inbox_reads_on_after_the_clock_was_set_back(context, monkeypatch):
    """Nothing that occurs in the hour that comes twice is passed over."""
    server = _Listed()
    context = replace(context, server=server)
    assert _read(context) == []
    back = datetime.now(UTC) - timedelta(minutes=50)
    monkeypatch.setattr(Context, "now", lambda _: back)
    server.kept.append(replace(_event(context, "again", events.DRIFT_DETECTED), occurred=back))
    assert _read(context) == ["again"]


def test_a_cause_whose_event_was_lost_is_announced_again(context, monkeypatch):
    """Delivered and gone, or its id taken by a forged one: the ledger knows what nobody has decided about."""
    monkeypatch.setattr(_pending, "served_version", lambda _: None)
    now = datetime.now(UTC)
    harmed, healthy = _window(context, 1), _window(context, 2, "healthy")
    with context.ledger.transaction() as tx:
        for version, origin in ((1, "announced"), (2, "collected")):
            digest = f"d{version}"
            tx.add(
                DatasetVersion(context.name, version, digest, "u", 0, 9, origin, "s", (), (), None, None, "q", {}, now)
            )
    context = replace(context, server=_listing([replace(harmed, payload={"window_id": "nowhere"})]))
    _causes.claim_all(context, None)
    assert _row(context, harmed).outcome == "ignored"

    def left(minutes: int) -> set[str]:
        later = now + timedelta(minutes=minutes)
        monkeypatch.setattr(Context, "now", lambda _: later)
        with context.ledger.read() as view:
            before = {entry.id for entry in view.all(OutboxEntry)}
        _pending.wake(context)
        with context.ledger.read() as view:
            made = [entry for entry in view.all(OutboxEntry) if entry.id not in before]
        named = {entry.event: entry.body["payload"] for entry in made if entry.event in _causes.WAKING}
        return {str(payload.get("window_id") or payload.get("dataset_version")) for payload in named.values()}

    assert left(0) == set()
    assert left(2) == {harmed.payload["window_id"], "1"}
    assert healthy.payload["window_id"] not in left(4)
    for number, payload in enumerate(({"window_id": harmed.payload["window_id"]}, {"dataset_version": 1})):
        _causes.claim_all(context, _event(context, f"again{number}", _causes.WAKING[number], **payload))
    assert left(6) == set()
    assert left(60 * 24 * 8) == set()
