"""Bringing a database to the schema of this code; a database of newer code is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mlcore.errors import LedgerError
from mlcore.ledger import tables

if TYPE_CHECKING:
    import sqlalchemy as sa

#: Grows by one with every change of the tables.
SCHEMA_VERSION: Final = 1

_SQLITE_GUARDS: Final = (
    *(
        f"CREATE TRIGGER IF NOT EXISTS audit_no_{verb.lower()} BEFORE {verb} ON audit "
        "BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END"
        for verb in ("UPDATE", "DELETE")
    ),
    # INSERT OR REPLACE deletes without asking the guard of DELETE
    "CREATE TRIGGER IF NOT EXISTS audit_no_replace BEFORE INSERT ON audit "
    "WHEN EXISTS (SELECT 1 FROM audit WHERE sequence = NEW.sequence) "
    "BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END",
)
_POSTGRES_GUARDS: Final = (
    "CREATE OR REPLACE FUNCTION audit_is_append_only() RETURNS trigger AS "
    "$$ BEGIN RAISE EXCEPTION 'the audit trail is append-only'; END $$ LANGUAGE plpgsql",
    "CREATE OR REPLACE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit "
    "FOR EACH ROW EXECUTE FUNCTION audit_is_append_only()",
    "CREATE OR REPLACE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()",
)


def migrate(engine: sa.Engine) -> None:
    """Create the tables where they are missing; one query where they are there.

    Raises
    ------
    LedgerError
        If the database was made by newer code.
    """
    import sqlalchemy as sa

    version = sa.Table("schema_version", sa.MetaData(), sa.Column("version", sa.Integer, primary_key=True))
    if sa.inspect(engine).has_table("schema_version"):
        with engine.connect() as connection:
            found = connection.scalar(sa.select(sa.func.max(version.c.version))) or 0
        if found > SCHEMA_VERSION:
            raise LedgerError(
                "the ledger was made by newer code",
                expected=f"schema {SCHEMA_VERSION} or older",
                got=f"schema {found}",
                remedy="Update this installation.",
            )
        if found == SCHEMA_VERSION:
            return
    elif foreign := sorted(set(sa.inspect(engine).get_table_names()) - tables.metadata().tables.keys()):
        raise LedgerError(
            "this database is not a ledger",
            expected="an empty database, or one of ours",
            got=f"tables {', '.join(foreign[:5])}",
            remedy="Give the ledger a database of its own: MLOPS_LEDGER_URL.",
        )
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            # two processes that open a new database at once must not both make it
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7041776)"))
        tables.metadata().create_all(connection)
        for guard in _SQLITE_GUARDS if connection.dialect.name == "sqlite" else _POSTGRES_GUARDS:
            connection.execute(sa.text(guard))
        version.create(connection, checkfirst=True)
        if not connection.scalar(sa.select(sa.func.count()).select_from(version)):
            connection.execute(version.insert().values(version=SCHEMA_VERSION))
