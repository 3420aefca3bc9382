"""Copy an embedded service into a folder that is a home of its own.

The service may run. The database comes first: what its rows name was in the artifact store before they were written, and is not changed since. An
artifact that is removed while the others are copied was needed no more; a job of the copy that still reads it collects it again
(`POST /v1/jobs/ID/retry`).
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from interp.config.settings import Settings
from interp.domain.errors import InputError
from interp.files.artifact_store import LOCAL
from interp.files.atomic import new_folder
from interp.store.db.engine import make_engine, make_url

DATABASE, ARTIFACTS = "glossator.db", "artifacts"


@dataclass(frozen=True, slots=True)
class Copied:
    """The bytes of a backup's database, and files and bytes of its artifacts."""

    database_bytes: int
    files: int
    file_bytes: int


def back_up(settings: Settings, target: Path, progress: Callable[[int, int], object] = lambda _done, _total: None) -> Copied:
    """Copy a service on SQLite and a local artifact store into a new folder.

    `progress` gets the bytes of artifacts copied and in all. Raises InputError for an existing folder or another kind of database or store, and
    DiskFullError; nothing remains then.
    """
    if not settings.database_url.startswith("sqlite") or not settings.artifacts_url.startswith(LOCAL):
        raise InputError(
            "This service is not in one folder.",
            why="Its database is a server's, or its artifacts are in a bucket.",
            cure="Run pg_dump first, and copy the artifact store after it: docs/operate.md.",
        )
    if os.path.lexists(target):
        raise InputError(f"{target} exists.", why="A backup is a new folder.", cure="Name another.")
    with new_folder(target) as draft:
        draft.chmod(0o700)
        size = _copy_database(settings.database_url, draft / DATABASE)
        files, nbytes = _copy_artifacts(Path(settings.artifacts_url.removeprefix(LOCAL)), draft / ARTIFACTS, progress)
    return Copied(size, files, nbytes)


def _copy_database(url: str, target: Path) -> int:
    """Copy one state of the database by SQLite's online backup, which no writer waits for."""
    path = Path(str(make_url(url).database))
    if not path.is_file():
        raise InputError(f"There is no database at {path}.", cure="Set GLOSSATOR_HOME or GLOSSATOR_DATABASE_URL to those of the service.")
    # Its settings of connections are not needed here, and its faults are told as elsewhere.
    engine = make_engine(url)
    connection = engine.raw_connection()
    try:
        with closing(sqlite3.connect(target)) as copy:
            # At once: a copy in steps begins anew whenever another process writes.
            connection.driver_connection.backup(copy, pages=-1)  # type: ignore[union-attr]  # sqlite3's
    finally:
        connection.close()
        engine.dispose()
    return target.stat().st_size


def _copy_artifacts(root: Path, target: Path, progress: Callable[[int, int], object]) -> tuple[int, int]:
    found = list(_files(root))
    total, done, count = sum(size for _, size in found), 0, 0
    target.mkdir()
    for path, size in found:
        place = target / path.relative_to(root)
        place.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # a job has merged it since
            shutil.copy2(path, place)
            done, count = done + size, count + 1
        progress(done, total)
    return count, done


def _files(root: Path) -> Iterator[tuple[Path, int]]:
    """Yield the store's files and sizes, without drafts."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            with suppress(FileNotFoundError):
                if not name.startswith("."):
                    path = Path(folder) / name
                    yield path, path.stat().st_size
