"""Tables, columns and indexes have the usual names, and why a job is paused stands apart from why one failed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0014"
down_revision = "0013"

JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
# Table, old name, new name.
COLUMNS = (
    ("chunks", "rung_at", "notified_at"),
    ("turns", "served_at", "last_claimed_at"),
    ("dictionaries", "width", "d_in"),
    ("dictionaries", "features", "n_features"),
    ("runs", "features", "covered_features"),
    ("runs", "summaries", "summaries_written"),
    ("jobs", "idle_seconds", "inactive_seconds"),
    ("stage_counts", "idle_seconds", "inactive_seconds"),
    ("features", "shrunken", "shrunken_score"),
    ("scores", "shrunken", "shrunken_value"),
    ("webhooks", "next_at", "next_attempt_at"),
    ("workers", "resident", "loaded_models"),
    ("llm_usage", "unknown", "usage_unknown"),
    *((table, "usd", "picodollars") for table in ("llm_totals", "llm_usage", "llm_reservations")),
    *(("llm_budgets", f"{kind}_usd", f"{kind}_picodollars") for kind in ("cap", "spent", "reserved", "unsettled")),
)
NOTIFIED = sa.text("notified_at IS NOT NULL")
RUNG = sa.text("rung_at IS NOT NULL")
FILTERED = ["state", "score", "lift", "density", "q_value"]
# PostgreSQL names the keys of a table after it.
KEYS = ("pkey", "job_id_fkey")


def upgrade() -> None:
    for name, table in (("ix_chunks_rung", "chunks"), ("ix_features_shrunken", "features"), ("ix_webhooks_next", "webhooks")):
        op.drop_index(name, table)
    for table, old, new in COLUMNS:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    _rename_table("turns", "fair_shares")
    op.create_index("ix_chunks_notified", "chunks", ["queue", "notified_at"], postgresql_where=NOTIFIED, sqlite_where=NOTIFIED)
    op.create_index("ix_features_shrunken_score", "features", ["run_id", "shrunken_score", "feature", *FILTERED])
    op.create_index("ix_webhooks_next_attempt", "webhooks", ["next_attempt_at"])
    op.add_column("jobs", sa.Column("pause_reason", JSON, nullable=True))
    # Only a job that has failed has an error of its own: a paused job that is cancelled keeps the reason of its pause.
    op.execute("UPDATE jobs SET pause_reason = error, error = NULL WHERE status <> 'failed' AND error IS NOT NULL")


def downgrade() -> None:
    op.execute("UPDATE jobs SET error = pause_reason WHERE pause_reason IS NOT NULL")
    op.drop_column("jobs", "pause_reason")
    for name, table in (("ix_chunks_notified", "chunks"), ("ix_features_shrunken_score", "features"), ("ix_webhooks_next_attempt", "webhooks")):
        op.drop_index(name, table)
    _rename_table("fair_shares", "turns")
    for table, old, new in COLUMNS:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {new} TO {old}")
    op.create_index("ix_chunks_rung", "chunks", ["queue", "rung_at"], postgresql_where=RUNG, sqlite_where=RUNG)
    op.create_index("ix_features_shrunken", "features", ["run_id", "shrunken", "feature", *FILTERED])
    op.create_index("ix_webhooks_next", "webhooks", ["next_at"])


def _rename_table(old: str, new: str) -> None:
    op.rename_table(old, new)
    if op.get_bind().dialect.name == "postgresql":
        for key in KEYS:
            op.execute(f"ALTER TABLE {new} RENAME CONSTRAINT {old}_{key} TO {new}_{key}")
