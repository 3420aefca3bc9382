"""What listings read along its indexes is vacuumed when a fiftieth of it is new, not a fifth.

PostgreSQL answers from an index alone only of pages that it knows all transactions to see; of others it fetches each row. That knowledge is vacuum's.
"""

from alembic import op

revision = "0007"
down_revision = "0006"

TABLES = ("features", "explanations")
SHARES = {"autovacuum_vacuum_scale_factor": 0.02, "autovacuum_vacuum_insert_scale_factor": 0.02}


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in TABLES:
            op.execute(f"ALTER TABLE {table} SET ({', '.join(f'{name} = {share}' for name, share in SHARES.items())})")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in TABLES:
            op.execute(f"ALTER TABLE {table} RESET ({', '.join(SHARES)})")
