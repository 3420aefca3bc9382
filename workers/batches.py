"""Clear away the files of batches that no worker will read."""

from datetime import UTC, datetime, timedelta

from interp.config.settings import Settings
from interp.files.artifact_store import BATCHES
from interp.store.db.engine import Engine, snapshot
from interp.store.llm import batches
from workers import artifact_paths

# A younger file may be of a batch that is being recorded.
ORPHAN_AGE = timedelta(days=1)
AT_ONCE = 1000


def clear_ended(engine: Engine, settings: Settings) -> int:
    """Delete files of ended batches, and of unrecorded ones after a day; return how many."""
    store, before, cleared = artifact_paths.store_of(settings), datetime.now(UTC) - ORPHAN_AGE, 0
    names = store.names(BATCHES)
    for start in range(0, len(names), AT_ONCE):
        ids = {name: name.partition(".")[0] for name in names[start : start + AT_ONCE]}
        with snapshot(engine) as session:
            needed = batches.needed(session, set(ids.values()))
        for name, batch_id in ids.items():
            path = f"{BATCHES}/{name}"
            is_orphan = batch_id not in needed and (written := store.touched(path)) is not None and written < before
            if is_orphan or needed.get(batch_id) is False:
                store.delete(path)
                cleared += 1
    return cleared
