"""The triggers on chunks, second version: they keep what `counts.py` counts and what the progress of a job is made of.

Ended chunks are counted for good there (a counter never falls); here a chunk that is opened again is taken back. `started_at` is the first start of
a chunk that has ended. A leased chunk's start and units change no sum, so that neither a claim nor a heartbeat waits: reads of progress add them.
"""

from alembic import op

from migrations import counts
from migrations.counts import drop as drop

NOW = {
    "chunks": "1",
    "done_now": counts.ENDS["done"],
    "failed_now": counts.ENDS["failed"],
    "units_total": "chunk.units_total",
    "units_now": f"CASE WHEN chunk.status IN {counts.OPEN} THEN 0 ELSE chunk.units_done END",
}
MOMENTS = {"started_at": "<", "finished_at": ">"}


def make() -> None:
    """Create the triggers and their functions, in the place of those that were dropped."""
    counts.make(counts.SUMS | NOW, MOMENTS)


def recount() -> None:
    """Fill the columns from the chunks that are there."""
    counted = {name: f"sum({value})" for name, value in NOW.items()}
    for name, which in (("started_at", "min"), ("finished_at", "max")):
        counted[name] = f"{which}(CASE WHEN chunk.status NOT IN {counts.OPEN} THEN chunk.{name} END)"
    columns = ", ".join(f"{value} AS {name}" for name, value in counted.items())
    op.execute(
        f"UPDATE stage_counts SET {', '.join(f'{name} = found.{name}' for name in counted)} "
        f"FROM (SELECT job_id, stage, {columns} FROM chunks AS chunk GROUP BY job_id, stage) AS found "
        "WHERE found.job_id = stage_counts.job_id AND found.stage = stage_counts.stage"
    )
