"""Receive uploads: hash them while they are written to the artifact store."""

import hashlib
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from api.http.access.audit import made_at
from interp.config.settings import Settings
from interp.domain.errors import UploadInvalidError, UploadsBusyError, UploadTooLargeError
from interp.files.artifact_store import Store
from interp.files.atomic import new_file, scratch_folder, writing
from interp.security.archives import UNPACK, UnpackRequest
from interp.security.sandbox import Processes, ResourceLimits
from interp.security.uploads import wrong_in
from interp.store import uploads as stored
from interp.store.db.engine import Engine, transaction
from interp.store.uploads import Quota, Saved, StoredFile
from workers import artifact_paths
from workers.uploads import discard

BLOCK_BYTES = 1 << 20


class Places:
    """A bounded number of uploads at once."""

    def __init__(self, number: int) -> None:
        self._free = threading.BoundedSemaphore(number)

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take a place during the block; raises UploadsBusyError."""
        if not self._free.acquire(blocking=False):
            raise UploadsBusyError(
                "The server receives as many uploads as it may at once.", cure="Send it again in a minute; GLOSSATOR_UPLOADS_AT_ONCE allows more."
            )
        try:
            yield
        finally:
            self._free.release()


@dataclass(frozen=True, slots=True)
class Incoming:
    """What a request says of the upload that it brings.

    `is_part` says that it waits to be joined. `replaces` are uploads that go in the same transaction.
    """

    owner: str | None
    name: str
    is_archive: bool = False
    is_part: bool = False
    replaces: Sequence[str] = ()


def quota_of(settings: Settings, is_part: bool = False) -> Quota:
    days = settings.retain_parts_days if is_part else settings.retain_uploads_days
    return Quota(settings.uploads_owner_max_bytes, settings.uploads_total_max_bytes, days)


def check_announced(settings: Settings, nbytes: int) -> None:
    """Raise UploadTooLargeError for an upload that says that it is too large."""
    if nbytes > settings.upload_max_bytes:
        raise too_large(settings)


def too_large(settings: Settings) -> UploadTooLargeError:
    return UploadTooLargeError(
        f"An upload has {settings.upload_max_bytes:,} bytes at most.",
        cure="Send it in parts, as several files; or raise GLOSSATOR_UPLOAD_MAX_BYTES where the server starts.",
    )


def receive(engine: Engine, settings: Settings, upload: Incoming, blocks: Iterable[bytes]) -> Saved:
    """Store an upload; nothing of it remains after an error.

    Raises UploadInvalidError, UploadTooLargeError, UploadQuotaError, UploadsFullError, DiskFullError, and what `blocks` raises.
    """
    wrong = wrong_in(upload.name)
    if wrong is not None or "/" in upload.name:
        raise UploadInvalidError(
            "The name of the upload cannot be used.", why=f"Of it: {wrong or 'it has a slash'}.", cure="Give a file's name alone."
        )
    store = artifact_paths.store_of(settings)
    with _kept(settings) as objects:
        bounded = _bounded(settings, blocks)
        files = _unpacked(settings, store, bounded, objects) if upload.is_archive else [_put(store, upload.name, bounded, objects)]
        with transaction(engine) as session:
            # First, since their bytes count for the quota.
            replaced = stored.remove_parts(session, upload.replaces)
            saved = stored.save(session, upload.owner, upload.name, upload.is_archive, files, quota_of(settings, upload.is_part))
            made_at(f"/v1/files/{saved.row.id}")
        saved = replace(saved, unneeded=(*saved.unneeded, *replaced))
        objects[:] = saved.unneeded
    discard(settings, saved.unneeded)
    return saved


@contextmanager
def _kept(settings: Settings) -> Iterator[list[str]]:
    """Yield a list for the objects that are written; they are deleted after an error."""
    objects: list[str] = []
    try:
        yield objects
    except BaseException:
        discard(settings, objects)
        raise


def _put(store: Store, path: str, blocks: Iterable[bytes], objects: list[str]) -> StoredFile:
    """Write a file to the store while it is hashed."""
    # The digest is known at the end, when a file of a bucket already has its name.
    name, digest, size = uuid.uuid4().hex, hashlib.sha256(), 0
    with store.writing(artifact_paths.upload(name)) as out:
        for block in blocks:
            digest.update(block)
            out.write(block)
            size += len(block)
    objects.append(name)
    return StoredFile(path, digest.hexdigest(), size, name)


def _unpacked(settings: Settings, store: Store, blocks: Iterable[bytes], objects: list[str]) -> list[StoredFile]:
    """Unpack an archive on a local disk, and store its files."""
    with new_file(store.drafts / "archive") as archive, scratch_folder(store.drafts) as folder:
        with writing(archive) as out:
            for block in blocks:
                out.write(block)
        limits = replace(ResourceLimits.of(settings), seconds=settings.upload_timeout_seconds, file_bytes=settings.upload_max_bytes + 1)
        asked = UnpackRequest(str(archive), str(folder), settings.upload_max_bytes, settings.upload_max_files)
        with Processes(limits, 1).begin(UNPACK, asked, settings.upload_timeout_seconds) as pending:
            pending.result()
        # What the process wrote is looked at again: only regular files, by names that are taken.
        paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        files = []
        for path in paths:
            relative = path.relative_to(folder).as_posix()
            if wrong_in(relative) is None:
                files.append(_put(store, relative, _content(path), objects))
                path.unlink()
        return files


def _content(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _bounded(settings: Settings, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the blocks; raises UploadTooLargeError past the limit."""
    size = 0
    for block in blocks:
        size += len(block)
        if size > settings.upload_max_bytes:
            raise too_large(settings)
        yield block
