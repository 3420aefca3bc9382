"""Join uploaded parts into one upload."""

import hashlib
from collections.abc import Iterator, Sequence

from api.jobs.receiving import BLOCK_BYTES, Incoming, check_announced, receive
from api.schemas.files import JoinRequest
from interp.config.settings import Settings
from interp.domain.access import Principal
from interp.domain.errors import ArtifactMissingError, NotFoundError, UploadInvalidError
from interp.files.artifact_store import Store
from interp.store import uploads as stored
from interp.store.db.engine import Engine, Session, snapshot
from interp.store.uploads import Saved, StoredFile
from workers import artifact_paths


def join(engine: Engine, settings: Settings, caller: Principal, wanted: JoinRequest) -> Saved:
    """Store the parts as one upload, and delete them.

    Raises NotFoundError for a part that is gone or another owner's, and what `receive` raises.
    """
    try:
        return _join(engine, settings, caller, wanted)
    except NotFoundError:
        # Another request may have joined them: the same one, whose answer was lost.
        done = None if wanted.unpack else _joined_before(engine, caller, wanted)
        if done is None:
            raise
        return done


def _join(engine: Engine, settings: Settings, caller: Principal, wanted: JoinRequest) -> Saved:
    with snapshot(engine) as session:
        parts = [_file(session, caller, upload_id) for upload_id in wanted.parts]
    check_announced(settings, sum(part.size for part in parts))
    blocks = _checked(_content(artifact_paths.store_of(settings), parts), wanted.digest)
    return receive(engine, settings, Incoming(caller.owner, wanted.name, wanted.unpack, replaces=wanted.parts), blocks)


def _file(session: Session, caller: Principal, upload_id: str) -> StoredFile:
    row = stored.get(session, caller, upload_id)
    if row.is_folder:
        raise UploadInvalidError(f"The upload {upload_id} is a folder.", why="Parts are files.", cure="Send them without `unpack`.")
    return stored.files_of(session, upload_id)[0]


def _joined_before(engine: Engine, caller: Principal, wanted: JoinRequest) -> Saved | None:
    with snapshot(engine) as session:
        found = [row for row in stored.page(session, caller, wanted.digest, None, stored.MOST_AT_ONCE) if row.owner == caller.owner]
    return next((Saved(row, ()) for row in found if row.name == wanted.name and not row.is_folder), None)


def _content(store: Store, parts: Sequence[StoredFile]) -> Iterator[bytes]:
    for part in parts:
        name = artifact_paths.upload(part.object)
        for start in range(0, part.size, BLOCK_BYTES):
            try:
                yield store.read(name, [(start, min(start + BLOCK_BYTES, part.size))])[0]
            except ArtifactMissingError as error:
                raise NotFoundError("A part was deleted while it was joined.", cure="Send it again.") from error


def _checked(blocks: Iterator[bytes], digest: str) -> Iterator[bytes]:
    """Yield the blocks; raises UploadInvalidError after others than were announced."""
    found = hashlib.sha256()
    for block in blocks:
        found.update(block)
        yield block
    if found.hexdigest() != digest:
        raise UploadInvalidError("The parts are not the announced bytes.", why=f"Their sha256 is {found.hexdigest()}.", cure="Check their order.")
