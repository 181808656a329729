"""How many runs began a retraining is counted: one that kills its process each time is given up."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Count what was begun as begun once."""
    op.add_column("retrainings", sa.Column("attempts", sa.BigInteger(), nullable=True))
    op.execute("UPDATE retrainings SET attempts = CASE WHEN state = 'requested' THEN 0 ELSE 1 END")
    with op.batch_alter_table("retrainings") as retrainings:
        retrainings.alter_column("attempts", existing_type=sa.BigInteger(), nullable=False)
