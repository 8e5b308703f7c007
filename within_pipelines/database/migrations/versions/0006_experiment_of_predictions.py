"""The prediction log names the experiment whose arm answered."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("prediction_log", sa.Column("experiment", sa.String(length=128), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("prediction_log") as table:
        table.drop_column("experiment")
