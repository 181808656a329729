"""Events are delivered in the order in which they were written, whatever the clock said."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Number the events, those that are there by their time."""
    op.add_column("outbox", sa.Column("sequence", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE outbox SET sequence = numbered.number "
        "FROM (SELECT id, row_number() OVER (ORDER BY created_at, id) AS number FROM outbox) AS numbered "
        "WHERE numbered.id = outbox.id"
    )
    with op.batch_alter_table("outbox") as outbox:
        outbox.alter_column("sequence", existing_type=sa.BigInteger(), nullable=False)
        outbox.drop_index("ix_outbox_delivered_at_created_at")
    op.create_index("ix_outbox_delivered_at_sequence", "outbox", ["delivered_at", "sequence"])
    op.create_index("ix_outbox_sequence", "outbox", ["sequence"])
    # release 0.1.0 would write rows without a number: what it looks at says that it is too old
    op.execute("UPDATE schema_version SET version = 2")
