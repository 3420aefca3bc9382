"""Bring uploads to this machine, and clear away those that are gone."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from interp.config.settings import Settings
from interp.domain.errors import FileMissingError
from interp.files.artifact_store import UPLOADS
from interp.files.atomic import new_folder
from interp.observability import logs
from interp.store import uploads as stored
from interp.store.db.engine import Engine, snapshot, transaction
from workers import artifact_paths

log = logs.get_logger(__name__)

KEPT_SECONDS = 7 * 24 * 3600
# A younger object may be of an upload that is being received.
ORPHAN_AGE = timedelta(days=1)


def bring(engine: Engine, settings: Settings, upload_ids: Sequence[str], between: Callable[[], object] = lambda: None) -> None:
    """Put uploads into their local folders, unless they are there; `between` files may raise.

    Raises FileMissingError for one that is gone, ArtifactMissingError and DiskFullError.
    """
    for upload_id in upload_ids:
        folder = settings.uploads_folder / upload_id
        if folder.is_dir():
            os.utime(folder)
            continue
        with snapshot(engine) as session:
            found = stored.named(session, upload_id)
        if found is None:
            raise FileMissingError(
                f"The upload {upload_id} is gone.", why="It has expired or was deleted.", cure="Upload it again, and submit again."
            )
        store = artifact_paths.store_of(settings)
        with new_folder(folder) as draft:
            for file in found.files:
                target = draft / found.name / file.path if found.is_folder else draft / found.name
                target.parent.mkdir(parents=True, exist_ok=True)
                store.copy_to(artifact_paths.upload(file.object), target)
                between()
        clear_unused(engine, settings)


def clear_unused(engine: Engine, settings: Settings) -> None:
    """Delete local folders of uploads that are gone, or unread for a week."""
    with suppress(FileNotFoundError):
        folders = {path.name: path for path in settings.uploads_folder.iterdir() if not path.name.startswith(".")}
        if not folders:
            return
        with snapshot(engine) as session:
            going = stored.unknown_ids(session, list(folders))
        for name, path in folders.items():
            with suppress(FileNotFoundError):
                if name in going or time.time() - path.stat().st_mtime > KEPT_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)


def discard(settings: Settings, objects: Sequence[str]) -> None:
    """Delete objects that no upload has any more.

    Those of an unreachable store are deleted as orphans later.
    """
    store = artifact_paths.store_of(settings)
    try:
        for name in objects:
            store.delete(artifact_paths.upload(name))
    except Exception as error:  # each driver has its own errors, and what was to be stored or deleted is done
        log.warning("content of uploads could not be deleted, it is tried again within a day", why=str(error))


def clear_expired(engine: Engine, settings: Settings, dry_run: bool = False) -> int:
    """Delete expired uploads that no job needs, and objects without an upload.

    Returns how many uploads.
    """
    if dry_run:
        with snapshot(engine) as session:
            return stored.count_expired(session)
    with transaction(engine) as session:
        number, objects = stored.remove_expired(session)
    discard(settings, objects)
    _clear_orphans(engine, settings)
    return number


def _clear_orphans(engine: Engine, settings: Settings) -> None:
    store, before = artifact_paths.store_of(settings), datetime.now(UTC) - ORPHAN_AGE
    names = store.names(UPLOADS)
    for start in range(0, len(names), stored.MOST_AT_ONCE):
        with snapshot(engine) as session:
            unknown = stored.unknown_objects(session, names[start : start + stored.MOST_AT_ONCE])
        discard(settings, [name for name in sorted(unknown) if (made := store.touched(artifact_paths.upload(name))) is not None and made < before])
