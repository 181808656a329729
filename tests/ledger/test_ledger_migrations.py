"""Migrations: up from every released schema with its rows, once, whole, and never down from newer code."""

from __future__ import annotations

import multiprocessing
import sqlite3
import zipfile
from pathlib import Path

import pytest
import sqlalchemy as sa

from mlcore.errors import LedgerError, NewerLedgerError
from mlcore.ledger import audit, migrate, tables
from mlcore.ledger.outbox import waiting
from mlcore.ledger.records import Alias, AuditEntry, ModelVersion, Wakeup
from mlcore.ledger.store import Ledger

HERE = Path(__file__).parent
RELEASED = sorted({path.name.split(".")[0] for path in (HERE / "released").iterdir()})


def _restore(url: str, schema: str) -> None:
    """Fill the empty database with a dump of a released ledger."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as database:
            database.executescript((HERE / "released" / f"{schema}.sqlite.sql").read_text())
        return
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "")) as database:
        database.execute((HERE / "released" / f"{schema}.postgresql.sql").read_bytes())


def _engine(url: str) -> sa.Engine:
    return sa.create_engine(url, poolclass=sa.NullPool)


def _schema(url: str) -> dict[str, object]:
    """Return everything about the tables, and the triggers, that does not depend on the order of creation."""
    engine = _engine(url)
    inspector = sa.inspect(engine)
    found: dict[str, object] = {}
    for name in sorted(set(inspector.get_table_names()) - {"alembic_version"}):
        found[name] = (
            [(column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(name)],
            inspector.get_pk_constraint(name)["constrained_columns"],
            sorted(tuple(item["column_names"]) for item in inspector.get_unique_constraints(name)),
            sorted((item["name"], tuple(item["column_names"])) for item in inspector.get_indexes(name)),
        )
    query = (
        "SELECT replace(sql, ' IF NOT EXISTS', '') FROM sqlite_master WHERE type = 'trigger' ORDER BY 1"
        if engine.dialect.name == "sqlite"
        else "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
    )
    with engine.connect() as connection:
        found["triggers"] = list(connection.scalars(sa.text(query)))
    return found


@pytest.mark.parametrize("schema", RELEASED)
def test_a_released_ledger_is_brought_up_with_its_rows(ledger_url, schema):
    """Every row is read as it was written, the chain verifies, the guards hold, and the loop goes on."""
    _restore(ledger_url, schema)
    ledger = Ledger.open(ledger_url)
    with ledger.read() as view:
        assert view.get(Alias, usecase="b", alias="champion").version == 2
        assert [model.candidates for model in view.all(ModelVersion)] == [({"name": "forest"},)] * 2
        assert view.get(Wakeup, event_id="e1").payload == {"window_id": "b/daily/1"}
        left = waiting(view)
        assert len(left) == 4
        assert [entry.sequence for entry in left] == sorted({entry.sequence for entry in left})
        assert [entry.created_at for entry in left] == sorted(entry.created_at for entry in left)
        rows = len(view.all(AuditEntry))
    assert audit.verify(ledger).rows == rows == 4
    with pytest.raises(LedgerError, match="append-only"), ledger.transaction() as tx:
        tx.change(AuditEntry(1, None, "", "", "", ""), actor="you")
    with ledger.transaction() as tx:
        tx.audit(usecase="b", actor="me", action="x", subject="s", at=tx.first(AuditEntry).at)
    ledger.close()
    Ledger.open(ledger_url).close()
    with _engine(ledger_url).connect() as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == migrate.HEAD


@pytest.mark.parametrize("schema", RELEASED)
def test_a_released_ledger_ends_like_a_new_one(ledger_url, schema, tmp_path):
    """Migrated or made today: the same tables, indexes and triggers."""
    _restore(ledger_url, schema)
    Ledger.open(ledger_url).close()
    migrated = _schema(ledger_url)
    engine = _engine(ledger_url)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("DROP SCHEMA public CASCADE"))
            connection.execute(sa.text("CREATE SCHEMA public"))
    new = f"sqlite:///{tmp_path / 'new.db'}" if engine.dialect.name == "sqlite" else ledger_url
    Ledger.open(new).close()
    assert _schema(new) == migrated


def test_the_first_revision_is_what_was_released(ledger_url, tmp_path):
    """Revision 0001 makes the schema of release 0.1.0, triggers too, not today's."""
    _restore(ledger_url, "schema-1")
    released = _schema(ledger_url)
    engine = _engine(ledger_url if ledger_url.startswith("postgresql") else f"sqlite:///{tmp_path / 'new.db'}")
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("DROP SCHEMA public CASCADE"))
            connection.execute(sa.text("CREATE SCHEMA public"))
        migrate.upgrade(connection, "0001")
    assert _schema(str(engine.url)) == released


def test_the_records_are_what_the_migrations_make(ledger):
    """A field added to a record without a migration is found here."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    options = {
        "compare_type": True,
        # what release 0.1.0 looks at is no record
        "include_name": lambda name, kind, _: (kind, name) != ("table", "schema_version"),
    }
    with ledger._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, tables.metadata()) == []


def test_the_head_in_the_code_is_the_newest_revision():
    """`HEAD` is written twice so that opening a ledger does not import alembic: both say the same."""
    from alembic.script import ScriptDirectory

    folder = Path(migrate.__file__).parent / "migrations"
    assert ScriptDirectory(str(folder)).get_heads() == [migrate.HEAD]


def test_a_refused_ledger_is_as_it_was(ledger_url):
    """Not even a table of ours is added to what newer code made."""
    _restore(ledger_url, "schema-1")
    engine = _engine(ledger_url)
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO schema_version VALUES (99)"))
    before = _schema(ledger_url)
    with pytest.raises(NewerLedgerError, match="schema 99"):
        Ledger.open(ledger_url)
    assert _schema(ledger_url) == before
    assert not sa.inspect(engine).has_table("alembic_version")


def test_a_migration_that_fails_changes_nothing(ledger_url):
    """Half a migration is none, and the next opening makes it whole."""
    _restore(ledger_url, "schema-1")
    engine = _engine(ledger_url)
    with engine.begin() as connection:  # a name that a later revision takes
        connection.execute(sa.text("CREATE INDEX ix_outbox_sequence ON leases (name)"))
    before = _schema(ledger_url)
    with pytest.raises(LedgerError, match="ix_outbox_sequence"):
        Ledger.open(ledger_url)
    assert _schema(ledger_url) == before
    assert not sa.inspect(engine).has_table("alembic_version")
    with engine.begin() as connection:
        connection.execute(sa.text("DROP INDEX ix_outbox_sequence"))
    Ledger.open(ledger_url).close()


def test_release_0_1_0_refuses_what_it_would_damage(ledger):
    """It looks at `schema_version`, and refuses what is above 1."""
    with ledger.read() as view:
        assert view._connection.scalar(sa.text("SELECT max(version) FROM schema_version")) > 1


def test_a_ledger_of_newer_code_is_left_alone(ledger):
    """Older code does not write into what it does not understand."""
    with ledger._engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(NewerLedgerError, match="revision 9999"):
        Ledger.open(ledger.url)


@pytest.mark.parametrize("table", ["customers", "alembic_version"])
def test_a_foreign_database_is_not_adopted(tmp_path, table):
    """A database that somebody else uses, with alembic or without, gets no tables of ours."""
    path = tmp_path / "crm.db"
    with sqlite3.connect(path) as other:
        other.execute(f"CREATE TABLE {table} (version_num TEXT)")
        other.execute(f"INSERT INTO {table} VALUES ('abc')")
    with pytest.raises(LedgerError, match=table):
        Ledger.open(f"sqlite:///{path}")
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [(table,)]


def _open(url: str, barrier: multiprocessing.synchronize.Barrier) -> None:
    barrier.wait(60)
    Ledger.open(url).close()


@pytest.mark.fault
@pytest.mark.parametrize("schema", [None, *RELEASED])
def test_processes_that_open_a_ledger_at_once_migrate_it_once(ledger_url, schema):
    """All of them find it whole; none fails because another was at it."""
    if schema is not None:
        _restore(ledger_url, schema)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(6)
    processes = [context.Process(target=_open, args=(ledger_url, barrier)) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 6
    with _engine(ledger_url).connect() as connection:
        assert list(connection.scalars(sa.text("SELECT version_num FROM alembic_version"))) == [migrate.HEAD]


def test_the_wheel_carries_the_migrations(tmp_path):
    """What is installed can migrate."""
    from hatchling.builders.wheel import WheelBuilder

    [wheel] = WheelBuilder(str(HERE.parent.parent)).build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(wheel).namelist())
    folder = HERE.parent.parent / "mlcore" / "ledger" / "migrations"
    revisions = {f"mlcore/ledger/migrations/versions/{path.name}" for path in (folder / "versions").glob("*.py")}
    assert {"mlcore/ledger/migrations/env.py", *revisions} <= names
