"""Features are sorted by q value and by largest activation, too."""

from alembic import op

revision = "0031"
down_revision = "0030"

INDEXES = {
    "ix_features_q_value": ["run_id", "q_value", "feature", "state", "score", "lift", "density"],
    "ix_features_max_activation": ["run_id", "max_activation", "feature", "state", "score", "lift", "density", "q_value"],
}


def upgrade() -> None:
    for name, columns in INDEXES.items():
        op.create_index(name, "features", columns)


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(name, "features")
