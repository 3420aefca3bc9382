"""Sums of large tables: `stage_counts` for chunks, kept by triggers, and `llm_totals` for calls.

With triggers no change of a chunk can go uncounted. A chunk that goes from ready to leased or back changes no sum, so that a claim never waits for
the counts of another one. All other changes are made under the lock of the job's row, and so are those of its sums.
"""

import sqlalchemy as sa
from alembic import op

TIME = sa.DateTime(timezone=True)
OPEN = "('waiting', 'ready', 'leased')"
ENDS = ("done", "failed", "cancelled")
SUMS = ("open", "waiting", *ENDS, "units")
# What adds a row of counts to those that are there.
ADDED = ", ".join(f"{name} = stage_counts.{name} + excluded.{name}" for name in SUMS)
KNOWN = "released_at = coalesce(stage_counts.released_at, excluded.released_at)"
COLUMNS = f"job_id, stage, queue, {', '.join(SUMS)}, released_at"


def upgrade() -> None:
    _tables()
    make()
    op.execute(f"INSERT INTO stage_counts ({COLUMNS}) {_counted('chunks', 'min(created_at)')}")
    op.execute(
        "INSERT INTO llm_totals (model, status, slot, calls, attempts, prompt_tokens, completion_tokens, usd, unpriced) "
        "SELECT model, status, 0, count(*), sum(attempts), sum(prompt_tokens), sum(completion_tokens), "
        "cast(coalesce(sum(cost_usd), 0) * 1000000000000 AS bigint), sum(CASE WHEN cost_usd IS NULL THEN 1 ELSE 0 END) "
        "FROM llm_calls GROUP BY model, status"
    )


def make() -> None:
    """Create the triggers and their functions."""
    if is_postgresql():
        _postgresql()
    else:
        _sqlite()


def drop() -> None:
    """Drop the triggers and their functions."""
    for name in ("count_added_chunks", "count_moved_chunks"):
        op.execute(f"DROP TRIGGER {name}" + (" ON chunks" if is_postgresql() else ""))
    if is_postgresql():
        op.execute("DROP FUNCTION count_added_chunks, count_moved_chunks")


def is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def create_triggers() -> None:
    """Create PostgreSQL's triggers of the two functions: once per statement, however many chunks it changes."""
    op.execute(
        "CREATE TRIGGER count_added_chunks AFTER INSERT ON chunks REFERENCING NEW TABLE AS added "
        "FOR EACH STATEMENT EXECUTE FUNCTION count_added_chunks()"
    )
    op.execute(
        "CREATE TRIGGER count_moved_chunks AFTER UPDATE ON chunks REFERENCING OLD TABLE AS moved_was NEW TABLE AS moved_now "
        "FOR EACH STATEMENT EXECUTE FUNCTION count_moved_chunks()"
    )


def downgrade() -> None:
    drop()
    for table in ("llm_totals", "stage_counts"):
        op.drop_table(table)


def _tables() -> None:
    op.create_table(
        "stage_counts",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("queue", sa.String(length=16), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in SUMS),
        sa.Column("released_at", TIME),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "stage"),
    )
    op.create_table(
        "llm_totals",
        sa.Column("model", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("calls", "attempts", "prompt_tokens", "completion_tokens", "usd", "unpriced")
        ),
        sa.PrimaryKeyConstraint("model", "status", "slot"),
    )


def _counted(chunks: str, released_at: str) -> str:
    """Counts of rows of chunks, a row a stage."""

    def number_of(condition: str, value: str = "1") -> str:
        return f"coalesce(sum(CASE WHEN {condition} THEN {value} END), 0)"

    sums = [number_of(f"status IN {OPEN}"), number_of("status = 'waiting'"), *(number_of(f"status = '{end}'") for end in ENDS)]
    sums.append(number_of("status = 'done'", "units_total"))
    is_released = number_of("status <> 'waiting'") + " > 0"
    counted = f"SELECT job_id, stage, min(queue), {', '.join(sums)}, CASE WHEN {is_released} THEN {released_at} END FROM {chunks}"
    return f"{counted} GROUP BY job_id, stage ORDER BY job_id, stage"


def _postgresql() -> None:
    op.execute(
        "CREATE FUNCTION count_added_chunks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"INSERT INTO stage_counts ({COLUMNS}) {_counted('added', 'clock_timestamp()')} "
        f"ON CONFLICT (job_id, stage) DO UPDATE SET {ADDED}, {KNOWN}; "
        "RETURN NULL; END $$"
    )
    ends = ", ".join(f"count(*) FILTER (WHERE now.status = '{end}') AS {end}" for end in ENDS)
    sums = ", ".join(f"{name} = counts.{name} + moved.{name}" for name in SUMS)
    op.execute(
        "CREATE FUNCTION count_moved_chunks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"UPDATE stage_counts AS counts SET {sums}, "
        "released_at = CASE WHEN moved.reopened OR (moved.readied AND counts.released_at IS NULL) THEN clock_timestamp() ELSE counts.released_at END "
        f"FROM (SELECT now.job_id, now.stage, sum((now.status IN {OPEN})::int - (was.status IN {OPEN})::int) AS open, "
        f"sum((now.status = 'waiting')::int - (was.status = 'waiting')::int) AS waiting, {ends}, "
        "coalesce(sum(now.units_total) FILTER (WHERE now.status = 'done'), 0) AS units, "
        f"bool_or(now.status = 'ready') AS readied, bool_or(now.status = 'ready' AND was.status NOT IN {OPEN}) AS reopened "
        "FROM moved_now AS now JOIN moved_was AS was USING (id) "
        "WHERE now.status <> was.status AND NOT (now.status IN ('ready', 'leased') AND was.status IN ('ready', 'leased')) "
        "GROUP BY now.job_id, now.stage) AS moved "
        "WHERE counts.job_id = moved.job_id AND counts.stage = moved.stage; "
        "RETURN NULL; END $$"
    )
    create_triggers()


def _sqlite() -> None:
    """Row by row: no other transaction writes meanwhile."""
    # As SQLAlchemy writes a time: six digits of a second.
    moment = "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'"
    ends = ", ".join(f"NEW.status = '{end}'" for end in ENDS)
    op.execute(
        "CREATE TRIGGER count_added_chunks AFTER INSERT ON chunks BEGIN "
        f"INSERT INTO stage_counts ({COLUMNS}) VALUES (NEW.job_id, NEW.stage, NEW.queue, NEW.status IN {OPEN}, NEW.status = 'waiting', {ends}, "
        f"CASE WHEN NEW.status = 'done' THEN NEW.units_total ELSE 0 END, CASE WHEN NEW.status <> 'waiting' THEN {moment} END) "
        f"ON CONFLICT (job_id, stage) DO UPDATE SET {ADDED}, {KNOWN}; END"
    )
    moved = ", ".join(f"{end} = {end} + (NEW.status = '{end}')" for end in ENDS)
    op.execute(
        "CREATE TRIGGER count_moved_chunks AFTER UPDATE OF status ON chunks "
        "WHEN NEW.status <> OLD.status AND NOT (NEW.status IN ('ready', 'leased') AND OLD.status IN ('ready', 'leased')) BEGIN "
        f"UPDATE stage_counts SET open = open + (NEW.status IN {OPEN}) - (OLD.status IN {OPEN}), "
        f"waiting = waiting + (NEW.status = 'waiting') - (OLD.status = 'waiting'), {moved}, "
        "units = units + CASE WHEN NEW.status = 'done' THEN NEW.units_total ELSE 0 END, "
        f"released_at = CASE WHEN NEW.status = 'ready' AND (released_at IS NULL OR OLD.status NOT IN {OPEN}) THEN {moment} ELSE released_at END "
        "WHERE job_id = NEW.job_id AND stage = NEW.stage; END"
    )
