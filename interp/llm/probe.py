"""Probe models before a job is stored: do they answer, with the needed abilities?"""

import asyncio
import difflib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from interp.domain.errors import (
    AbilityMissingError,
    CallFailedError,
    EndpointRefusedError,
    EndpointUnreachableError,
    KeyRefusedError,
    ModelUnknownError,
)
from interp.domain.spec import ModelSpec
from interp.llm.base import Ability, Message, Prompt
from interp.llm.cache_key import shown_url
from interp.llm.call_store import ForgetfulCallStore, Tag
from interp.llm.client import LlmClient
from interp.llm.model import ClientModel
from interp.llm.transports.base import TransportError
from interp.llm.transports.retry import decide, retried

if TYPE_CHECKING:
    from interp.config.settings import Settings

T = TypeVar("T")

TAG = Tag("probe", "probe", "probe", None, "probe")
QUESTION = Prompt((Message("user", "Reply with the word yes."),), "probe@1", "yes", max_tokens=16)
TEXT = "The quick brown fox"
SECONDS = 45.0  # per probe: less than the minute that callers of the API wait for its answer
ATTEMPT_SHARE, LIST_SHARE = 1 / 3, 1 / 9  # of them, at most
LIST_TRIES = 3
NAMES_SHOWN = 5
# Fields in which servers give the context length: vLLM, OpenRouter, Groq, LM Studio.
WINDOWS = ("max_model_len", "context_length", "context_window", "max_context_length")


async def probe(client: LlmClient, spec: ModelSpec, needs: frozenset[Ability], timeout: float = SECONDS) -> int | None:
    """Return a model's context window in tokens, None where the endpoint does not say.

    A tiny question is asked where there is a need, or where the endpoint does not list the model. The window of a model that answers to any name is
    that of the only one listed. Transient faults are retried within `timeout` seconds; an attempt may take a third of them. Raises
    EndpointUnreachableError, EndpointRefusedError, KeyRefusedError, ModelUnknownError, AbilityMissingError and QuotaExhaustedError.
    """
    shown = shown_url(client.base_url_of(spec))
    asked = spec.model_copy(update={"transport": "live", "timeout_seconds": min(spec.timeout_seconds, timeout * ATTEMPT_SHARE)})
    try:
        async with asyncio.timeout(timeout):
            return await _probe(client, asked, needs, timeout, shown)
    except TimeoutError:
        last = client.attempts(asked).breaker.last_fault
        raise EndpointUnreachableError(
            f"{shown} did not answer within {timeout:g} s.",
            why=f"It was tried again all the while; the last fault: {last}." if last else "",
            cure="See to the endpoint, or to the base URL; where it is only busy, submit again.",
        ) from None


def probe_now(settings: "Settings", spec: ModelSpec, needs: frozenset[Ability], timeout: float = SECONDS) -> int | None:
    """Run `probe` in a thread without an event loop, with a new client."""
    return _with_client(settings, timeout, lambda client: probe(client, spec, needs, timeout))


def models_now(settings: "Settings", base_url: str, timeout: float = SECONDS) -> tuple[str, ...]:
    """Return an endpoint's listed models, in a thread without an event loop, at no cost.

    Raises EndpointUnreachableError, EndpointRefusedError and KeyRefusedError.
    """
    spec, shown = ModelSpec(model="any", base_url=base_url), shown_url(base_url)
    try:
        listed = _with_client(settings, timeout, lambda client: _listed(client, spec, timeout / LIST_TRIES, shown))
    except TransportError as fault:
        raise _unreachable(shown, fault) from None
    return tuple(sorted(str(entry["id"]) for entry in listed))


def _with_client(settings: "Settings", timeout: float, work: Callable[[LlmClient], Awaitable[T]]) -> T:
    async def run() -> T:
        client = LlmClient(settings.model_copy(update={"llm_max_concurrent_calls": 4, "llm_max_outage_seconds": timeout}))
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())


async def _probe(client: LlmClient, spec: ModelSpec, needs: frozenset[Ability], timeout: float, shown: str) -> int | None:
    try:
        listed = await _listed(client, spec, timeout * LIST_SHARE, shown)
    except TransportError as fault:
        if fault.kind == "connect":
            raise _unreachable(shown, fault) from None
        listed = []  # it is slow: the question that follows decides
    names = tuple(sorted(str(entry["id"]) for entry in listed))
    entry = next((entry for entry in listed if _is_called(spec.model, str(entry["id"]))), None)
    model = client.model(spec, ForgetfulCallStore(), TAG)
    try:
        if Ability.EMBEDDINGS in needs:
            await model.embed([TEXT])
        elif entry is None or Ability.LOGPROBS in needs:
            await _chat(model, Ability.LOGPROBS in needs)
        if Ability.PROMPT_LOGPROBS in needs:
            await model.read(TEXT)
    except ModelUnknownError as error:
        raise _unknown(spec.model, shown, names, error) from None
    except CallFailedError as error:
        raise AbilityMissingError(
            "The endpoint rejects a first small question, so it would reject the job's.",
            why=str(error),
            cure="See that the model's name and settings are what the endpoint takes, or take another.",
        ) from None
    return _window(entry if entry is not None or len(listed) != 1 else listed[0])


async def _listed(client: LlmClient, spec: ModelSpec, attempt: float, shown: str) -> list[dict[str, Any]]:
    """Return what `/models` lists; nothing where absent, forbidden or failed three times.

    An attempt may take `attempt` seconds. Raises KeyRefusedError, EndpointRefusedError, and TransportError after three times without an answer.
    """
    endpoint = client.endpoint(client.base_url_of(spec))
    try:
        return await retried(lambda _: endpoint.models(attempt), LIST_TRIES, "models")
    except TransportError as fault:
        error = decide(fault, 1, 0.0).error
        if fault.status == 401:
            cure = "Set GLOSSATOR_LLM_API_KEY for the server's own endpoint, or GLOSSATOR_LLM_KEYS for others, and start the server again."
            raise KeyRefusedError(f"{shown} refuses the key.", why=fault.message, cure=cure) from None
        if isinstance(error, EndpointRefusedError):
            raise error from None
        if fault.kind in ("connect", "timeout"):
            raise
        return []


def _unreachable(shown: str, fault: TransportError) -> EndpointUnreachableError:
    return EndpointUnreachableError(f"{shown} does not answer.", why=fault.message, cure="See to the endpoint, or to the base URL.")


async def _chat(model: ClientModel, needs_logprobs: bool) -> None:
    """Raise AbilityMissingError where a reply lacks an answer, or needed log-probabilities."""
    reply = await model.ask(replace(QUESTION, top_logprobs=5) if needs_logprobs else QUESTION)
    if needs_logprobs and not any(choice.alternatives for choice in reply.choices):
        raise AbilityMissingError(
            f"{model.spec.model!r} gives no log-probabilities of its replies at {shown_url(model.base_url)}.",
            cure="Leave out the scorer that needs them, or take another model; reasoning models seldom give them.",
        )
    if not needs_logprobs and reply.finish == "invalid":
        raise AbilityMissingError(
            f"{shown_url(model.base_url)} gives no answer that can be used to a first small question.",
            why=reply.reason,
            cure="See that the base URL ends where /chat/completions begins: often in /v1.",
        )


def _is_called(asked: str, listed: str) -> bool:
    """Return whether a listed name is the model, despite Ollama's `:latest` or OpenRouter's `:free`."""
    return asked == listed or listed == f"{asked}:latest" or asked.partition(":")[0] == listed


def _unknown(model: str, shown: str, names: tuple[str, ...], error: ModelUnknownError) -> ModelUnknownError:
    close = difflib.get_close_matches(model, names, n=NAMES_SHOWN, cutoff=0.3)
    shown_names = (close + [name for name in names if name not in close])[:NAMES_SHOWN]
    cure = f"It has {', '.join(shown_names)}{' and more' if len(names) > len(shown_names) else ''}." if names else "Name one that it has."
    return ModelUnknownError(f"{shown} has no model {model!r}.", why=error.why, cure=cure, models=shown_names)


def _window(entry: dict[str, Any] | None) -> int | None:
    if entry is None:
        return None
    meta = entry.get("meta")  # llama.cpp's: `n_ctx` is what one of its slots holds
    values = (*(entry.get(name) for name in WINDOWS), meta.get("n_ctx") if isinstance(meta, dict) else None)
    return next((value for value in values if type(value) is int and value > 0), None)
