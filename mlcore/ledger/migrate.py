"""Bringing a database to the schema of this code; a database of newer code is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlcore.errors import LedgerError, NewerLedgerError

if TYPE_CHECKING:
    import sqlalchemy as sa
    from alembic.config import Config

#: The newest revision in `migrations/versions`, written here too so that opening a ledger need not import alembic.
HEAD: Final = "0005"

_RELEASED: Final = 1  # the schema version of release 0.1.0, which knew no revisions
_MIGRATING: Final = 7041776  # the advisory lock of PostgreSQL under which tables are changed


def migrate(engine: sa.Engine) -> None:
    """Bring the tables to `HEAD` in one transaction, creating them in an empty database; a look where they are there.

    Raises
    ------
    NewerLedgerError
        If the database was made by newer code.
    LedgerError
        If it holds somebody else's tables.
    """
    import sqlalchemy as sa

    with engine.connect().execution_options(ledger_write=False) as connection:
        if _revision(connection) == HEAD:
            return
    with engine.begin() as connection:  # on SQLite this waits for every other writer
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_MIGRATING})"))
        # looked at again: another process may have migrated while this one waited
        if _revision(connection) != HEAD:
            upgrade(connection, HEAD)


def upgrade(connection: sa.Connection, revision: str) -> None:
    """Run the migrations up to `revision` in the transaction that `connection` is in.

    Raises
    ------
    NewerLedgerError, LedgerError
        As `migrate` does.
    """
    import sqlalchemy as sa
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", (Path(__file__).parent / "migrations").as_posix().replace("%", "%%"))
    existing = set(sa.inspect(connection).get_table_names())
    found = _revision(connection)
    if existing and not {"schema_version", "audit"} <= existing:
        raise LedgerError(
            "this database is not a ledger",
            expected="an empty database, or one of ours",
            got=f"tables {', '.join(sorted(existing)[:5])}",
            remedy="Give the ledger a database of its own: MLOPS_LEDGER_URL.",
        )
    if existing and found is None:
        version = connection.scalar(sa.text("SELECT max(version) FROM schema_version"))
        if version != _RELEASED:
            raise _newer(f"schema {version}")
        command.stamp(config, "0001")
    elif found is not None and found not in _known(config):
        raise _newer(f"revision {found}")
    command.upgrade(config, revision)


def _revision(connection: sa.Connection) -> str | None:
    """Return which revision the database is at, None where there was never a migration."""
    import sqlalchemy as sa

    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


def _known(config: Config) -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}


def _newer(got: str) -> NewerLedgerError:
    return NewerLedgerError(
        "the ledger was made by newer code",
        expected=f"revision {HEAD} or older",
        got=got,
        remedy="Update this installation.",
    )
