"""Sums of large tables: `stage_counts` for chunks, kept by triggers, and `llm_totals` for calls.

With triggers no change of a chunk can go uncounted. A chunk that goes from ready to leased or back changes no sum, so that a claim never waits for
the counts of another one. All other changes are made under the lock of the job's row, and so are those of its sums.
"""

from collections.abc import Mapping

import sqlalchemy as sa
from alembic import op

TIME = sa.DateTime(timezone=True)
OPEN = "('waiting', 'ready', 'leased')"
# What one chunk adds to a sum. A chunk that changes takes back what it added before, except for ends, which are counted for good.
SUMS = {
    "open": f"CASE WHEN chunk.status IN {OPEN} THEN 1 ELSE 0 END",
    "waiting": "CASE WHEN chunk.status = 'waiting' THEN 1 ELSE 0 END",
}
ENDS = {
    "done": "CASE WHEN chunk.status = 'done' THEN 1 ELSE 0 END",
    "failed": "CASE WHEN chunk.status = 'failed' THEN 1 ELSE 0 END",
    "cancelled": "CASE WHEN chunk.status = 'cancelled' THEN 1 ELSE 0 END",
    "units": "CASE WHEN chunk.status = 'done' THEN chunk.units_total ELSE 0 END",
}


def upgrade() -> None:
    _tables()
    make()
    op.execute(insertion("chunks AS now", SUMS, "min(now.created_at)"))
    op.execute(
        "INSERT INTO llm_totals (model, status, slot, calls, attempts, prompt_tokens, completion_tokens, usd, unpriced) "
        "SELECT model, status, 0, count(*), sum(attempts), sum(prompt_tokens), sum(completion_tokens), "
        "cast(coalesce(sum(cost_usd), 0) * 1000000000000 AS bigint), sum(CASE WHEN cost_usd IS NULL THEN 1 ELSE 0 END) "
        "FROM llm_calls GROUP BY model, status"
    )


def make(sums: Mapping[str, str] = SUMS, moments: Mapping[str, str] | None = None) -> None:
    """Create the triggers (and PostgreSQL's functions) that keep these sums, `ENDS`, and the first (`<`) or last (`>`) of these moments."""
    sums_and_ends = ", ".join(f"{name} = stage_counts.{name} + excluded.{name}" for name in (*sums, *ENDS))
    joined = f"{sums_and_ends}, released_at = coalesce(stage_counts.released_at, excluded.released_at)"
    if op.get_bind().dialect.name == "postgresql":
        moment, added, moved = "clock_timestamp()", "added AS now", "moved_now AS now JOIN moved_was AS was USING (id)"
        change = "UPDATE"
        # Once per statement, however many chunks it changes.
        trigger = (
            "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NULL; END $$; "
            "CREATE TRIGGER {name} AFTER {event} ON chunks REFERENCING {tables} FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
        )
    else:
        # As SQLAlchemy writes a time: six digits of a second. Texts of one length, so that the least is the first.
        moment = "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'"
        was = "(SELECT OLD.id AS id, OLD.status AS status, OLD.units_total AS units_total, OLD.units_done AS units_done)"
        added, moved = "chunks AS now WHERE now.id = NEW.id", f"chunks AS now JOIN {was} AS was ON was.id = now.id AND now.id = NEW.id"
        # Row by row: no other transaction writes meanwhile.
        trigger, change = "CREATE TRIGGER {name} AFTER {event} ON chunks BEGIN {body}; END", "UPDATE OF status"
    insert = f"{insertion(added, sums, moment)} ON CONFLICT (job_id, stage) DO UPDATE SET {joined}"
    old_and_new = "OLD TABLE AS moved_was NEW TABLE AS moved_now"
    op.execute(trigger.format(name="count_added_chunks", event="INSERT", tables="NEW TABLE AS added", body=insert))
    op.execute(trigger.format(name="count_moved_chunks", event=change, tables=old_and_new, body=_change(moved, sums, moments or {}, moment)))


def drop() -> None:
    """Drop the triggers and their functions."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    for name in ("count_added_chunks", "count_moved_chunks"):
        op.execute(f"DROP TRIGGER {name}" + (" ON chunks" if is_postgresql else ""))
    if is_postgresql:
        op.execute("DROP FUNCTION count_added_chunks, count_moved_chunks")


def downgrade() -> None:
    drop()
    for table in ("llm_totals", "stage_counts"):
        op.drop_table(table)


def insertion(chunks: str, sums: Mapping[str, str], released_at: str) -> str:
    """Return the INSERT of the sums of some chunks, a row a stage."""
    columns = {name: f"sum({value.replace('chunk.', 'now.')})" for name, value in {**sums, **ENDS}.items()}
    columns["released_at"] = f"CASE WHEN sum(CASE WHEN now.status = 'waiting' THEN 0 ELSE 1 END) > 0 THEN {released_at} END"
    return (
        f"INSERT INTO stage_counts (job_id, stage, queue, {', '.join(columns)}) "
        f"SELECT now.job_id, now.stage, min(now.queue), {', '.join(columns.values())} FROM {chunks} "
        "GROUP BY now.job_id, now.stage ORDER BY now.job_id, now.stage"
    )


def _change(chunks: str, sums: Mapping[str, str], moments: Mapping[str, str], moment: str) -> str:
    """Return the UPDATE of the sums by chunks as they are `now` and as each `was`."""
    columns = {name: f"sum({value.replace('chunk.', 'now.')} - {value.replace('chunk.', 'was.')})" for name, value in sums.items()}
    columns |= {name: f"sum({value.replace('chunk.', 'now.')})" for name, value in ENDS.items()}
    values = {name: f"stage_counts.{name} + moved.{name}" for name in columns}
    for name, order in moments.items():
        columns[name] = f"{'min' if order == '<' else 'max'}(CASE WHEN now.status NOT IN {OPEN} THEN now.{name} END)"
        kept = f"stage_counts.{name} {order} moved.{name}"
        values[name] = f"CASE WHEN {kept} THEN stage_counts.{name} ELSE coalesce(moved.{name}, stage_counts.{name}) END"
    columns["readied"] = "sum(CASE WHEN now.status = 'ready' THEN 1 ELSE 0 END)"
    columns["reopened"] = f"sum(CASE WHEN now.status = 'ready' AND was.status NOT IN {OPEN} THEN 1 ELSE 0 END)"
    is_released = "moved.reopened > 0 OR (moved.readied > 0 AND stage_counts.released_at IS NULL)"
    values["released_at"] = f"CASE WHEN {is_released} THEN {moment} ELSE stage_counts.released_at END"
    return (
        f"UPDATE stage_counts SET {', '.join(f'{name} = {value}' for name, value in values.items())} "
        f"FROM (SELECT now.job_id, now.stage, {', '.join(f'{value} AS {name}' for name, value in columns.items())} FROM {chunks} "
        "WHERE now.status <> was.status AND NOT (now.status IN ('ready', 'leased') AND was.status IN ('ready', 'leased')) "
        "GROUP BY now.job_id, now.stage) AS moved WHERE stage_counts.job_id = moved.job_id AND stage_counts.stage = moved.stage"
    )


def _tables() -> None:
    op.create_table(
        "stage_counts",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("queue", sa.String(length=16), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in (*SUMS, *ENDS)),
        sa.Column("released_at", TIME),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "stage"),
    )
    sums = ("calls", "attempts", "prompt_tokens", "completion_tokens", "usd", "unpriced")
    op.create_table(
        "llm_totals",
        sa.Column("model", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in sums),
        sa.PrimaryKeyConstraint("model", "status", "slot"),
    )
