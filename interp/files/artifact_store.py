"""Store of files that stages of a job exchange, in a folder or a bucket."""

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

from interp.domain.errors import ArtifactMissingError, ArtifactsUnreachableError, DiskFullError
from interp.files.atomic import clear_drafts, disk_full, new_file, new_folder, sync, writing

CORPORA, PARTIALS, UPLOADS, EXPORTS, BATCHES = "corpora", "partials", "uploads", "exports", "batches"
LOCAL = "file://"
FOLDERS_CACHED = 4
# Marker of a complete folder in a bucket, written last, since a bucket has no rename.
WHOLE = ".whole"
# Sent to a bucket at once, of a file whose size is not known; a bucket takes ten thousand parts.
PART_BYTES = 32 << 20


@dataclass(frozen=True)
class Store:
    """Immutable files and folders by names with `/` between parts, under one root.

    `root` is a path of the file system `files`. `cache` is a local folder, for drafts and copies of folders where `files` is remote.
    """

    files: Any
    root: str
    cache: Path
    is_local: bool

    @classmethod
    def of(cls, url: str, options: dict[str, Any], cache: Path) -> "Store":
        """Open the store at an fsspec URL; raises ArtifactsUnreachableError without its driver."""
        if url.startswith(LOCAL):
            return cls(fsspec.filesystem("file", auto_mkdir=True), url.removeprefix(LOCAL).rstrip("/"), cache, is_local=True)
        try:
            # Other workers write here, which a cached listing would not show.
            files, root = fsspec.core.url_to_fs(url, use_listings_cache=False, **options)
        except (ImportError, ValueError) as cause:
            raise ArtifactsUnreachableError(
                f"The artifact store {url} cannot be opened.",
                why=str(cause),
                cure="Install what reads it (for s3://: pip install 'glossator[s3]'), or set GLOSSATOR_ARTIFACTS_URL to a folder.",
            ) from cause
        return cls(files, root.rstrip("/"), cache, is_local=False)

    @classmethod
    def in_folder(cls, folder: Path) -> "Store":
        """Open the store in a local folder."""
        return cls.of(f"{LOCAL}{folder.resolve()}", {}, folder / "cache")

    def put(self, name: str, write: Callable[[Path], None]) -> None:
        """Store atomically, under `name`, the file that `write` makes; raises DiskFullError."""
        self._tidy_cache()
        with new_file(Path(self._path(name)) if self.is_local else self.drafts / Path(name).name) as draft:
            write(draft)
            if self.is_local:
                sync(draft)
                draft.replace(self._path(name))
            else:
                self.files.put_file(str(draft), self._path(name))

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Yield a file to write, stored under `name` at the end of the block.

        After an error nothing is stored. Raises DiskFullError and ArtifactsUnreachableError.
        """
        if self.is_local:
            with new_file(Path(self._path(name))) as draft:
                with writing(draft) as file:
                    yield file
                sync(draft)
                draft.replace(self._path(name))
            return
        with self._reaching():
            remote = self.files.open(self._path(name), "wb", block_size=PART_BYTES)
        write = remote.write

        def reaching_write(block: bytes) -> int:
            with self._reaching():
                written: int = write(block)
                return written

        remote.write = reaching_write
        try:
            yield remote
        except BaseException:
            # What was sent is given up; closing the file would store it.
            with suppress(Exception):
                remote.discard()
            remote.closed = True
            raise
        try:
            with self._reaching():
                remote.close()
        finally:
            remote.closed = True

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn a remote store's errors into ArtifactsUnreachableError."""
        try:
            yield
        except Exception as cause:  # each driver has its own errors, and all mean the same here
            raise self._unreachable(cause) from cause

    def copy_to(self, name: str, target: Path) -> None:
        """Copy or link a file to a local path; raises ArtifactMissingError and DiskFullError."""
        try:
            if not self.is_local:
                with disk_full(target):
                    self.files.get_file(self._path(name), str(target))
                return
            try:
                os.link(self._path(name), target)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    raise
                with disk_full(target):
                    shutil.copyfile(self._path(name), target)
        except FileNotFoundError as cause:
            raise _missing(name) from cause

    def put_folder(self, name: str, make: Callable[[Path], None]) -> Path:
        """Store the folder that `make` fills, and return its local path; raises DiskFullError.

        An existing folder remains: the name determines its content.
        """
        target = self._place(name)
        self._tidy_cache()
        with new_folder(target) as draft:
            make(draft)
        if not self.is_local:
            for path in sorted(target.iterdir()):
                self.files.put_file(str(path), self._path(f"{name}/{path.name}"))
            self.files.pipe_file(self._path(f"{name}/{WHOLE}"), b"")
        return target

    def folder(self, name: str) -> Path | None:
        """Return the folder's local path, fetched if needed, or None; raises DiskFullError."""
        target = self._place(name)
        if self.is_local:
            return target if target.is_dir() else None
        if not self.files.exists(self._path(f"{name}/{WHOLE}")):
            return None
        if target.is_dir():
            os.utime(target)
            return target
        self._tidy_cache()
        with new_folder(target) as draft:
            for path in self.files.ls(self._path(name), detail=False):
                if not path.endswith(WHOLE):
                    self.files.get_file(path, str(draft / Path(path).name))
        _keep_newest(target.parent, FOLDERS_CACHED)
        return target

    def read(self, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read half-open spans of a file; fewer bytes at its end; raises ArtifactMissingError."""
        path = self._path(name)
        try:
            if self.is_local:
                with Path(path).open("rb") as file:
                    return [os.pread(file.fileno(), stop - start, start) for start, stop in spans]
            wanted = [span for span in spans if span[0] < span[1]]  # HTTP has no empty spans
            starts, stops = [start for start, _ in wanted], [stop for _, stop in wanted]
            parts = iter(self.files.cat_ranges([path] * len(wanted), starts, stops, on_error="raise"))
            return [bytes(next(parts)) if start < stop else b"" for start, stop in spans]
        except FileNotFoundError as cause:
            raise _missing(name) from cause

    def names(self, prefix: str) -> list[str]:
        """Return the sorted names of files and folders directly under a prefix."""
        with suppress(FileNotFoundError):
            found = self.files.ls(self._path(prefix), detail=False)
            names = {path.rstrip("/").rsplit("/", 1)[-1] for path in found if path.rstrip("/") != self._path(prefix)}
            return sorted(name for name in names if not name.startswith("."))
        return []

    def delete(self, name: str) -> None:
        """Delete a file, or all files under a prefix, if any."""
        with suppress(FileNotFoundError):
            self.files.rm(self._path(name), recursive=True)

    def size(self, name: str) -> int | None:
        """Return the bytes of a file; None where there is none."""
        try:
            return int(self.files.size(self._path(name)))
        except FileNotFoundError:
            return None

    def touch(self, name: str) -> None:
        """Set the time of a file, for `touched`."""
        if self.is_local:
            Path(self._path(name)).touch()
        else:
            self.files.pipe_file(self._path(name), b"")

    def touched(self, name: str) -> datetime | None:
        """Return the UTC time of the last write or touch of a file, or None."""
        try:
            moment: datetime = self.files.modified(self._path(name))
        except FileNotFoundError:
            return None
        return moment.astimezone(UTC)

    def check(self) -> None:
        """Write a file and delete it; raises ArtifactsUnreachableError and DiskFullError."""
        name = f".check.{uuid.uuid4().hex[:8]}"
        try:
            self.put(name, lambda path: path.touch())
            self.delete(name)
        except DiskFullError:
            raise
        except Exception as cause:  # each driver has its own errors, and all mean the same here
            raise self._unreachable(cause) from cause

    def _unreachable(self, cause: Exception) -> ArtifactsUnreachableError:
        return ArtifactsUnreachableError(
            f"The artifact store {self.root} cannot be written to.",
            why=f"{type(cause).__name__}: {cause}",
            cure="Check GLOSSATOR_ARTIFACTS_URL and GLOSSATOR_ARTIFACT_OPTIONS, the credentials in the environment, and the right to write.",
        )

    def clear_drafts(self) -> int:
        """Delete the drafts of dead processes on local disks, and return their number.

        With a bucket they are in the worker's cache, which it clears at each write.
        """
        root = Path(self.root)
        own = [root, root / CORPORA, root / UPLOADS, root / EXPORTS, root / BATCHES, *(root / PARTIALS).glob("*")] if self.is_local else []
        return sum(clear_drafts(folder) for folder in (*own, self.drafts, self.cache / CORPORA, self.cache / UPLOADS))

    def _tidy_cache(self) -> None:
        if not self.is_local:
            self.clear_drafts()

    @property
    def drafts(self) -> Path:
        """Return the local folder of drafts."""
        return self.cache / "drafts"

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    def _place(self, name: str) -> Path:
        """Return the local path of a folder of the store."""
        return Path(self._path(name)) if self.is_local else self.cache / name


def _missing(name: str) -> ArtifactMissingError:
    return ArtifactMissingError(
        f"{name} is not in the artifact store.",
        why="It was cleared away, or this process's GLOSSATOR_ARTIFACTS_URL is not that of the one that wrote it.",
        cure="Give the API and all workers the same artifact store, and submit the job again: what has evidence is not collected again.",
    )


def _keep_newest(folder: Path, count: int) -> None:
    """Delete all but the last used folders; memory maps of other processes remain valid."""
    folders = [path for path in folder.iterdir() if not path.name.startswith(".")]
    for path in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)[count:]:
        shutil.rmtree(path, ignore_errors=True)
