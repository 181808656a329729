"""The ledger: the database that is the truth, read and written in whole transactions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mlcore.errors import LedgerError
from mlcore.failpoints import failpoint
from mlcore.ledger import audit, tables
from mlcore.ledger.records import OutboxEntry, Record

if TYPE_CHECKING:
    import sqlalchemy as sa

    from mlcore.events import Event

R = TypeVar("R", bound=Record)

_BUSY_MILLISECONDS: Final = 30_000
_PARAMETERS: Final = 30_000  # SQLite takes 32,766 in one statement
_WRITER: Final = 7041777  # the advisory lock of PostgreSQL that every write takes
MAXIMUM_EVENT_BYTES: Final = 1_000_000  # the server drops events over 1.5 MB without a word


class View:
    """A consistent read of the ledger."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def get(self, kind: type[R], **key: Any) -> R | None:
        """Return the record with this primary key, None where there is none."""
        if set(key) != set(kind.KEY):
            raise TypeError(f"The key of {kind.__name__} is {kind.KEY}. Got {tuple(key)} instead.")
        return self.first(kind, **key)

    def first(self, kind: type[R], order_by: str | None = None, **equal: Any) -> R | None:
        """Return the first record in `order_by` with these values; ``-name`` sorts newest or largest first."""
        return next(iter(self.all(kind, order_by=order_by, limit=1, **equal)), None)

    def all(self, kind: type[R], order_by: str | None = None, limit: int | None = None, **equal: Any) -> list[R]:
        """Return the records with these values, in `order_by`."""
        import sqlalchemy as sa

        table = tables.table(kind)
        query = sa.select(table).where(*(table.c[name] == tables.to_column(value) for name, value in equal.items()))
        if order_by:
            column = table.c[order_by.removeprefix("-")]
            query = query.order_by(column.desc() if order_by.startswith("-") else column)
        rows = self._connection.execute(query.limit(limit)).mappings()
        return [tables.from_row(kind, dict(row)) for row in rows]

    def existing(self, kind: type[Record], keys: Sequence[str]) -> set[str]:
        """Return which of `keys` are taken, for a kind whose key is one column."""
        import sqlalchemy as sa

        [name] = kind.KEY
        column = tables.table(kind).c[name]
        found: set[str] = set()
        for start in range(0, len(keys), _PARAMETERS):
            part = keys[start : start + _PARAMETERS]
            found |= set(self._connection.scalars(sa.select(column).where(column.in_(part))))
        return found

    def raw(self, kind: type[Record], order_by: str) -> Iterator[dict[str, Any]]:
        """Yield the rows in `order_by` as the driver gives them: what cannot be read as a record is seen too.

        JSON is the text that is stored.
        """
        import sqlalchemy as sa

        table = tables.table(kind)
        columns = [
            # psycopg parses JSON itself; elsewhere a text passes unprocessed
            sa.cast(column, sa.Text)
            if isinstance(column.type, sa.JSON) and self._connection.dialect.name == "postgresql"
            else sa.type_coerce(column, sa.Text)
            for column in table.columns
        ]
        query = sa.select(*columns).order_by(table.c[order_by]).execution_options(yield_per=1000)
        names = table.columns.keys()
        for row in self._connection.execute(query):
            yield dict(zip(names, row, strict=True))

    def triggers(self, table: str) -> set[str]:
        """Return the names of the triggers on `table` that are switched on."""
        import sqlalchemy as sa

        if self._connection.dialect.name == "postgresql":
            query = "SELECT tgname FROM pg_trigger WHERE tgrelid = CAST(:table AS regclass) AND tgenabled IN ('O', 'A')"
        else:
            query = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :table"
        return set(self._connection.scalars(sa.text(query), {"table": table}))


class Transaction(View):
    """One atomic change: all of it is kept, or nothing."""

    def add(self, record: Record) -> None:
        """Insert `record`.

        Raises
        ------
        LedgerError
            If its key, or something else that must be unique, is taken.
        """
        if not self.add_once(record):
            raise LedgerError(
                "there is such a row already",
                subject=f"{record.TABLE}: {', '.join(str(getattr(record, name)) for name in record.KEY)}",
            )

    def add_once(self, record: Record) -> bool:
        """Insert `record`; return False, changing nothing, where its key is taken."""
        return self.add_many_once([record]) == 1

    def add_many_once(self, records: Sequence[Record]) -> int:
        """Insert records of one kind whose keys are free, in one statement; return how many were."""
        if not records:
            return 0
        table = tables.table(type(records[0]))
        # what comes back is what was inserted; drivers do not agree on the row count of ON CONFLICT
        insert = self._insert(table).on_conflict_do_nothing().returning(table.c[records[0].KEY[0]])
        return len(self._connection.execute(insert, [tables.to_row(record) for record in records]).all())

    def change(self, record: R, **values: Any) -> R:
        """Replace columns of the row that `record` is; return what it is now.

        Raises
        ------
        LedgerError
            If there is no such row.
        """
        import sqlalchemy as sa

        table = tables.table(type(record))
        key = {name: getattr(record, name) for name in record.KEY}
        where = [table.c[name] == value for name, value in key.items()]
        row = {name: tables.to_column(value) for name, value in values.items()}
        if self._connection.execute(sa.update(table).where(*where).values(**row)).rowcount != 1:
            raise LedgerError("there is no such row", subject=f"{record.TABLE}: {key}")
        changed = self.get(type(record), **key)
        assert changed is not None
        return changed

    def put(self, record: Record) -> None:
        """Insert `record`, or replace the one with its key."""
        if not self.add_once(record):
            values = {field.name: getattr(record, field.name) for field in fields(record)}
            self.change(record, **values)

    def next_version(self, kind: type[Record], usecase: str) -> int:
        """Return the next free version number of `usecase`, from 1."""
        import sqlalchemy as sa

        table = tables.table(kind)
        return (
            self._connection.scalar(sa.select(sa.func.max(table.c.version)).where(table.c.usecase == usecase)) or 0
        ) + 1

    def announce(self, event: Event) -> None:
        """Write `event` to the outbox; it is delivered after this transaction is committed, at least once.

        Raises
        ------
        LedgerError
            If it is not JSON, or too large for the server, which would drop it without a word.
        """
        body = event.to_wire()
        try:
            # as it is sent: texts as UTF-8, no spaces
            size = len(json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode())
        except (TypeError, ValueError) as error:
            raise LedgerError(
                "an event carries ids, not data", subject=event.name, expected="JSON", got=str(error)
            ) from None
        if size > MAXIMUM_EVENT_BYTES:
            raise LedgerError(
                "an event carries ids, not data", subject=event.name, expected="under 1 MB", got=f"{size:,} bytes"
            )
        last = self.first(OutboxEntry, order_by="-sequence")
        self.add_once(
            OutboxEntry(
                id=str(event.id),
                event=event.name,
                usecase=event.usecase,
                body=body,
                created_at=event.occurred,
                sequence=last.sequence + 1 if last else 1,
            )
        )

    def audit(self, *, usecase: str, actor: str, action: str, subject: str, at: datetime, **facts: Any) -> None:
        """Append one entry to the audit chain."""
        audit.append(self, usecase=usecase, actor=actor, action=action, subject=subject, at=at, facts=facts)

    def _insert(self, table: sa.Table) -> Any:
        if self._connection.dialect.name == "postgresql":
            from sqlalchemy.dialects import postgresql

            return postgresql.insert(table)
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)


class Ledger:
    """A ledger database; open it with `Ledger.open`."""

    def __init__(self, engine: sa.Engine, url: str) -> None:
        self._engine = engine
        self.url = url

    @classmethod
    def open(cls, url: str) -> Ledger:
        """Open the ledger at `url`, making or migrating its tables where needed.

        Parameters
        ----------
        url : str
            ``sqlite:///path`` or ``postgresql+psycopg://user@host/database``.

        Raises
        ------
        LedgerError
            If the database cannot be reached, is not a ledger, or was written by newer code.
        """
        import sqlalchemy as sa

        from mlcore.ledger.migrate import migrate

        try:
            if url.startswith("sqlite:///"):
                Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            engine = sa.create_engine(url, **_engine_options(url))
            if engine.dialect.name == "sqlite":
                sa.event.listen(engine, "connect", _prepare_sqlite)
                sa.event.listen(engine, "begin", _begin_sqlite)
            migrate(engine)
        except (sa.exc.SQLAlchemyError, ImportError, OSError) as error:
            raise _unusable(url, error) from None
        return cls(engine, url)

    @property
    def dialect(self) -> str:
        """Which database it is: ``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Make one atomic change; an exception inside changes nothing."""
        with self._connected(write=True) as connection:
            yield Transaction(connection)

    @contextmanager
    def read(self) -> Iterator[View]:
        """Read one consistent state."""
        with self._connected(write=False) as connection:
            yield View(connection)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _connected(self, *, write: bool) -> Iterator[sa.Connection]:
        import sqlalchemy as sa

        try:
            with self._engine.connect() as connection:
                options = connection.execution_options(ledger_write=write)
                if not write and self._engine.dialect.name == "postgresql":
                    options = options.execution_options(isolation_level="REPEATABLE READ")
                with options.begin():
                    if write and self._engine.dialect.name == "postgresql":
                        # one writer at a time, as SQLite has it: what a transaction reads still holds when it writes
                        options.execute(sa.text(f"SELECT pg_advisory_xact_lock({_WRITER})"))
                    yield options
                    if write:
                        failpoint("ledger.before-commit")
                if write:
                    failpoint("ledger.after-commit")
        except sa.exc.DBAPIError as error:
            raise _unusable(self.url, error) from error


def _engine_options(url: str) -> dict[str, Any]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": _BUSY_MILLISECONDS / 1000}}
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": 10}}


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # the driver's own transactions begin late and without IMMEDIATE: ours are begun by _begin_sqlite
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("ledger_write", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _unusable(url: str, error: Exception) -> LedgerError:
    import sqlalchemy as sa

    cause = getattr(error, "orig", None) or error
    return LedgerError(
        "the ledger cannot be used",
        subject=sa.make_url(url).render_as_string(hide_password=True) if "://" in url else url,
        got=str(cause).strip().splitlines()[0][:200],
        remedy="Check MLOPS_LEDGER_URL, the folder's permissions and free space, or the database server.",
    )
