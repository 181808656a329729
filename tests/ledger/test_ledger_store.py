"""The ledger: atomic, once, append-only; the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mlcore import events, registry
from mlcore.errors import (
    AuditError,
    LeaseHeldError,
    LeaseLostError,
    LedgerError,
    RegistryError,
    ServerError,
    StalePromotionError,
)
from mlcore.events import Event
from mlcore.ledger import audit, leases
from mlcore.ledger.outbox import deliver, waiting
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
    assert head.sequence == 5
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


def test_an_event_that_the_server_would_drop_is_refused(ledger):
    """Prefect answers 204 and drops large events: ours never get that far."""
    big = Event(events.WINDOW_CLOSED, "b", key="1", occurred=NOW, payload={"window_id": "x" * 2_000_000})
    with pytest.raises(LedgerError, match="ids, not data"), ledger.transaction() as tx:
        tx.announce(big)


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
    with pytest.raises(RegistryError, match="nothing to go back"), ledger.transaction() as tx:
        registry.rollback(tx, "other", actor="me", reason="", now=NOW)


def _race(url: str, rounds: int, number: int, barrier) -> list[bool]:
    ledger = Ledger.open(url)
    won = []
    for generation in range(1, rounds + 1):
        barrier.wait(30)
        try:
            with ledger.transaction() as tx:
                registry.promote(
                    tx, "b", 1 + number % 2, expected_generation=generation, actor=str(number), reason="", now=NOW
                )
            won.append(True)
        except StalePromotionError:
            won.append(False)
        barrier.wait(30)
    ledger.close()
    return won


@pytest.mark.fault
def test_of_many_promotions_at_once_exactly_one_wins(ledger):
    """Compare-and-swap holds between processes: one winner a round, none lost."""
    processes, rounds = 8, 12
    with ledger.transaction() as tx:
        for number in range(2):
            registry.register(tx, replace(a_model(), digest=f"d{number}"), NOW)
        registry.promote(tx, "b", 1, expected_generation=0, actor="me", reason="", now=NOW)
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(processes) as pool:
        barrier = manager.Barrier(processes)
        wins = pool.starmap(_race, [(ledger.url, rounds, number, barrier) for number in range(processes)])
    assert [sum(round_) for round_ in zip(*wins, strict=True)] == [1] * rounds
    with ledger.read() as view:
        assert view.get(Alias, usecase="b", alias="champion").generation == rounds + 1
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


def test_a_ledger_of_newer_code_is_left_alone(ledger):
    """Older code does not write into what it does not understand."""
    import sqlalchemy as sa

    with ledger._engine.begin() as connection:
        connection.execute(sa.text("UPDATE schema_version SET version = 99"))
    with pytest.raises(LedgerError, match="newer"):
        Ledger.open(ledger.url)


def test_a_foreign_database_is_not_adopted(tmp_path):
    """A database that somebody else uses gets no tables of ours."""
    import sqlite3

    with sqlite3.connect(tmp_path / "crm.db") as other:
        other.execute("CREATE TABLE customers (id INTEGER)")
    with pytest.raises(LedgerError, match="customers"):
        Ledger.open(f"sqlite:///{tmp_path / 'crm.db'}")


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
    assert audit.verify(ledger, empty).sequence == 1


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
