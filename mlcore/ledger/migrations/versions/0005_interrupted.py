"""What was cut short is carried on, not for ever: runs that began a retraining are counted, who deploys is known."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Count what was begun as begun once; who deployed was not kept."""
    op.add_column("retrainings", sa.Column("attempts", sa.BigInteger(), nullable=True))
    op.execute("UPDATE retrainings SET attempts = CASE WHEN state = 'requested' THEN 0 ELSE 1 END")
    with op.batch_alter_table("retrainings") as retrainings:
        retrainings.alter_column("attempts", existing_type=sa.BigInteger(), nullable=False)
    op.add_column("deployments", sa.Column("flow_run_id", sa.Text(), nullable=True))
    op.execute("UPDATE deployments SET flow_run_id = ''")
    with op.batch_alter_table("deployments") as deployments:
        deployments.alter_column("flow_run_id", existing_type=sa.Text(), nullable=False)
