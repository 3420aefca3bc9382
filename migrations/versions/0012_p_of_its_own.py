"""Why a lift has no interval, how a p value was made, and a p value that needs no other feature. Not known of scores from before."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "lift_reason": sa.Text(),
    "p_method": sa.String(16),
    "p_paired": sa.Float(),
    "p_paired_reason": sa.Text(),
}


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("scores", sa.Column(name, kind, nullable=True))


def downgrade() -> None:
    for name in reversed(COLUMNS):
        op.drop_column("scores", name)
