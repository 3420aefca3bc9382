"""Sort features by every figure: listings hold p value and explainer, too."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0032"
down_revision = "0031"

FILTERED = ["state", "score", "lift", "density", "q_value"]
SORTS = ("p_value", "explainer", "tokens_active", "mean_active", "firing_level")
# The figures that a listed score was chosen by. Scores with the same ones are of the same questions.
SAME = (("value", "score"), ("lift", "lift"), ("q_value", "q_value"), ("shrunken_value", "shrunken_score"))


def upgrade() -> None:
    op.add_column("features", sa.Column("p_value", sa.Float(), nullable=True))
    op.add_column("features", sa.Column("explainer", sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql"), nullable=True))
    _fill()
    for name in SORTS:
        op.create_index(f"ix_features_{name}", "features", ["run_id", name, "feature", *FILTERED])


def downgrade() -> None:
    for name in SORTS:
        op.drop_index(f"ix_features_{name}", "features")
    op.drop_column("features", "explainer")
    op.drop_column("features", "p_value")


def _fill() -> None:
    """Write what the listed explanations and scores say."""
    features = sa.table("features", *(sa.column(name) for name in ("explanation_id", "scorer", "explainer", "p_value", *(own for _, own in SAME))))
    explanations = sa.table("explanations", sa.column("id"), sa.column("explainer"))
    scores = sa.table("scores", *(sa.column(name) for name in ("id", "explanation_id", "scorer", "p_value", *(name for name, _ in SAME))))
    explainer = sa.select(explanations.c.explainer).where(explanations.c.id == features.c.explanation_id)
    same = [scores.c[name].is_not_distinct_from(features.c[own]) for name, own in SAME]
    listed = (scores.c.explanation_id == features.c.explanation_id, scores.c.scorer == features.c.scorer, *same)
    p_value = sa.select(scores.c.p_value).where(*listed).order_by(scores.c.id).limit(1)
    values = {"explainer": explainer.scalar_subquery(), "p_value": p_value.scalar_subquery()}
    op.execute(sa.update(features).where(features.c.explanation_id.is_not(None)).values(values))
