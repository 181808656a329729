"""Laws of the audit trail: nobody changes a row unseen, and no fact is written that another reader would not see."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import rfc8785
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from mlcore.canonical import canonical_bytes
from mlcore.errors import AuditError, CanonicalError, MLOpsError
from mlcore.ledger import audit, tables
from mlcore.ledger.audit import AuditHead
from mlcore.ledger.records import AuditEntry
from mlcore.ledger.store import Ledger

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ROWS = 12
TABLE = tables.table(AuditEntry)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def unguarded(ledger: Ledger) -> Ledger:
    """A chain whose guards somebody with all rights has dropped."""
    rng = random.Random(1)
    for number in range(ROWS):
        with ledger.transaction() as tx:
            tx.audit(
                usecase=rng.choice(["a", "b"]),
                actor="me",
                action="x",
                subject=str(number),
                at=NOW + timedelta(seconds=number),
                nested={"list": [number, 0.1, None, True], "text": "é\n"},
            )
    with ledger._engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            for verb in ("update", "delete", "replace"):
                connection.execute(sa.text(f"DROP TRIGGER audit_no_{verb}"))
        else:
            connection.execute(sa.text("ALTER TABLE audit DISABLE TRIGGER USER"))
    return ledger


def _edit(connection: sa.Connection, rng: random.Random) -> str:
    """Change one column of one row to another value; of the facts, one inside."""
    number = rng.randint(1, ROWS)
    row = connection.execute(sa.select(TABLE).where(TABLE.c.sequence == number)).mappings().one()
    name = rng.choice([column.name for column in TABLE.columns])
    value = row[name]
    if name == "sequence":
        new = ROWS + 1 + rng.randint(0, 3)
        if number == ROWS and new == ROWS + 1:
            new += 1
    elif name == "at":
        new = value + timedelta(microseconds=rng.choice([-1, 1, 3_600_000_000]))
    elif name == "facts":
        new = rng.choice(
            [
                {},
                {**value, "more": None},
                {"nested": {**value["nested"], "text": "e\n"}},
                {"nested": {**value["nested"], "list": value["nested"]["list"][::-1]}},
                {"nested": {**value["nested"], "list": [*value["nested"]["list"][:3], 1]}},  # 1 for true
            ]
        )
    else:
        new = value + "x" if rng.random() < 0.5 else value[:-1]
    connection.execute(sa.update(TABLE).where(TABLE.c.sequence == number).values({name: new}))
    return f"row {number}: {name} {value} -> {new}"


def _edit_and_hash_anew(connection: sa.Connection, rng: random.Random) -> str:
    """Change a row and give it the hash that it would have had."""
    number = rng.randint(1, ROWS)
    row = connection.execute(sa.select(TABLE).where(TABLE.c.sequence == number)).mappings().one()
    entry = tables.from_row(AuditEntry, {**row, "actor": "you"})
    connection.execute(
        sa.update(TABLE).where(TABLE.c.sequence == number).values(actor="you", hash=audit.entry_hash(entry))
    )
    return f"row {number}: forged whole"


def _delete(connection: sa.Connection, rng: random.Random) -> str:
    number = rng.randint(1, ROWS)
    connection.execute(sa.delete(TABLE).where(TABLE.c.sequence == number))
    return f"row {number}: deleted"


def _delete_and_close_the_gap(connection: sa.Connection, rng: random.Random) -> str:
    number = rng.randint(1, ROWS)
    connection.execute(sa.delete(TABLE).where(TABLE.c.sequence == number))
    for later in range(number + 1, ROWS + 1):
        connection.execute(sa.update(TABLE).where(TABLE.c.sequence == later).values(sequence=later - 1))
    return f"row {number}: deleted, the rest moved up"


def _swap(connection: sa.Connection, rng: random.Random) -> str:
    one, other = rng.sample(range(1, ROWS + 1), 2)
    for old, new in ((one, 0), (other, one), (0, other)):
        connection.execute(sa.update(TABLE).where(TABLE.c.sequence == old).values(sequence=new))
    return f"rows {one} and {other}: exchanged"


def _truncate(connection: sa.Connection, rng: random.Random) -> str:
    kept = rng.randrange(ROWS)
    connection.execute(sa.delete(TABLE).where(TABLE.c.sequence > kept))
    return f"cut off after {kept}"


@pytest.mark.parametrize(
    "tamper",
    [_edit, _edit_and_hash_anew, _delete, _delete_and_close_the_gap, _swap, _truncate],
    ids=lambda it: it.__name__,
)
def test_any_single_change_of_a_row_is_found(unguarded, tamper: Callable[[sa.Connection, random.Random], str]):
    """With the head kept elsewhere, on both databases, whatever a seeded vandal does."""
    head = audit.verify(unguarded)
    assert head == AuditHead(ROWS, head.hash, NOW + timedelta(seconds=ROWS - 1))
    engine = unguarded._engine
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(sa.select(TABLE)).mappings()]
    rng = random.Random(20261123)
    for _ in range(40 if tamper is _edit else 12):
        with engine.begin() as connection:
            what = tamper(connection, rng)
        try:
            audit.verify(unguarded, head)
        except AuditError:
            pass
        else:
            pytest.fail(f"not found: {what}")
        with engine.begin() as connection:
            connection.execute(sa.delete(TABLE))
            connection.execute(sa.insert(TABLE), rows)
    assert audit.verify(unguarded, head) == head


def test_a_fact_that_two_readers_see_differently_is_an_edit(unguarded):
    """A name given twice: a database takes the first, this language the last, and the hash would be the same."""
    with unguarded._engine.begin() as connection:
        text = connection.scalar(sa.text("SELECT CAST(facts AS TEXT) FROM audit WHERE sequence = 3"))
        forged = text.replace('{"nested"', '{"nested": {"list": []}, "nested"')
        assert (forged != text, json.loads(forged)) == (True, json.loads(text))
        kind = "TEXT" if unguarded.dialect == "sqlite" else "JSON"
        change = f"UPDATE audit SET facts = CAST(:forged AS {kind}) WHERE sequence = 3"
        connection.execute(sa.text(change), {"forged": forged})
    with pytest.raises(AuditError, match="entry 3"):
        audit.verify(unguarded)


def test_a_guard_that_is_gone_is_told(ledger):
    """Whoever wants to change the trail has to take it away first."""
    audit.require_guarded(ledger)
    drop = "DROP TRIGGER audit_no_delete"
    with ledger._engine.begin() as connection:
        connection.execute(
            sa.text(drop if ledger.dialect == "sqlite" else "ALTER TABLE audit DISABLE TRIGGER audit_no_truncate")
        )
    with pytest.raises(AuditError, match=r"audit_no_(delete|truncate) gone or switched off"):
        audit.require_guarded(ledger)


def test_a_forged_tail_and_a_chain_made_anew_are_found_by_the_head(unguarded):
    """A tail that links is a chain of its own: only what was exported tells which one is true."""
    head = audit.verify(unguarded)
    with unguarded.transaction() as tx:
        tx.audit(usecase="a", actor="me", action="x", subject="s", at=NOW + timedelta(days=1))
    longer = audit.verify(unguarded, head)
    with unguarded._engine.begin() as connection:
        connection.execute(sa.delete(TABLE))
    with unguarded.transaction() as tx:
        for number in range(longer.rows):
            tx.audit(usecase="a", actor="you", action="x", subject=str(number), at=NOW)
    audit.verify(unguarded)
    for kept in (head, longer):
        with pytest.raises(AuditError, match="it was rewritten"):
            audit.verify(unguarded, kept)


@pytest.mark.parametrize(
    "change",
    [
        "facts = '{\"a\": NaN}'",
        "facts = 'no json'",
        "facts = '[1]'",
        "at = 'noon'",
        "at = at || '+05:00'",
        "actor = x'00'",
        "facts = x'ff'",
        "sequence = 'four'",
    ],
)
def test_what_cannot_be_read_is_an_edit_too(tmp_path, change):
    """SQLite keeps anything in any column; none of it stops the check, or slips through."""
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    for number in range(5):
        with ledger.transaction() as tx:
            tx.audit(usecase="b", actor="me", action="x", subject=str(number), at=NOW)
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER audit_no_update")
        connection.exec_driver_sql(f"UPDATE audit SET {change} WHERE sequence = 4")
    with pytest.raises(AuditError, match="entry 4"):
        audit.verify(ledger)


def _itself() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("fact", "place"),
    [
        (math.nan, "facts.deep.1"),
        (-math.inf, "facts.deep.1"),
        (2**53, "facts.deep.1"),
        (10**5000, "facts.deep.1"),
        (NOW, "facts.deep.1"),
        (Decimal("0.1"), "facts.deep.1"),
        ({1, 2}, "facts.deep.1"),
        (b"bytes", "facts.deep.1"),
        ("\ud800", "facts.deep.1"),
        ({1: "a"}, "facts.deep.1"),
        ({"\ud800": "a"}, "facts.deep.1"),
        ({"inner": [object()]}, "facts.deep.1.inner.0"),
        (_itself(), ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_not_every_reader_keeps_is_refused(ledger, fact, place):
    """The error is ours and names the place; the change that the entry belongs to is not made either."""
    with pytest.raises(CanonicalError) as caught, ledger.transaction() as tx:
        tx.audit(usecase="b", actor="me", action="x", subject="s", at=NOW, deep=[1, fact])
    assert caught.value.subject == place
    assert len(str(caught.value)) < 500
    assert audit.verify(ledger) == AuditHead(0, audit.GENESIS)


@given(JSON)
def test_the_canonical_form_is_that_of_rfc8785(value):
    """Ours, written for speed, gives the bytes of the reference; what JSON gives back has the same form."""
    assert canonical_bytes(value) == rfc8785.dumps(value)
    assert canonical_bytes(json.loads(json.dumps(value))) == canonical_bytes(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_have_the_form_of_rfc8785(value):
    """Every float, those at the limits of the exponent too."""
    for number in (value, float(f"{value:.0e}"), 1e-4, 9.999e-5, 1e16, 1e15, 123456789012345680.0):
        if math.isfinite(number):
            assert canonical_bytes(number) == rfc8785.dumps(number)


def test_a_head_is_exported_and_read_again(ledger):
    """What was written to a file is the head; anything else is refused."""
    with ledger.transaction() as tx:
        tx.audit(usecase="b", actor="me", action="x", subject="s", at=NOW)
    head = audit.export_head(ledger)
    assert head == AuditHead(1, head.hash, NOW)
    assert AuditHead.from_json(head.to_json()) == head
    empty = AuditHead(0, audit.GENESIS)
    assert AuditHead.from_json(empty.to_json()) == empty
    for text in ("", "{}", "[]", "null", '{"format": 2}', '{"format": 1, "rows": "1", "hash": "x", "at": null}'):
        with pytest.raises(AuditError, match="mlops audit head"):
            AuditHead.from_json(text)
    with pytest.raises(AuditError, match="rewritten"):
        audit.verify(ledger, AuditHead(1, head.hash, NOW - timedelta(days=1)))
    with pytest.raises(AuditError, match="cut off"):
        audit.verify(ledger, AuditHead(2, head.hash, NOW))


def test_the_command_finds_a_chain_cut_off_after_the_head_was_exported(tmp_path, monkeypatch):
    """`mlops audit head FILE`, later `mlops audit verify --head FILE`: two entries less are found."""
    from flows._cli import audits
    from flows.settings import settings

    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    settings.cache_clear()
    ledger = Ledger.open(settings().ledger)
    for number in range(3):
        with ledger.transaction() as tx:
            tx.audit(usecase="b", actor="me", action="x", subject=str(number), at=NOW)
    audits.audit_head(tmp_path / "head.json")
    facts, text = audits.audit_verify(str(tmp_path / "head.json"))
    assert facts["rows"] == 3
    assert "3 entries" in text
    with ledger._engine.begin() as connection:
        guard = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'audit_no_delete'").scalar_one()
        connection.exec_driver_sql("DROP TRIGGER audit_no_delete")
        connection.exec_driver_sql("DELETE FROM audit WHERE sequence > 1")
    with pytest.raises(AuditError, match="not guarded any more"):
        audits.audit_verify("")
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql(guard)  # a vandal who leaves no trace but what the head shows
    assert audits.audit_verify("")[0]["rows"] == 1
    for head in (str(tmp_path / "head.json"), f"3:{facts['hash']}"):
        with pytest.raises(AuditError, match="cut off"):
            audits.audit_verify(head)
    settings.cache_clear()


def test_the_command_shows_what_is_asked_for(tmp_path, monkeypatch):
    """By use case, action or kind of action, subject, actor and time; the newest, oldest first."""
    from flows._cli.audits import Filter, audit_show
    from flows.settings import settings

    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    settings.cache_clear()
    ledger = Ledger.open(settings().ledger)
    with ledger.transaction() as tx:
        for number in range(24):
            tx.audit(
                usecase="ab"[number % 2],
                actor="cd"[number // 2 % 2],
                action=("model.promoted", "approval.granted", "approval.denied")[number % 3],
                subject=f"a/model/{number % 4}",
                at=datetime(2026, 11, 1 + number, tzinfo=UTC),
                reason=f"because of {number}",
            )

    def shown(limit: int = 50, **wanted: str) -> list[int]:
        return [item["sequence"] - 1 for item in audit_show(Filter(**wanted), limit)[0]]

    every = range(24)
    assert shown() == list(every)
    assert shown(limit=5) == [19, 20, 21, 22, 23]
    assert shown(usecase="b") == [n for n in every if n % 2]
    assert shown(action="model.promoted") == [n for n in every if n % 3 == 0]
    assert shown(action="approval.") == [n for n in every if n % 3]
    assert shown(action="approval") == []
    assert shown(subject="a/model/3", actor="d") == [n for n in every if n % 4 == 3]
    assert shown(since="2026-11-20", until="2026-11-22T01:00+01:00") == [19, 20]
    assert shown(limit=2, action="approval.", usecase="a", until="2026-11-10") == [4, 8]
    assert audit_show(Filter(usecase="nobody"), 5)[1] == "No entry."
    assert audit_show(Filter(), 1)[1].endswith("a/model/3  d  because of 23")
    for wrong, limit in ((Filter(since="yesterday"), 5), (Filter(until="\0"), 5), (Filter(), 0)):
        with pytest.raises(MLOpsError):
            audit_show(wrong, limit)
    settings.cache_clear()
