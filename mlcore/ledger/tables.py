"""The ledger's tables, derived from the records: one class a table, one field a column."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mlcore.ledger import records
from mlcore.ledger.records import Record

if TYPE_CHECKING:
    import sqlalchemy as sa

R = TypeVar("R", bound=Record)

KINDS: Final[tuple[type[Record], ...]] = tuple(
    kind
    for kind in vars(records).values()
    if isinstance(kind, type) and issubclass(kind, Record) and kind is not Record
)

#: What may not exist twice, besides the primary keys.
UNIQUE: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "datasets": (("usecase", "digest"),),
    "windows": (("usecase", "cadence", "starts_at"),),
    "decisions": (("usecase", "cause_key"),),
}

#: What is searched by, besides the primary keys.
INDEXES: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "wakeups": (("usecase", "event", "received_at"), ("usecase", "cause_key")),
    "outbox": (("delivered_at", "sequence"), ("sequence",)),
    "models": (("digest",), ("flow_run_id",)),
    "evaluations": (("usecase", "model_version"),),
    "diagnoses": (("window_id",),),
    "audit": (("usecase", "action"), ("subject",)),
    "windows": (("usecase", "state"),),
    "deployments": (("usecase", "state"),),
    "approvals": (("usecase", "state"),),
    "revalidations": (("usecase", "state"),),
}


@functools.cache
def metadata() -> sa.MetaData:
    """Return all tables."""
    import sqlalchemy as sa

    found = sa.MetaData()
    for kind in KINDS:
        columns = [
            sa.Column(
                name, _sql_type(hint)(), primary_key=name in kind.KEY, nullable=_is_optional(hint), autoincrement=False
            )
            for name, hint in _hints(kind).items()
        ]
        constraints = [sa.UniqueConstraint(*names) for names in UNIQUE.get(kind.TABLE, ())]
        indexes = [sa.Index(f"ix_{kind.TABLE}_{'_'.join(names)}", *names) for names in INDEXES.get(kind.TABLE, ())]
        sa.Table(kind.TABLE, found, *columns, *constraints, *indexes)
    return found


def table(kind: type[Record]) -> sa.Table:
    """Return the table of `kind`."""
    return metadata().tables[kind.TABLE]


def to_row(record: Record) -> dict[str, Any]:
    """Return the values of `record` as the table's columns take them."""
    return {field.name: to_column(getattr(record, field.name)) for field in fields(record)}


def to_column(value: Any) -> Any:
    """Return one value as a column takes it: times in UTC, tuples and mappings as JSON."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; the ledger keeps aware times only.")
        return value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def from_row(kind: type[R], row: Mapping[str, Any]) -> R:
    """Return the record that `row` holds."""
    return kind(**{name: _from_column(hint, row[name]) for name, hint in _hints(kind).items()})


def _from_column(hint: Any, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    return tuple(value) if get_origin(hint) is tuple and value is not None else value


@functools.cache
def _all_hints() -> dict[str, dict[str, Any]]:
    hints = {kind.TABLE: get_type_hints(kind) for kind in KINDS}
    return {kind.TABLE: {field.name: hints[kind.TABLE][field.name] for field in fields(kind)} for kind in KINDS}


def _hints(kind: type[Record]) -> dict[str, Any]:
    return _all_hints()[kind.TABLE]


def _is_optional(hint: Any) -> bool:
    return type(None) in get_args(hint)


def _sql_type(hint: Any) -> Any:
    import sqlalchemy as sa

    if get_origin(hint) in (Union, types.UnionType):
        hint = next(option for option in get_args(hint) if option is not type(None))
    if get_origin(hint) is Literal:
        return sa.Text
    if get_origin(hint) is not None:  # tuple[...] and Mapping[...]
        return sa.JSON
    return {str: sa.Text, int: sa.BigInteger, bool: sa.Boolean, float: sa.Float, datetime: sa.DateTime}[hint]
