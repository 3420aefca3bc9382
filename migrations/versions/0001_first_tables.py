"""Every table of the book and of the queue."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "subjects",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("config", JSON, nullable=False),
        sa.Column("vocabulary", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "dictionaries",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("subject_id", sa.String(length=64), nullable=False),
        sa.Column("hook_point", sa.String(length=255), nullable=False),
        sa.Column("architecture", sa.String(length=64), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("features", sa.Integer(), nullable=False),
        sa.Column("config", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["subject_id"], ["subjects.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "evidence_sets",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("dictionary_id", ROW_ID, nullable=False),
        sa.Column("identity", JSON, nullable=False),
        sa.Column("corpus", JSON, nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["dictionary_id"], ["dictionaries.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_evidence_sets_dictionary", "evidence_sets", ["dictionary_id"])
    op.create_table(
        "evidence",
        sa.Column("set_id", sa.String(length=64), nullable=False),
        sa.Column("feature", sa.Integer(), nullable=False),
        sa.Column("density", sa.Float(), nullable=False),
        sa.Column("blob", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["set_id"], ["evidence_sets.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("set_id", "feature"),
    )
    op.create_table(
        "explanations",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("dictionary_id", ROW_ID, nullable=False),
        sa.Column("feature", sa.Integer(), nullable=False),
        sa.Column("evidence_set_id", sa.String(length=64), nullable=False),
        sa.Column("explainer", sa.String(length=64), nullable=False),
        sa.Column("settings_digest", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text()),
        sa.Column("failure", sa.Text()),
        sa.Column("rule", JSON),
        sa.Column("provenance", JSON, nullable=False),
        sa.Column("job_id", sa.String(length=36)),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["dictionary_id"], ["dictionaries.id"]),
        sa.ForeignKeyConstraint(["evidence_set_id"], ["evidence_sets.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("evidence_set_id", "feature", "explainer", "settings_digest"),
    )
    op.create_index("ix_explanations_feature", "explanations", ["dictionary_id", "feature", "id"])
    op.create_table(
        "features",
        sa.Column("dictionary_id", ROW_ID, nullable=False),
        sa.Column("feature", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("evidence_set_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("density", sa.Float(), nullable=False),
        sa.Column("tokens_active", sa.BigInteger(), nullable=False),
        sa.Column("max_activation", sa.Float(), nullable=False),
        sa.Column("mean_active", sa.Float(), nullable=False),
        sa.Column("explanation_id", sa.BigInteger()),
        sa.Column("label", sa.Text()),
        sa.Column("score", sa.Float()),
        sa.Column("lift", sa.Float()),
        sa.Column("q_value", sa.Float()),
        sa.ForeignKeyConstraint(["dictionary_id"], ["dictionaries.id"]),
        sa.ForeignKeyConstraint(["evidence_set_id"], ["evidence_sets.id"]),
        sa.PrimaryKeyConstraint("dictionary_id", "feature"),
    )
    op.create_index("ix_features_density", "features", ["dictionary_id", "density", "feature"])
    op.create_index("ix_features_label", "features", ["dictionary_id", "label", "feature"])
    op.create_index("ix_features_lift", "features", ["dictionary_id", "lift", "feature"])
    op.create_index("ix_features_score", "features", ["dictionary_id", "score", "feature"])
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("idempotency_key", sa.String(length=255)),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column("dictionary_id", ROW_ID),
        sa.Column("evidence_set_id", sa.String(length=64)),
        sa.Column("features_total", sa.Integer()),
        sa.Column("features_failed", sa.Integer(), nullable=False),
        sa.Column("summary", JSON),
        sa.Column("error", JSON),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("cancelling_at", TIME),
        sa.Column("finished_at", TIME),
        sa.ForeignKeyConstraint(["dictionary_id"], ["dictionaries.id"]),
        sa.ForeignKeyConstraint(["evidence_set_id"], ["evidence_sets.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("idempotency_key"),
    )
    op.create_index("ix_jobs_created", "jobs", ["created_at", "id"])
    op.create_index("ix_jobs_status_created", "jobs", ["status", "created_at"])
    op.create_table(
        "chunks",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("queue", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("waits_for", sa.String(length=40)),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("units_total", sa.BigInteger(), nullable=False),
        sa.Column("units_done", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.String(length=128)),
        sa.Column("lease_token", sa.String(length=36)),
        sa.Column("lease_expires_at", TIME),
        sa.Column("rung_at", TIME),
        sa.Column("error", JSON),
        sa.Column("result", JSON),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("finished_at", TIME),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("job_id", "stage", "number"),
    )
    op.create_index("ix_chunks_claim", "chunks", ["queue", "status", "priority", "created_at"])
    op.create_index("ix_chunks_job", "chunks", ["job_id", "status"])
    op.create_index("ix_chunks_lease", "chunks", ["status", "lease_expires_at"])
    op.create_table(
        "scores",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("explanation_id", ROW_ID, nullable=False),
        sa.Column("dictionary_id", ROW_ID, nullable=False),
        sa.Column("feature", sa.Integer(), nullable=False),
        sa.Column("scorer", sa.String(length=64), nullable=False),
        sa.Column("settings_digest", sa.String(length=64), nullable=False),
        sa.Column("metric", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Float()),
        sa.Column("low", sa.Float()),
        sa.Column("high", sa.Float()),
        sa.Column("interval_method", sa.String(length=64)),
        sa.Column("reason", sa.Text()),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("abstained", sa.Integer(), nullable=False),
        sa.Column("null_value", sa.Float()),
        sa.Column("lift", sa.Float()),
        sa.Column("lift_low", sa.Float()),
        sa.Column("lift_high", sa.Float()),
        sa.Column("lift_method", sa.String(64)),
        sa.Column("p_value", sa.Float()),
        sa.Column("q_value", sa.Float()),
        sa.Column("null_reason", sa.Text()),
        sa.Column("details", JSON, nullable=False),
        sa.Column("job_id", sa.String(length=36)),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["dictionary_id"], ["dictionaries.id"]),
        sa.ForeignKeyConstraint(["explanation_id"], ["explanations.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("explanation_id", "scorer", "settings_digest"),
    )
    op.create_index("ix_scores_dictionary_scorer", "scores", ["dictionary_id", "scorer", "value"])
    op.create_index("ix_scores_feature", "scores", ["dictionary_id", "feature"])
    op.create_table(
        "score_items",
        sa.Column("score_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("blob", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["score_id"], ["scores.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("score_id"),
    )


def downgrade() -> None:
    op.drop_table("score_items")
    op.drop_table("scores")
    op.drop_table("chunks")
    op.drop_table("jobs")
    op.drop_table("features")
    op.drop_table("explanations")
    op.drop_table("evidence")
    op.drop_table("evidence_sets")
    op.drop_table("dictionaries")
    op.drop_table("subjects")
