"""A dictionary may read several hook points, whose names together are longer than 255 characters."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    with op.batch_alter_table("dictionaries") as table:
        table.alter_column("hook_point", existing_type=sa.String(255), type_=sa.Text(), existing_nullable=False)


def downgrade() -> None:
    op.execute("UPDATE dictionaries SET hook_point = substr(hook_point, 1, 255)")
    with op.batch_alter_table("dictionaries") as table:
        table.alter_column("hook_point", existing_type=sa.Text(), type_=sa.String(255), existing_nullable=False)
