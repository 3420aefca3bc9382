"""Delete partial evidence of ended jobs at once, and other data after its retention."""

from datetime import UTC, datetime, timedelta

from interp.config.settings import Settings
from interp.files.artifact_store import CORPORA, PARTIALS
from interp.store.db.engine import Engine, snapshot, transaction
from interp.store.queue import live, retention
from workers import artifact_paths, batches, exports, uploads

# A worker that has been silent for so many leases is removed; until then `glossator doctor` may report it.
SILENT_LEASES = 20


def clean_up(engine: Engine, settings: Settings) -> None:
    """Delete unused data: partial evidence, drafts, ended batches' files, and rows of dead workers."""
    clear_partials(engine, settings)
    uploads.clear_unused(engine, settings)
    batches.clear_ended(engine, settings)
    artifact_paths.store_of(settings).clear_drafts()
    with transaction(engine) as session:
        retention.delete_silent_workers(session, SILENT_LEASES * settings.lease_seconds)
        live.expire(session)


def clear_partials(engine: Engine, settings: Settings) -> int:
    """Delete partial evidence that no job will merge; return of how many jobs."""
    store, cleared = artifact_paths.store_of(settings), 0
    for job_id in store.names(PARTIALS):
        with snapshot(engine) as session:
            needed = retention.needs_partials(session, job_id)
        if not needed:
            store.delete(artifact_paths.partials(job_id))
            cleared += 1
    return cleared


def prune(engine: Engine, settings: Settings, dry_run: bool = False) -> dict[str, int]:
    """Delete what `retain_..._days` limits, and return counts per kind with a limit.

    With `dry_run` nothing is deleted, and the counts say what would be.
    """
    found: dict[str, int] = {}
    for name, rule in retention.RULES.items():
        days = getattr(settings, f"retain_{name}_days")
        if days is not None:
            found[name] = retention.prune(engine, rule, days, dry_run)
    if settings.retain_chunks_days is not None:
        found["chunks"] = retention.prune_chunks(engine, settings.retain_chunks_days, dry_run)
    if settings.retain_corpora_days is not None:
        found["corpora"] = _prune_corpora(engine, settings, settings.retain_corpora_days, dry_run)
    if settings.retain_exports_days is not None:
        found["exports"] = exports.clear_expired(engine, settings, dry_run)
    if settings.retain_uploads_days is not None or settings.retain_parts_days is not None:
        found["uploads"] = uploads.clear_expired(engine, settings, dry_run)
    return found


def _prune_corpora(engine: Engine, settings: Settings, days: float, dry_run: bool) -> int:
    with snapshot(engine) as session:
        in_use = retention.corpora_in_use(session)
    if in_use is None:
        return 0
    store, before = artifact_paths.store_of(settings), datetime.now(UTC) - timedelta(days=days)
    used = {digest: store.touched(artifact_paths.used(digest)) for digest in store.names(CORPORA) if digest not in in_use}
    old = [digest for digest, last in used.items() if last is None or last < before]
    if not dry_run:
        for digest in old:
            store.delete(artifact_paths.corpus(digest))
    return len(old)
