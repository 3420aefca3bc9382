"""What whoever watches a job is told costs the same at any size: sums of its stages as they are now, and how long its calls took."""

import math
from collections import Counter
from typing import Any

import sqlalchemy as sa
from alembic import op

from migrations import counts, progress

revision = "0005"
down_revision = "0004"

GROUP = ("job_id", "stage", "purpose", "model", "base_url", "transport")
CALLS = sa.table("llm_calls", *(sa.column(name) for name in (*GROUP, "seconds")))


def upgrade() -> None:
    for name in progress.NOW:
        op.add_column("stage_counts", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    for name in progress.MOMENTS:
        op.add_column("stage_counts", sa.Column(name, counts.TIME))
    progress.recount()
    progress.drop()
    progress.make()
    _latency()


def downgrade() -> None:
    op.drop_table("llm_latency")
    progress.drop()
    for name in (*progress.NOW, *progress.MOMENTS):
        op.drop_column("stage_counts", name)
    counts.make()


def _latency() -> None:
    table = op.create_table(
        "llm_latency",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("purpose", sa.String(length=128), nullable=False),
        sa.Column("model", sa.String(length=255), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("transport", sa.String(length=8), nullable=False),
        sa.Column("bucket", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(*GROUP, "bucket", "slot"),
    )
    found: Counter[tuple[Any, ...]] = Counter()
    for *group, seconds in op.get_bind().execute(sa.select(*CALLS.c)).yield_per(10_000):
        found[*group, math.floor(math.log(max(seconds, 0.001)) / math.log(1.1))] += 1
    rows = [dict(zip((*GROUP, "bucket"), key, strict=True)) | {"slot": 0, "calls": number} for key, number in found.items()]
    op.bulk_insert(table, rows)
