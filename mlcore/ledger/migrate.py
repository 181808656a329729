"""Bringing a database to the schema of this code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcore.ledger import tables

if TYPE_CHECKING:
    import sqlalchemy as sa


def migrate(engine: sa.Engine) -> None:
    """Create what is missing."""
    tables.metadata().create_all(engine)
