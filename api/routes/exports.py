"""REST routes of exports."""

import base64
from collections.abc import AsyncIterator
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Path, Request, Response
from fastapi.responses import StreamingResponse

from api.http.access.audit import made_at
from api.http.access.scopes import needs
from api.http.head import is_head
from api.http.openapi import answers, problem_response
from api.http.ranges import Span, is_known, span_of
from api.reads import exports as reads
from api.routes.dependencies import Caller, Configured, CursorText, Limit, Reading, Store
from api.schemas.examples import EXAMPLES
from api.schemas.exports import ExportAnswer, ExportDetail, ExportPage
from interp.config.settings import Settings
from interp.domain.access import Scope
from interp.domain.errors import ArtifactMissingError, ConflictError, ExportGoneError
from interp.exchange.request import ExportRequest, plan_of, total_of
from interp.store import exports
from interp.store.db.engine import transaction
from interp.store.exports import ExportStatus
from workers import artifact_paths
from workers.exports import discard

router = APIRouter(prefix="/v1/exports", tags=["exports"])

ExportId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", examples=[EXAMPLES["export"]["id"]])]
NewExport = Annotated[ExportRequest, Body(openapi_examples={"parquet": {"value": EXAMPLES["export_request"]}})]
BLOCK = 1 << 20
CONTENT = {"content": {"application/octet-stream": {"example": EXAMPLES["export_content"]}}}
FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file."} | CONTENT,
    206: {"description": "The part that `Range` asks for."} | CONTENT,
    **{code: problem_response(code) for code in (404, 409, 410, 416, 422)},
}


@router.post("", status_code=202, responses=answers(EXAMPLES["export"], 404, 422, 429, status=202))
@needs(Scope.SUBMIT)
def submit_export(response: Response, engine: Store, caller: Caller, request: NewExport) -> ExportAnswer:
    """Export features of a dictionary as a file to download, with a manifest.

    It is in a format of other tools, made by the service's upkeep, and deleted some days after it is complete. Follow it at its address.
    """
    with transaction(engine) as session:
        total = total_of(session, plan_of(session, request))
        answer = reads.export_answer(exports.submit(session, caller.owner, request.asked(), total))
        response.headers["Location"] = made_at(f"/v1/exports/{answer.id}")
    return answer


@router.get("", responses=answers(EXAMPLES["export_page"], 422))
@needs(Scope.READ)
def list_exports(session: Reading, caller: Caller, cursor: CursorText = None, limit: Limit = 50) -> ExportPage:
    """List your exports, newest first."""
    return reads.exports(session, caller, cursor, limit)


@router.get("/{export_id}", responses=answers(EXAMPLES["export_detail"], 404, 422))
@needs(Scope.READ)
def get_export(session: Reading, caller: Caller, export_id: ExportId) -> ExportDetail:
    """Return an export.

    That is its state, and once it is complete its size, digest, manifest and address.
    """
    return reads.export(session, caller, export_id)


@router.delete("/{export_id}", responses=answers(EXAMPLES["export"], 404, 409, 422))
@needs(Scope.SUBMIT)
def delete_export(engine: Store, settings: Configured, caller: Caller, export_id: ExportId) -> ExportAnswer:
    """Delete an export and its file; one that is being made ends."""
    with transaction(engine) as session:
        answer = reads.export_answer(exports.remove(session, caller, export_id))
    discard(settings, export_id)
    return answer


@router.get("/{export_id}/content", response_class=Response, responses=FILE)
@needs(Scope.READ)
def get_export_content(request: Request, session: Reading, settings: Configured, caller: Caller, export_id: ExportId) -> Response:
    """Return the file of a completed export.

    A download that broke off is resumed with `Range` and `If-Range`, which names the ETag: the file's digest.
    """
    found = reads.export(session, caller, export_id)
    if found.status != ExportStatus.COMPLETED or found.bytes is None or found.sha256 is None:
        raise ConflictError(
            f"Export {export_id} is {found.status}.", cure="Wait until it is completed.", export=export_id, status_of_export=found.status
        )
    etag = f'"{found.sha256}"'
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(found.sha256)).decode()}:",
        "Content-Disposition": f'attachment; filename="{found.file_name}"',
        # It is the file's own bytes that a range counts.
        "Content-Encoding": "identity",
    }
    if is_known(request.headers, etag):
        return Response(status_code=304, headers=headers)
    span = span_of(request.headers, found.bytes, etag)
    if span.is_part:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{found.bytes}"
    headers["Content-Length"] = str(span.stop - span.start)
    first = _read(settings, export_id, span.start, span.stop)
    blocks = _blocks(settings, export_id, Span(span.start, span.start if is_head(request.scope) else span.stop, span.is_part), first)
    return StreamingResponse(blocks, 206 if span.is_part else 200, headers, media_type=found.media_type)


async def _blocks(settings: Settings, export_id: str, span: Span, first: bytes) -> AsyncIterator[bytes]:
    """Yield the bytes of a span by blocks, of which the first is given."""
    place, block = span.start, first
    while place < span.stop:
        yield block
        place += len(block)
        block = await run_sync(_read, settings, export_id, place, span.stop) if place < span.stop else b""


def _read(settings: Settings, export_id: str, start: int, stop: int) -> bytes:
    """Return the next block of a file; raises ExportGoneError."""
    try:
        (block,) = artifact_paths.store_of(settings).read(artifact_paths.export(export_id), [(start, min(start + BLOCK, stop))])
    except ArtifactMissingError as error:
        raise ExportGoneError(f"The file of export {export_id} is gone.", why=error.why, cure="Ask for the export again.") from error
    if not block and start < stop:
        raise ExportGoneError(f"The file of export {export_id} is shorter than it was.", cure="Ask for the export again.")
    return block
