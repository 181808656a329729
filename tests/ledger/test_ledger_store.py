"""The ledger: atomic, once, append-only; the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import multiprocessing
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier

import pytest

from mlcore import events, registry
from mlcore.errors import (
    AuditError,
    LeaseHeldError,
    LeaseLostError,
    LedgerError,
    RefusedError,
    RegistryError,
    ServerError,
    StalePromotionError,
)
from mlcore.events import Event
from mlcore.ledger import audit, leases
from mlcore.ledger.outbox import STUCK_AGE, STUCK_ATTEMPTS, DeliveryReport, deliver, stuck, waiting
from mlcore.ledger.records import Alias, AliasChange, AuditEntry, Lease, ModelVersion, OutboxEntry, Wakeup, Window
from mlcore.ledger.store import Ledger

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def a_window(number: int = 1) -> Window:
    """Return some record with times, texts and numbers."""
    start = NOW + timedelta(days=number)
    return Window(f"b/daily/{number}", "b", "daily", start, start + timedelta(days=1), 24, 3, "closed", NOW)


def a_model(usecase: str = "b") -> ModelVersion:
    """Return a model with nested values."""
    return ModelVersion(
        usecase=usecase,
        version=0,
        digest="sha256:1",
        uri="file:///m",
        dataset_version=1,
        algorithm="forest",
        parameters={"depth": 3, "nested": {"a": [1.5, None]}},
        seed=0,
        metrics={"holdout": {"mae": 1.25}},
        candidates=({"name": "forest"}, {"name": "linear"}),
        code_commit="c",
        code_dirty=False,
        lock_digest="l",
        usecase_digest="u",
        cause="manual",
        cause_key="manual:1",
        flow_run_id="run",
        created_at=NOW,
    )


def an_event(number: int = 1) -> Event:
    """Return an event."""
    return Event(events.WINDOW_CLOSED, "b", key=str(number), occurred=NOW, payload={"window_id": f"w{number}"})


def test_records_come_back_as_they_went_in(ledger):
    """Times stay aware, tuples tuples, nested values themselves."""
    model = replace(a_model(), version=1)
    with ledger.transaction() as tx:
        tx.add(a_window())
        tx.add(model)
    with ledger.read() as view:
        assert view.get(Window, id="b/daily/1") == a_window()
        assert view.get(ModelVersion, usecase="b", version=1) == model
        assert view.get(Window, id="none") is None


def test_an_exception_changes_nothing(ledger):
    """A transaction is kept whole or not at all, its event with it."""
    with pytest.raises(RuntimeError), ledger.transaction() as tx:
        tx.add(a_window())
        tx.announce(an_event())
        raise RuntimeError("killed")
    with ledger.read() as view:
        assert view.all(Window) == []
        assert view.all(OutboxEntry) == []


def test_a_taken_key_is_refused_or_passed_over(ledger):
    """The same row twice is an error, or nothing, as the caller asks."""
    with ledger.transaction() as tx:
        assert tx.add_once(a_window())
        assert not tx.add_once(a_window())
        with pytest.raises(LedgerError, match="b/daily/1"):
            tx.add(a_window())


def test_change_returns_what_is_now_there(ledger):
    """Only the named columns change; a row that is not there is an error."""
    with ledger.transaction() as tx:
        tx.add(a_window())
        assert tx.change(a_window(), state="diagnosed") == replace(a_window(), state="diagnosed")
        with pytest.raises(LedgerError, match="no such row"):
            tx.change(a_window(2), state="diagnosed")


def test_order_and_limit(ledger):
    """Newest first with a minus, oldest first without."""
    with ledger.transaction() as tx:
        for number in (2, 1, 3):
            tx.add(a_window(number))
    with ledger.read() as view:
        assert [item.id[-1] for item in view.all(Window, order_by="starts_at")] == ["1", "2", "3"]
        assert view.first(Window, order_by="-starts_at").id == "b/daily/3"
        assert len(view.all(Window, limit=2)) == 2


def test_naive_times_are_refused(ledger):
    """A time without a zone would mean another moment elsewhere."""
    with pytest.raises(ValueError, match="time zone"), ledger.transaction() as tx:
        tx.add(replace(a_window(), closed_at=datetime(2026, 1, 1)))


def test_the_audit_chain_verifies_and_cannot_be_changed(ledger):
    """Entries are linked, and the database itself refuses to change or delete them."""
    import sqlalchemy as sa

    for number in range(5):
        with ledger.transaction() as tx:
            tx.audit(usecase="b", actor="me", action="x", subject=str(number), at=NOW, fact=number, part=0.1)
    head = audit.verify(ledger)
    assert head.rows == 5
    assert audit.verify(ledger, head) == audit.export_head(ledger) == head
    for statement in ("UPDATE audit SET actor = 'you' WHERE sequence = 2", "DELETE FROM audit WHERE sequence = 5"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), ledger._engine.begin() as connection:
            connection.execute(sa.text(statement))


@pytest.mark.parametrize(
    ("statement", "entry"),
    [
        ("UPDATE audit SET actor = 'you' WHERE sequence = 2", "entry 2"),
        ("UPDATE audit SET hash = 'x' WHERE sequence = 3", "entry 3"),
        ("DELETE FROM audit WHERE sequence = 3", "entry 3"),
        ("DELETE FROM audit WHERE sequence > 3", "entry 5"),
    ],
)
def test_tampering_by_whoever_drops_the_guard_is_found(ledger, statement, entry):
    """Edited, deleted and cut off rows are found, the first of them named."""
    import sqlalchemy as sa

    for number in range(5):
        with ledger.transaction() as tx:
            tx.audit(usecase="b", actor="me", action="x", subject=str(number), at=NOW)
    head = audit.export_head(ledger)
    drop = "DROP TRIGGER {}" if ledger._engine.dialect.name == "sqlite" else "DROP TRIGGER {} ON audit"
    names = ("audit_no_update", "audit_no_delete") if "sqlite" in ledger.url else ("audit_append_only",)
    with ledger._engine.begin() as connection:
        for name in names:
            connection.execute(sa.text(drop.format(name)))
        connection.execute(sa.text(statement))
    with pytest.raises(AuditError) as caught:
        audit.verify(ledger, head)
    assert entry in str(caught.value)


def test_a_clock_set_back_keeps_the_order(ledger):
    """Times in the chain never go back."""
    for at in (NOW, NOW - timedelta(hours=1)):
        with ledger.transaction() as tx:
            tx.audit(usecase="b", actor="me", action="x", subject="s", at=at)
    with ledger.read() as view:
        times = [entry.at for entry in view.all(AuditEntry, order_by="sequence")]
    assert times == [NOW, NOW]
    audit.verify(ledger)


def test_one_holder_at_a_time_and_a_dead_one_gives_up(ledger):
    """A lease is exclusive until it expires; the late write of a dead run changes nothing."""
    first = leases.acquire(ledger, "retrain:b", "one", NOW, 20)
    with pytest.raises(LeaseHeldError, match="one"):
        leases.acquire(ledger, "retrain:b", "two", NOW + timedelta(seconds=19), 20)
    second = leases.acquire(ledger, "retrain:b", "two", NOW + timedelta(seconds=21), 20)
    with pytest.raises(LeaseLostError):
        leases.renew(ledger, first, NOW + timedelta(seconds=22), 20)
    with pytest.raises(LeaseLostError), ledger.transaction() as tx:
        leases.require(tx, first, NOW + timedelta(seconds=22))
    with ledger.transaction() as tx:
        leases.require(tx, second, NOW + timedelta(seconds=22))
    leases.release(ledger, first)
    with ledger.read() as view:
        assert leases.is_held(view.get(Lease, name="retrain:b"), NOW + timedelta(seconds=22))
    leases.release(ledger, second)
    with ledger.read() as view:
        assert not leases.is_held(view.get(Lease, name="retrain:b"), NOW + timedelta(seconds=22))


def test_the_outbox_delivers_after_commit_retries_and_marks(ledger):
    """What the server refuses waits, longer each time; what it took is not sent again."""
    with ledger.transaction() as tx:
        for number in (1, 2):
            tx.announce(an_event(number))
        tx.announce(an_event(1))

    def refuse(_):
        raise ServerError("busy", got="503")

    assert deliver(ledger, refuse, NOW).failed == 2
    sent: list[dict] = []
    assert deliver(ledger, sent.extend, NOW + timedelta(seconds=1)).delivered == 0
    with ledger.read() as view:
        assert {entry.attempts for entry in waiting(view)} == {1}
        assert "busy" in waiting(view)[0].last_error
    assert deliver(ledger, sent.extend, NOW + timedelta(seconds=3)).delivered == 2
    assert [body["id"] for body in sent] == [str(an_event(1).id), str(an_event(2).id)]
    assert deliver(ledger, sent.extend, NOW + timedelta(days=1)).delivered == 0


def test_one_event_that_is_refused_for_good_holds_up_no_other(ledger):
    """The rest of its batch is delivered in order; it alone is stuck, at once and with the server's reason."""
    with ledger.transaction() as tx:
        for number in range(20):
            tx.announce(an_event(number))
    sent: list[str] = []

    def post(bodies):
        if {body["payload"]["window_id"] for body in bodies} & {"w4", "w13"}:
            raise RefusedError("no", got="HTTP 422: odd")
        sent.extend(body["payload"]["window_id"] for body in bodies)

    report = deliver(ledger, post, NOW)
    assert (report.delivered, report.failed) == (18, 2)
    assert "HTTP 422: odd" in report.last_error
    assert sent == [f"w{number}" for number in range(20) if number not in (4, 13)]
    with ledger.read() as view:
        left = stuck(view, NOW)
    assert [(entry.body["payload"]["window_id"], entry.last_error) for entry in left] == [
        ("w4", "no: got HTTP 422: odd"),
        ("w13", "no: got HTTP 422: odd"),
    ]
    assert deliver(ledger, post, NOW + timedelta(minutes=4)) == DeliveryReport(0, 0)
    assert deliver(ledger, post, NOW + timedelta(minutes=6)).failed == 2
    assert deliver(ledger, lambda _: None, NOW + timedelta(hours=1)).delivered == 2


def test_a_server_that_goes_away_between_two_halves_leaves_the_rest_waiting(ledger):
    """What was taken is marked, what was not waits, and nothing of it is called refused."""
    with ledger.transaction() as tx:
        for number in range(4):
            tx.announce(an_event(number))
    calls = []

    def post(bodies):
        calls.append(len(bodies))
        if len(bodies) == 4:
            raise RefusedError("no", got="HTTP 413")
        if len(calls) > 2:
            raise ServerError("away", got="refused")

    assert (deliver(ledger, post, NOW).delivered, calls) == (2, [4, 2, 2])
    with ledger.read() as view:
        assert [entry.attempts for entry in waiting(view)] == [1, 1]


def test_an_event_that_the_server_would_drop_is_refused(ledger):
    """Prefect answers 204 and drops large events: ours never get that far."""
    big = Event(events.WINDOW_CLOSED, "b", key="1", occurred=NOW, payload={"window_id": "x" * 2_000_000})
    with pytest.raises(LedgerError, match="ids, not data"), ledger.transaction() as tx:
        tx.announce(big)


def test_the_size_of_an_event_is_that_of_what_is_sent(ledger):
    """A megabyte of text beyond ASCII is two megabytes sent; what JSON cannot say is refused too."""
    for text, fits in (("x" * 900_000, True), ("é" * 900_000, False), ("\n" * 900_000, False)):
        event = Event(events.WINDOW_CLOSED, "b", key=text[:1], occurred=NOW, payload={"window_id": text})
        if fits:
            with ledger.transaction() as tx:
                tx.announce(event)
        else:
            with pytest.raises(LedgerError, match="ids, not data"), ledger.transaction() as tx:
                tx.announce(event)
    for value in (float("nan"), NOW, {1}):
        odd = Event(events.WINDOW_CLOSED, "b", key="odd", occurred=NOW, payload={"window_id": value})
        with pytest.raises(LedgerError, match="JSON"), ledger.transaction() as tx:
            tx.announce(odd)


def _deliver_all(ledger: Ledger, now: datetime) -> list[str]:
    sent: list[dict] = []
    while deliver(ledger, sent.extend, now, limit=7).delivered:
        pass
    return [body["payload"]["window_id"] for body in sent]


def test_events_are_delivered_in_the_order_of_writing(ledger):
    """Twenty of one moment, in one transaction or in several, come as they were written."""
    numbers = random.Random(3).sample(range(100), 20)
    for part in (numbers[:8], numbers[8:9], numbers[9:]):
        with ledger.transaction() as tx:
            for number in part:
                tx.announce(an_event(number))
                tx.announce(an_event(numbers[0]))  # known already: no second row, and no gap that matters
    assert _deliver_all(ledger, NOW) == [f"w{number}" for number in numbers]


def test_a_clock_set_back_an_hour_keeps_the_order_of_events(ledger):
    """What was written later is delivered later, and a pause begun before does not last an hour."""

    def refuse(_):
        raise ServerError("busy", got="503")

    with ledger.transaction() as tx:
        tx.announce(an_event(1))
    for attempt in range(3):
        deliver(ledger, refuse, NOW + timedelta(minutes=attempt))
    back = NOW - timedelta(hours=1)
    with ledger.transaction() as tx:
        tx.announce(replace(an_event(2), occurred=back))
    assert _deliver_all(ledger, back) == ["w1", "w2"]


def test_a_clock_set_back_an_hour_keeps_the_lease_of_who_lives(ledger):
    """Who renews keeps it, before and after; a dead holder's is free, and its late write changes nothing."""
    living, dead = (leases.acquire(ledger, name, "one", NOW, 20) for name in ("living", "dead"))
    back = NOW - timedelta(hours=1)
    leases.renew(ledger, living, back, 20)
    with pytest.raises(LeaseHeldError):
        leases.acquire(ledger, "living", "two", back + timedelta(seconds=10), 20)
    with ledger.transaction() as tx:
        leases.require(tx, living, back + timedelta(seconds=10))
    taken = leases.acquire(ledger, "dead", "two", back, 20)
    with pytest.raises(LeaseLostError), ledger.transaction() as tx:
        leases.require(tx, dead, back)
    with ledger.transaction() as tx:
        leases.require(tx, taken, back)


def test_an_event_is_stuck_by_attempts_or_by_age(ledger):
    """One refused a few times, or written a moment ago, merely waits."""

    def refuse(_):
        raise ServerError("away", got="refused")

    with ledger.transaction() as tx:
        tx.announce(an_event())
    now = NOW
    for attempts in range(1, STUCK_ATTEMPTS + 1):
        now += timedelta(seconds=40)
        assert deliver(ledger, refuse, now).failed == 1
        with ledger.read() as view:
            assert len(stuck(view, now)) == (attempts == STUCK_ATTEMPTS)
    with ledger.transaction() as tx:
        tx.announce(an_event(2))
    for age, count in ((STUCK_AGE - timedelta(seconds=1), 1), (STUCK_AGE, 2)):
        with ledger.read() as view:
            assert len(stuck(view, NOW + age)) == count
    deliver(ledger, lambda _: None, NOW + timedelta(days=1))
    with ledger.read() as view:
        assert stuck(view, NOW + timedelta(days=1)) == []


def test_doctor_and_status_show_what_is_stuck(tmp_path, monkeypatch):
    """A person who asks how things are is told which event, and why."""
    from flows._cli import status
    from flows.settings import settings

    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    settings.cache_clear()
    ledger = Ledger.open(settings().ledger)

    def outbox() -> dict:
        return next(item for item in status.doctor()[0]["checks"] if item["part"] == "outbox")

    with ledger.transaction() as tx:
        tx.announce(replace(an_event(1), occurred=datetime.now(UTC)))
    assert outbox() == {"part": "outbox", "healthy": True, "found": "1 events wait"}
    assert status.status("")[0]["stuck_events"] == []
    with ledger.transaction() as tx:
        tx.announce(replace(an_event(2), occurred=datetime.now(UTC) - timedelta(days=1)))
    assert not outbox()["healthy"]
    assert "1 of 2" in outbox()["found"]
    facts, text = status.status("")
    assert [entry["id"] for entry in facts["stuck_events"]] == [str(an_event(2).id)]
    assert "ml.window.closed of b is stuck" in text

    def refuse(_):
        raise RefusedError("no", got="HTTP 422: odd")

    assert deliver(ledger, refuse, datetime.now(UTC)).failed == 2
    assert "2 of 2, the oldest ml.window.closed of " in outbox()["found"]
    assert "HTTP 422: odd" in outbox()["found"]
    settings.cache_clear()


def test_a_thousand_rows_at_once_are_kept_once(ledger):
    """A storm is recorded in one transaction."""
    rows = [
        Wakeup(str(i % 700), "ml.drift.detected", "b", "w", "ignored", "same cause", "r", {}, NOW, NOW)
        for i in range(1000)
    ]
    with ledger.transaction() as tx:
        assert tx.add_many_once(rows) == 700


def test_promotion_keeps_history_and_refuses_a_stale_view(ledger):
    """The alias moves only from where it was looked at; the old champion is previous."""
    with ledger.transaction() as tx:
        versions = [registry.register(tx, replace(a_model(), digest=f"d{i}"), NOW).version for i in range(3)]
        assert versions == [1, 2, 3]
        registry.promote(tx, "b", 1, expected_generation=0, actor="me", reason="first", now=NOW)
        registry.promote(tx, "b", 3, expected_generation=1, actor="me", reason="better", now=NOW)
    with pytest.raises(StalePromotionError, match="generation 1"), ledger.transaction() as tx:
        registry.promote(tx, "b", 2, expected_generation=1, actor="late", reason="slow approval", now=NOW)
    with pytest.raises(RegistryError), ledger.transaction() as tx:
        registry.promote(tx, "b", 9, expected_generation=2, actor="me", reason="", now=NOW)
    with ledger.transaction() as tx:
        back = registry.rollback(tx, "b", actor="me", reason="bad feeling", now=NOW)
    assert (back.version, back.generation) == (1, 3)
    with ledger.read() as view:
        assert view.get(Alias, usecase="b", alias="previous").version == 3
        history = view.all(AliasChange, order_by="generation", usecase="b", alias="champion")
        assert [change.version for change in history] == [1, 3, 1]
        assert len(view.all(OutboxEntry, event=events.MODEL_PROMOTED)) == 3
    with ledger.transaction() as tx:
        again = registry.rollback(tx, "b", actor="me", reason="bad feeling", now=NOW)
        assert (again.version, again.generation) == (1, 3)  # who repeats a run that failed gets no bad model back
        assert registry.rollback(tx, "b", actor="me", reason="it was not the model", now=NOW).version == 3
    with pytest.raises(RegistryError, match="nothing to go back"), ledger.transaction() as tx:
        registry.rollback(tx, "other", actor="me", reason="", now=NOW)


def _race(url: str, rounds: int, number: int, barrier: Barrier, results: SimpleQueue) -> None:
    """Try to promote in every round, all processes at once; put which rounds were won."""
    ledger = Ledger.open(url)
    won = []
    for generation in range(1, rounds + 1):
        barrier.wait(60)
        try:
            with ledger.transaction() as tx:
                registry.promote(
                    tx, "b", 1 + number, expected_generation=generation, actor=str(number), reason="", now=NOW
                )
            won.append(generation)
        except StalePromotionError:
            pass
    results.put((number, won))
    ledger.close()


@pytest.mark.fault
def test_of_many_promotions_at_once_exactly_one_wins(ledger):
    """Compare-and-swap holds between 20 processes over 50 rounds: one winner a round, none lost, each on record."""
    processes, rounds = 20, 50
    with ledger.transaction() as tx:
        for number in range(processes):
            registry.register(tx, replace(a_model(), digest=f"d{number}"), NOW)
        registry.promote(tx, "b", 1, expected_generation=0, actor="me", reason="", now=NOW)
    # processes of their own, forked from one that has imported what they need and nothing else: 20 imports cost 15 s
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "psycopg", "sqlalchemy.dialects.sqlite", "mlcore.ledger.audit", __name__])
    barrier, results = context.Barrier(processes), context.SimpleQueue()
    racers = [
        context.Process(target=_race, args=(ledger.url, rounds, number, barrier, results), daemon=True)
        for number in range(processes)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(240)
    assert [racer.exitcode for racer in racers] == [0] * processes
    wins = sorted((generation, number) for number, won in (results.get() for _ in racers) for generation in won)
    assert [generation for generation, _ in wins] == list(range(1, rounds + 1))
    with ledger.read() as view:
        history = view.all(AliasChange, order_by="generation", usecase="b", alias="champion")
        previous = view.all(AliasChange, order_by="generation", usecase="b", alias="previous")
        assert len(view.all(OutboxEntry, event=events.MODEL_PROMOTED)) == rounds + 1
        assert len(view.all(AuditEntry, action="model.promoted")) == rounds + 1
    assert [change.generation for change in history] == list(range(1, rounds + 2))
    assert [change.actor for change in history[1:]] == [str(number) for _, number in wins]
    assert [change.version for change in previous] == [change.version for change in history[:-1]]
    audit.verify(ledger)


@pytest.mark.parametrize(
    "url", ["sqlite:////proc/nowhere/x.db", "postgresql+psycopg://postgres@127.0.0.1:1/x", "nonsense://x", "x"]
)
def test_a_database_that_cannot_be_used_is_one_clear_error(url):
    """No traceback of a driver: what, where, what to do."""
    with pytest.raises(LedgerError, match="MLOPS_LEDGER_URL"):
        Ledger.open(url)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    """A foreign file is not overwritten."""
    path = tmp_path / "ledger.db"
    path.write_text("hello, I am a text file, and long enough to be looked at")
    with pytest.raises(LedgerError):
        Ledger.open(f"sqlite:///{path}")
    assert path.read_text().startswith("hello")


def test_the_guard_holds_against_replacing_and_emptying(ledger):
    """The ways around UPDATE and DELETE are closed too."""
    import sqlalchemy as sa

    with ledger.transaction() as tx:
        tx.audit(usecase="b", actor="me", action="x", subject="s", at=NOW)
    is_sqlite = ledger._engine.dialect.name == "sqlite"
    statement = "INSERT OR REPLACE INTO audit SELECT * FROM audit" if is_sqlite else "TRUNCATE audit"
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), ledger._engine.begin() as connection:
        connection.execute(sa.text(statement))


def test_a_head_of_an_empty_chain_still_holds(ledger):
    """What was exported before the first entry is part of every later chain."""
    empty = audit.export_head(ledger)
    with ledger.transaction() as tx:
        tx.audit(usecase="b", actor="me", action="x", subject="s", at=NOW)
    assert audit.verify(ledger, empty).rows == 1


def test_a_clock_set_back_frees_what_is_free(ledger):
    """A released lease, and that of a run that died, can be taken although the clock went back an hour."""
    released = leases.acquire(ledger, "a", "one", NOW, 20)
    leases.release(ledger, released)
    leases.acquire(ledger, "b", "dead", NOW, 20)
    earlier = NOW - timedelta(hours=1)
    for name in ("a", "b"):
        assert leases.acquire(ledger, name, "two", earlier, 20).holder == "two"


def test_a_server_that_is_away_for_days_is_waited_for(ledger):
    """Hundreds of failed attempts later the event is still delivered."""

    def refuse(_):
        raise ServerError("away")

    with ledger.transaction() as tx:
        tx.announce(an_event())
    for attempt in range(80):
        deliver(ledger, refuse, NOW + timedelta(hours=attempt))
    assert deliver(ledger, lambda _: None, NOW + timedelta(days=9)).delivered == 1


def test_what_was_judged_is_used_up_by_its_promotion(ledger):
    """A rollback is not undone by an old evaluation."""
    with ledger.transaction() as tx:
        for number in range(2):
            registry.register(tx, replace(a_model(), digest=f"d{number}"), NOW)
        registry.promote(tx, "b", 1, expected_generation=0, actor="me", reason="", now=NOW)
        judged = NOW + timedelta(minutes=1)
        assert not registry.was_promoted_since(tx, "b", 2, judged)
        registry.promote(tx, "b", 2, expected_generation=1, actor="me", reason="", now=judged + timedelta(minutes=1))
        registry.rollback(tx, "b", actor="me", reason="", now=judged + timedelta(minutes=2))
        assert registry.was_promoted_since(tx, "b", 2, judged)
