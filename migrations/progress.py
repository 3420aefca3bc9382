"""The triggers on chunks, second version: they keep what `counts.py` counts and what the progress of a job is made of.

Ended chunks are counted for good there (a counter never falls); here a chunk that is opened again is taken back. `started_at` is the first start of
a chunk that has ended. A leased chunk's start and units change no sum, so that neither a claim nor a heartbeat waits: reads of progress add them.
"""

from alembic import op

from migrations.counts import ADDED, ENDS, KNOWN, OPEN, SUMS, create_triggers, is_postgresql
from migrations.counts import drop as drop

ENDED = "('done', 'failed', 'cancelled')"
NOW = ("chunks", "done_now", "failed_now", "units_total", "units_now")
MOMENTS = ("started_at", "finished_at")
COLUMNS = f"job_id, stage, queue, {', '.join(SUMS)}, released_at, {', '.join((*NOW, *MOMENTS))}"


def make() -> None:
    """Create the triggers and their functions, in the place of those that were dropped."""
    if is_postgresql():
        _postgresql()
    else:
        _sqlite()


def recount() -> None:
    """Fill the columns from the chunks that are there."""
    counted = {
        "chunks": "count(*)",
        "done_now": "sum(CASE WHEN status = 'done' THEN 1 ELSE 0 END)",
        "failed_now": "sum(CASE WHEN status = 'failed' THEN 1 ELSE 0 END)",
        "units_total": "sum(units_total)",
        "units_now": f"sum(CASE WHEN status IN {ENDED} THEN units_done ELSE 0 END)",
        "started_at": f"min(CASE WHEN status IN {ENDED} THEN started_at END)",
        "finished_at": f"max(CASE WHEN status IN {ENDED} THEN finished_at END)",
    }
    columns = ", ".join(f"{value} AS {name}" for name, value in counted.items())
    op.execute(
        f"UPDATE stage_counts SET {', '.join(f'{name} = found.{name}' for name in counted)} "
        f"FROM (SELECT job_id, stage, {columns} FROM chunks GROUP BY job_id, stage) AS found "
        "WHERE found.job_id = stage_counts.job_id AND found.stage = stage_counts.stage"
    )


# What adds a row of new chunks to those that are there. Chunks are new when they are open: none has ended.
JOINED = f"{ADDED}, {KNOWN}, chunks = stage_counts.chunks + excluded.chunks, units_total = stage_counts.units_total + excluded.units_total"


def _postgresql() -> None:
    ends = ", ".join(f"count(*) FILTER (WHERE status = '{end}')" for end in ENDS)
    is_released = "CASE WHEN bool_or(status <> 'waiting') THEN clock_timestamp() END"
    op.execute(
        "CREATE FUNCTION count_added_chunks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"INSERT INTO stage_counts ({COLUMNS}) SELECT job_id, stage, min(queue), count(*) FILTER (WHERE status IN {OPEN}), "
        f"count(*) FILTER (WHERE status = 'waiting'), {ends}, coalesce(sum(units_total) FILTER (WHERE status = 'done'), 0), {is_released}, "
        "count(*), count(*) FILTER (WHERE status = 'done'), count(*) FILTER (WHERE status = 'failed'), sum(units_total), "
        f"coalesce(sum(units_done) FILTER (WHERE status IN {ENDED}), 0), NULL, NULL "
        f"FROM added GROUP BY job_id, stage ORDER BY job_id, stage ON CONFLICT (job_id, stage) DO UPDATE SET {JOINED}; "
        "RETURN NULL; END $$"
    )
    cumulated = (*SUMS, "done_now", "failed_now", "units_now")
    sums = ", ".join(f"{name} = counts.{name} + moved.{name}" for name in cumulated)
    ends = ", ".join(f"count(*) FILTER (WHERE now.status = '{end}') AS {end}" for end in ENDS)
    now = ", ".join(f"sum((now.status = '{end}')::int - (was.status = '{end}')::int) AS {end}_now" for end in ENDS[:2])
    op.execute(
        "CREATE FUNCTION count_moved_chunks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"UPDATE stage_counts AS counts SET {sums}, started_at = least(counts.started_at, moved.started_at), "
        "finished_at = greatest(counts.finished_at, moved.finished_at), "
        "released_at = CASE WHEN moved.reopened OR (moved.readied AND counts.released_at IS NULL) THEN clock_timestamp() ELSE counts.released_at END "
        f"FROM (SELECT now.job_id, now.stage, sum((now.status IN {OPEN})::int - (was.status IN {OPEN})::int) AS open, "
        f"sum((now.status = 'waiting')::int - (was.status = 'waiting')::int) AS waiting, {ends}, {now}, "
        "coalesce(sum(now.units_total) FILTER (WHERE now.status = 'done'), 0) AS units, "
        f"coalesce(sum(now.units_done) FILTER (WHERE now.status IN {ENDED}), 0) - "
        f"coalesce(sum(was.units_done) FILTER (WHERE was.status IN {ENDED}), 0) AS units_now, "
        f"min(now.started_at) FILTER (WHERE now.status IN {ENDED}) AS started_at, "
        f"max(now.finished_at) FILTER (WHERE now.status IN {ENDED}) AS finished_at, "
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
    # As SQLAlchemy writes a time: six digits of a second. Texts of one length, so that the least is the first.
    moment = "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'"
    ends = ", ".join(f"NEW.status = '{end}'" for end in ENDS)
    op.execute(
        "CREATE TRIGGER count_added_chunks AFTER INSERT ON chunks BEGIN "
        f"INSERT INTO stage_counts ({COLUMNS}) VALUES (NEW.job_id, NEW.stage, NEW.queue, NEW.status IN {OPEN}, NEW.status = 'waiting', {ends}, "
        f"CASE WHEN NEW.status = 'done' THEN NEW.units_total ELSE 0 END, CASE WHEN NEW.status <> 'waiting' THEN {moment} END, "
        "1, NEW.status = 'done', NEW.status = 'failed', NEW.units_total, "
        f"CASE WHEN NEW.status IN {ENDED} THEN NEW.units_done ELSE 0 END, NULL, NULL) "
        f"ON CONFLICT (job_id, stage) DO UPDATE SET {JOINED}; END"
    )
    moved = ", ".join(f"{end} = {end} + (NEW.status = '{end}')" for end in ENDS)
    now = ", ".join(f"{end}_now = {end}_now + (NEW.status = '{end}') - (OLD.status = '{end}')" for end in ENDS[:2])
    op.execute(
        "CREATE TRIGGER count_moved_chunks AFTER UPDATE OF status ON chunks "
        "WHEN NEW.status <> OLD.status AND NOT (NEW.status IN ('ready', 'leased') AND OLD.status IN ('ready', 'leased')) BEGIN "
        f"UPDATE stage_counts SET open = open + (NEW.status IN {OPEN}) - (OLD.status IN {OPEN}), "
        f"waiting = waiting + (NEW.status = 'waiting') - (OLD.status = 'waiting'), {moved}, {now}, "
        "units = units + CASE WHEN NEW.status = 'done' THEN NEW.units_total ELSE 0 END, "
        f"units_now = units_now + CASE WHEN NEW.status IN {ENDED} THEN NEW.units_done ELSE 0 END "
        f"- CASE WHEN OLD.status IN {ENDED} THEN OLD.units_done ELSE 0 END, "
        f"started_at = {_first('min', 'started_at')}, finished_at = {_first('max', 'finished_at')}, "
        f"released_at = CASE WHEN NEW.status = 'ready' AND (released_at IS NULL OR OLD.status NOT IN {OPEN}) THEN {moment} ELSE released_at END "
        "WHERE job_id = NEW.job_id AND stage = NEW.stage; END"
    )


def _first(which: str, name: str) -> str:
    """SQLite's min and max of two values give NULL where one of them is."""
    return f"CASE WHEN NEW.status IN {ENDED} THEN {which}(coalesce({name}, NEW.{name}), coalesce(NEW.{name}, {name})) ELSE {name} END"
