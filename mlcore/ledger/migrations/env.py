"""What alembic runs for every command: on the connection, and in the transaction, that it is given."""

from alembic import context

from mlcore.ledger import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata(),
    transactional_ddl=True,  # SQLite's too: alembic assumes a driver that commits before each CREATE
)
context.run_migrations()
