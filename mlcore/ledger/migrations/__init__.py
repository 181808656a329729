"""The ledger's schema, one alembic revision a change; `mlcore.ledger.migrate` runs them."""
