"""REST routes of uploads."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request, Response

from api.http.access.scopes import needs
from api.http.openapi import answers
from api.http.streamed_body import blocks_of
from api.jobs import joining, receiving
from api.jobs.receiving import Incoming
from api.reads import files as reads
from api.routes.dependencies import Caller, Configured, CursorText, Limit, Reading, Store
from api.schemas.examples import EXAMPLES
from api.schemas.files import FileAnswer, FileDetail, FilePage, JoinRequest
from interp.domain.access import Scope
from interp.store import uploads
from interp.store.db.engine import snapshot, transaction
from workers.uploads import bring, clear_unused, discard

router = APIRouter(prefix="/v1/files", tags=["files"])

FileId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", examples=[EXAMPLES["file"]["id"]])]
Name = Annotated[str, Query(min_length=1, max_length=255, description="The name of the file or folder, without a path.", examples=["corpus.jsonl"])]
Unpack = Annotated[bool, Query(description="Whether the body is an archive to unpack: a tar (plain, gzip, bzip2, xz) or a zip. It becomes a folder.")]
Part = Annotated[bool, Query(description="Whether it is a part, which is to be joined. It expires after days, not weeks.")]
Digest = Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="Only uploads of this content.")]
Joined = Annotated[JoinRequest, Body(openapi_examples={"join": {"value": EXAMPLES["join"]}})]
CONTENT = {"schema": {"type": "string", "format": "binary"}, "example": EXAMPLES["file_body"]}
BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": CONTENT}}}


@router.post("", status_code=201, responses=answers(EXAMPLES["file"], 408, 413, 422, 429, 503, 507, status=201), openapi_extra=BODY)
@needs(Scope.SUBMIT)
def upload_file(
    request: Request,
    response: Response,
    engine: Store,
    settings: Configured,
    caller: Caller,
    name: Name,
    unpack: Unpack = False,
    part: Part = False,
) -> FileAnswer:
    """Upload a file or folder that jobs then name as `upload://ID`.

    The body is the file itself. It is hashed while it is stored; equal content is stored once. A request that breaks off leaves nothing, and is sent
    again. The same name and content again gives the same upload.
    """
    announced = request.headers.get("content-length", "0")
    nbytes = int(announced) if announced.isdecimal() and len(announced) < 20 else 0
    receiving.check_announced(settings, nbytes)
    with request.app.state.uploads.one():
        with snapshot(engine) as session:
            uploads.check_room(session, caller.owner, 0 if unpack else nbytes, receiving.quota_of(settings))
        saved = receiving.receive(engine, settings, Incoming(caller.owner, name, unpack, part), blocks_of(request, settings))
    if settings.is_embedded and not part:
        # On one machine its files are at hand at once, and a job on them is checked in the request.
        bring(engine, settings, [saved.row.id])
    response.headers["Location"] = f"/v1/files/{saved.row.id}"
    return reads.file_answer(saved.row)


@router.post("/joined", status_code=201, responses=answers(EXAMPLES["file"], 404, 409, 413, 422, 429, 503, 507, status=201))
@needs(Scope.SUBMIT)
def join_files(request: Request, response: Response, engine: Store, settings: Configured, caller: Caller, wanted: Joined) -> FileAnswer:
    """Join uploaded files into one upload, in the order of the request.

    So a large file is sent in parts, of which a connection that breaks costs one: those that arrived are found by their digest. The parts are deleted
    in the same step, and kept where the join is refused. Repeating the join of a file gives the same upload.
    """
    with request.app.state.uploads.one():
        saved = joining.join(engine, settings, caller, wanted)
    if settings.is_embedded:
        bring(engine, settings, [saved.row.id])
    response.headers["Location"] = f"/v1/files/{saved.row.id}"
    return reads.file_answer(saved.row)


@router.get("", responses=answers(EXAMPLES["file_page"], 422))
@needs(Scope.READ)
def list_files(session: Reading, caller: Caller, digest: Digest = None, cursor: CursorText = None, limit: Limit = 50) -> FilePage:
    """List your uploads, newest first.

    A key with the scope `admin` sees those of all owners.
    """
    return reads.files(session, caller, digest, cursor, limit)


@router.get("/{file_id}", responses=answers(EXAMPLES["file_detail"], 404, 422))
@needs(Scope.READ)
def get_file(session: Reading, caller: Caller, file_id: FileId) -> FileDetail:
    """Return an upload with the paths, sizes and digests of its files."""
    return reads.file(session, caller, file_id)


@router.delete("/{file_id}", responses=answers(EXAMPLES["file"], 404, 409, 422))
@needs(Scope.SUBMIT)
def delete_file(engine: Store, settings: Configured, caller: Caller, file_id: FileId) -> FileAnswer:
    """Delete an upload, unless an open job needs it.

    Content that other uploads have, too, stays.
    """
    with transaction(engine) as session:
        answer = reads.file_answer(uploads.get(session, caller, file_id))
        unneeded = uploads.remove(session, caller, file_id)
    discard(settings, unneeded)
    clear_unused(engine, settings)
    return answer
