"""Routes of the model at hand: activations of given texts, and steered text."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from anyio import CancelScope, CapacityLimiter, current_time, sleep
from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Request
from fastapi.responses import Response

from api.http.access.scopes import needs
from api.http.openapi import answers
from api.reads import live as reads
from api.reads.live import LiveTarget
from api.routes.dependencies import Caller, Configured, Reading, Store, Tokens
from api.routes.dictionaries import DictionaryReference, Run
from api.schemas.examples import EXAMPLES
from api.schemas.live import ActivationsAnswer, ActivationsRequest, LiveQuestion, LiveStateAnswer, SteerAnswer, SteerRequest
from interp.config.settings import Settings
from interp.domain.access import Principal, Scope
from interp.domain.errors import GlossatorError, error_classes
from interp.domain.live import ActivationsWork, SteerWork
from interp.store.db.engine import Engine, Session, snapshot, transaction
from interp.store.queue import live
from interp.store.queue.live import LiveDeadlineError, LivePhase, LiveStatus, LiveUnavailableError

router = APIRouter(prefix="/v1/dictionaries", tags=["live"])

# Threads, and connections, of all requests that wait.
READERS = 4
# Pauses between two looks for the answer: an eighth of the time waited so far.
FIRST_SECONDS, LAST_SECONDS, SHARE = 0.01, 0.25, 8
# Nobody reads the answer of a request whose client has gone.
GONE = 408
PROBLEMS = 404, 409, 422, 429, 503, 504

Asked = TypeVar("Asked", bound=LiveQuestion)
Work = TypeVar("Work", ActivationsWork, SteerWork)
NewActivations = Annotated[ActivationsRequest, Body(openapi_examples={"texts": {"value": EXAMPLES["activations_request"]}})]
NewSteering = Annotated[SteerRequest, Body(openapi_examples={"steer": {"value": EXAMPLES["steer_request"]}})]


@router.post("/{dictionary}/activations", response_model=ActivationsAnswer, responses=answers(EXAMPLES["activations"], *PROBLEMS))
@needs(Scope.SUBMIT)
async def compute_activations(
    request: Request,
    engine: Store,
    settings: Configured,
    caller: Caller,
    vocabularies: Tokens,
    dictionary: DictionaryReference,
    asked: NewActivations,
) -> ActivationsAnswer | Response:
    """Run texts through the model: activations, strongest features, and differences of two groups.

    A gpu worker answers, beside the jobs, with the models and settings of a run: values are those that collection stores. `top` searches features by
    a text. The answer is 503 while no worker has the model open, and 504 where the deadline passes.
    """
    waiting = _Waiting(request, engine, settings, caller)
    found = await waiting.answer(dictionary, asked, reads.activations_work)
    if found is None:
        return Response(status_code=GONE)
    return await run_sync(_read, engine, lambda session: reads.activations_answer(session, vocabularies, *found))


@router.post("/{dictionary}/steer", response_model=SteerAnswer, responses=answers(EXAMPLES["steered"], *PROBLEMS))
@needs(Scope.SUBMIT)
async def steer_text(
    request: Request, engine: Store, settings: Configured, caller: Caller, vocabularies: Tokens, dictionary: DictionaryReference, asked: NewSteering
) -> SteerAnswer | Response:
    """Continue a prompt with a feature's decoder direction added, and without.

    Both texts of a seed are drawn with the same random numbers. The answer is 503 while no worker has the model open, and 504 where the deadline
    passes.
    """
    waiting = _Waiting(request, engine, settings, caller)
    found = await waiting.answer(dictionary, asked, reads.steer_work)
    if found is None:
        return Response(status_code=GONE)
    return await run_sync(_read, engine, lambda session: reads.steer_answer(session, vocabularies, *found))


@router.get("/{dictionary}/live", responses=answers(EXAMPLES["live_state"], 404, 409, 422))
@needs(Scope.READ)
def get_live_state(session: Reading, settings: Configured, dictionary: DictionaryReference, run: Run = None) -> LiveStateAnswer:
    """Return whether the model at hand answers at once, or what requests wait for."""
    return reads.state(session, settings, dictionary, run)


class _Waiting:
    """One request that waits for a worker, for as long as its client does."""

    def __init__(self, request: Request, engine: Engine, settings: Settings, caller: Principal) -> None:
        self._request, self._engine, self._settings, self._caller = request, engine, settings, caller
        self._readers: CapacityLimiter = request.app.state.live_readers

    async def answer(
        self, dictionary: str, asked: Asked, work_of: Callable[[Session, LiveTarget, Asked], Work]
    ) -> tuple[LiveTarget, Work, dict[str, Any]] | None:
        """Return the worker's reply; None where the client has gone.

        Raises LiveUnavailableError, LiveDeadlineError, LiveBusyError, and what the worker raised.
        """
        began = current_time()
        target, work, request_id = await self._in_thread(self._submit, dictionary, asked, work_of)
        try:
            while True:
                state = await self._in_thread(self._state, request_id)
                if state is None or state[0] in (LiveStatus.DONE, LiveStatus.FAILED):
                    break
                waited = current_time() - began
                if waited >= asked.deadline_seconds or self._request.app.state.is_stopping():
                    raise await self._in_thread(self._late, target, state, waited)
                if await self._request.is_disconnected():
                    return None
                await sleep(min(max(FIRST_SECONDS, waited / SHARE), LAST_SECONDS))
            reply, problem = await self._in_thread(self._take, request_id)
        finally:
            # The worker stops where the row is gone: also where this request is cancelled.
            with CancelScope(shield=True):
                await self._in_thread(self._remove, request_id)
        if reply is None:
            raise _error_of(problem or {})
        return target, work, reply

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await run_sync(function, *arguments, limiter=self._readers)

    def _submit(self, dictionary: str, asked: Asked, work_of: Callable[[Session, LiveTarget, Asked], Work]) -> tuple[LiveTarget, Work, str]:
        with snapshot(self._engine) as session:
            target = reads.target(session, dictionary, asked.run)
            work = work_of(session, target, asked)
            reads.check_workers(live.workers_of(session, target.models_key, self._settings.lease_seconds))
        with transaction(self._engine) as session:
            request_id = live.submit(session, self._caller.owner, target.run.id, target.models_key, work, asked.deadline_seconds)
        return target, work, request_id

    def _state(self, request_id: str) -> tuple[LiveStatus, LivePhase | None] | None:
        with snapshot(self._engine) as session:
            return live.state(session, request_id)

    def _take(self, request_id: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        with transaction(self._engine) as session:
            return live.take(session, request_id)

    def _remove(self, request_id: str) -> None:
        with transaction(self._engine) as session:
            live.remove(session, request_id)

    def _late(self, target: LiveTarget, state: tuple[LiveStatus, LivePhase | None], waited: float) -> GlossatorError:
        """Return what a request waited for in vain."""
        status, phase = state
        after = f"after {waited:.1f} s"
        if phase is LivePhase.COMPUTING:
            return LiveDeadlineError(f"The model was still at work {after}.", cure="Send less text, or set deadline_seconds to more.")
        if status is LiveStatus.RUNNING:
            why, waits_for = "A worker is opening the model, and goes on with it.", "opening"
        else:
            with snapshot(self._engine) as session:
                found = live.workers_of(session, target.models_key, self._settings.lease_seconds)
            reads.check_workers(found)
            why, waits_for = "The gpu workers are busy with other live requests, or take none (GLOSSATOR_LIVE_MODELS=0).", "busy"
        return LiveUnavailableError(
            f"No answer {after}.", why=why, cure="Send the request again in some seconds (`glossator activations`).", waits_for=waits_for, seconds=5
        )


def _read(engine: Engine, read: Callable[[Session], Any]) -> Any:
    with snapshot(engine) as session:
        return read(session)


def _error_of(problem: dict[str, Any]) -> GlossatorError:
    """Return the error whose problem document a worker wrote."""
    kinds = {kind.code: kind for kind in error_classes()}
    kind = kinds.get(str(problem.get("code")), LiveUnavailableError)
    what = str(problem.get("detail") or "The request was taken away before it was answered.")
    return kind(what, why=str(problem.get("why", "")), cure=str(problem.get("cure", "")), **problem.get("details", {}))
