"""REST routes of batches for a runner without a server."""

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from api.http.access.control import check_owner
from api.http.access.scopes import needs
from api.http.openapi import answers, problem_response
from api.http.streamed_body import blocks_of
from api.jobs.batch_results import receive
from api.reads.cursors import WITHOUT_NUL
from api.reads.llm import batches as reads
from api.reads.llm.batches import BatchStatus
from api.routes.dependencies import Caller, Configured, CursorText, Limit, Reading, Store
from api.schemas.examples import EXAMPLES
from api.schemas.llm.batches import BatchPage, BatchResultsAnswer
from interp.domain.access import Scope
from interp.domain.errors import ArtifactMissingError, ConflictError
from interp.llm.transports import batch_files
from interp.store.db.engine import snapshot
from interp.store.llm import batches
from workers.artifact_paths import store_of

router = APIRouter(prefix="/v1/batches", tags=["batches"])

BatchId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", examples=[EXAMPLES["batch"]["id"]])]
OfJob = Annotated[str | None, Query(min_length=1, max_length=36, pattern=WITHOUT_NUL, description="Only batches of this job.")]
Status = Annotated[BatchStatus | None, Query(description="Only those whose results are waited for, or the others.")]
LINES = "application/jsonl"
REQUESTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "A line for each question.", "content": {LINES: {"example": EXAMPLES["batch_requests"]}}},
    **{code: problem_response(code) for code in (404, 409, 422)},
}
CONTENT = {"schema": {"type": "string", "format": "binary"}, "example": EXAMPLES["batch_results_body"]}
BODY = {"requestBody": {"required": True, "content": {LINES: CONTENT}}}


def _own_batch(engine: Store, caller: Caller, batch_id: BatchId) -> str:
    """Return the id of a batch whose job the caller may change; raises NotFoundError, NotOwnerError."""
    with snapshot(engine) as session:
        owner = batches.get(session, batch_id).owner
    check_owner(caller, owner, f"Batch {batch_id}")
    return batch_id


OwnBatch = Annotated[str, Depends(_own_batch)]


@router.get("", responses=answers(EXAMPLES["batch_page"], 422))
@needs(Scope.READ)
def list_batches(
    session: Reading, settings: Configured, job: OfJob = None, status: Status = None, cursor: CursorText = None, limit: Limit = 50
) -> BatchPage:
    """List the batches of models that are asked by files (`transport: files`), newest first."""
    return reads.batches(session, store_of(settings), job, status, cursor, limit)


@router.get("/{batch_id}/requests", response_class=Response, responses=REQUESTS)
@needs(Scope.READ)
def stream_batch_requests(session: Reading, settings: Configured, batch_id: BatchId) -> Response:
    """Return a batch's questions as lines of OpenAI's batch format, which `vllm run-batch` takes."""
    batches.get(session, batch_id)
    blocks = batch_files.blocks_of(store_of(settings), batch_files.requests_of(batch_id))
    try:
        first = next(blocks, b"")
    except ArtifactMissingError as error:
        raise ConflictError(f"Batch {batch_id} has ended, and its questions are gone.", cure="List the batches that are open.") from error
    content: Iterator[bytes] = chain((first,), blocks)
    return StreamingResponse(content, media_type=LINES, headers={"Content-Disposition": f'attachment; filename="{batch_id}.jsonl"'})


@router.put("/{batch_id}/results", responses=answers(EXAMPLES["batch_results"], 404, 408, 413, 422, 503, 507), openapi_extra=BODY)
@needs(Scope.SUBMIT)
def put_batch_results(request: Request, engine: Store, settings: Configured, batch_id: OwnBatch) -> BatchResultsAnswer:
    """Import what a runner wrote of a batch, for the job that waits for it.

    The body has a line `{"custom_id", "response": {"status_code", "body"}, "error"}` for each question, in any order. Lines that name no question of
    the batch are dropped and counted; questions without a line are asked again in another batch. The same results may be sent again.
    """
    with request.app.state.uploads.one():
        return receive(engine, settings, batch_id, blocks_of(request, settings))
