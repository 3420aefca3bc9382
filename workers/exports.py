"""Make the exports that clients asked for, and clear away expired ones."""

import hashlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from interp.config.settings import Settings
from interp.domain.errors import GlossatorError, problem_of
from interp.exchange import export
from interp.exchange.formats.base import segment
from interp.exchange.request import ExportRequest, plan_of
from interp.files.artifact_store import EXPORTS
from interp.files.atomic import writing
from interp.store import exports
from interp.store.db.engine import Engine, snapshot, transaction
from interp.store.exports import MOST_ATTEMPTS, ExportLease, MadeFile
from workers import artifact_paths

log = logging.getLogger(__name__)

BLOCK = 1 << 20


class ExportStoppedError(Exception):
    """The process stops, or the export was deleted or is another's."""


def make_due(engine: Engine, settings: Settings, is_stopping: Callable[[], bool] = lambda: False) -> int:
    """Make every export that waits; return how many; raises the database's errors."""
    made = 0
    while not is_stopping():
        with transaction(engine) as session:
            lease = exports.claim(session, settings.lease_seconds)
        if lease is None:
            return made
        _make(engine, settings, lease, is_stopping)
        made += 1
    return made


def _make(engine: Engine, settings: Settings, lease: ExportLease, is_stopping: Callable[[], bool]) -> None:
    store, name = artifact_paths.store_of(settings), artifact_paths.export(lease.id)
    try:
        with snapshot(engine) as session:
            if exports.attempts(session, lease) > MOST_ATTEMPTS:
                raise GlossatorError("The export was begun too often.", why="Each process that made it was lost.", cure="Export fewer features.")
            plan = plan_of(session, ExportRequest.model_validate(lease.request))
        kept = _Kept(engine, settings, lease, is_stopping)
        found: dict[str, Any] = {}

        def write(draft: Path) -> None:
            with writing(draft) as file:
                found["manifest"] = export.to_stream(plan, engine, file, kept)
            found["file"] = _file_of(draft, plan)

        store.put(name, write)
        with transaction(engine) as session:
            done = found["manifest"]["counts"]["features"]
            is_kept = exports.complete(session, lease, found["file"], found["manifest"], done, settings.retain_exports_days)
        if not is_kept:
            _discard_unknown(engine, settings, lease.id)
    except ExportStoppedError:
        with transaction(engine) as session:
            exports.give_back(session, lease)
    except GlossatorError as error:
        with transaction(engine) as session:
            exports.fail(session, lease, problem_of(error), settings.retain_exports_days)


def _file_of(draft: Path, plan: export.ExportPlan) -> MadeFile:
    digest = hashlib.sha256()
    with draft.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    facts = plan.format.facts
    return MadeFile(f"{segment(plan.source.run)}-{facts.name}{facts.suffix or '.zip'}", facts.media_type, draft.stat().st_size, digest.hexdigest())


class _Kept:
    """Renews the lease of an export as features are done; raises ExportStoppedError without it."""

    def __init__(self, engine: Engine, settings: Settings, lease: ExportLease, is_stopping: Callable[[], bool]) -> None:
        self._engine, self._lease, self._is_stopping = engine, lease, is_stopping
        self._seconds, self._every = settings.lease_seconds, settings.lease_seconds / 4
        self._renewed = time.monotonic()

    def __call__(self, done: int) -> None:
        if self._is_stopping():
            raise ExportStoppedError
        if time.monotonic() - self._renewed >= self._every:
            with transaction(self._engine) as session:
                if not exports.renew(session, self._lease, done, self._seconds):
                    raise ExportStoppedError
            self._renewed = time.monotonic()


def discard(settings: Settings, export_id: str) -> None:
    """Delete the file of an export, if any."""
    artifact_paths.store_of(settings).delete(artifact_paths.export(export_id))


def clear_expired(engine: Engine, settings: Settings, dry_run: bool = False) -> int:
    """Delete expired exports with their files, and files without an export; return how many exports."""
    count = 0
    while True:
        with snapshot(engine) as session:
            ids = exports.expired(session)
        if dry_run or not ids:
            count += len(ids)
            break
        for export_id in ids:
            discard(settings, export_id)
        with transaction(engine) as session:
            exports.forget(session, ids)
        count += len(ids)
    if not dry_run:
        _discard_unknown(engine, settings, *artifact_paths.store_of(settings).names(EXPORTS))
    return count


def _discard_unknown(engine: Engine, settings: Settings, *ids: str) -> None:
    for start in range(0, len(ids), 1000):
        with snapshot(engine) as session:
            going = exports.unknown(session, list(ids[start : start + 1000]))
        for export_id in sorted(going):
            discard(settings, export_id)
