"""Alembic's entry: runs on the connection that `interp.store.migrate` opened."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from interp.store.db.tables import Base, UtcTime


def render(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:  # noqa: ARG001
    """Types of ours are written into a revision as the plain types they stand for: revisions never import the project."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=render,
    compare_type=True,
)
context.run_migrations()
