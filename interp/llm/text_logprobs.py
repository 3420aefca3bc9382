"""How likely a text is to a model, token by token: `/completions` with `echo`, or vLLM's `prompt_logprobs`."""

import json
from typing import TYPE_CHECKING, Any

from interp.domain.errors import AbilityMissingError, CallRejectedError, GlossatorError
from interp.llm.attempts import AttemptResult, CallCost
from interp.llm.base import TokenChoice, Usage
from interp.llm.cache_key import packed_tokens, unpacked_tokens
from interp.llm.transports.payloads import READ_BYTES, TOKENS_PER_REQUEST, json_of, read_prompt_tokens, usage_of

if TYPE_CHECKING:
    from interp.llm.client import ClientModel

TEMPLATE = "reading@1"
ECHO: dict[str, Any] = {"echo": True, "logprobs": 1}
VLLM: dict[str, Any] = {"prompt_logprobs": 1}


class NoTokensError(AbilityMissingError):
    """A reply without the prompt's log-probabilities: this way of asking is not understood."""


async def read(model: "ClientModel", text: str) -> tuple[TokenChoice, ...]:
    """Log-probability of each token but the first. Raises AbilityMissing where the endpoint gives none either way."""
    key = model.namer.reading(text)
    choices, _ = await model.client.once(key, lambda: _read(model, key, text))
    return choices


async def _read(model: "ClientModel", key: str, text: str) -> tuple[TokenChoice, ...]:
    kept = await model.books.recall(key)
    if kept is not None:
        return unpacked_tokens(kept.raw)
    if model.lane.reads_by_echo:
        try:
            return await _asked(model, key, text, ECHO)
        except (CallRejectedError, NoTokensError):
            pass
    choices = await _asked(model, key, text, VLLM)
    model.lane.reads_by_echo = False  # only once the other way has worked: one odd text proves nothing
    return choices


async def _asked(model: "ClientModel", key: str, text: str, how: dict[str, Any]) -> tuple[TokenChoice, ...]:
    """One token is generated, since some endpoints refuse to generate none."""
    bound = Usage(len(text.encode("utf-8", "replace")) + TOKENS_PER_REQUEST, 1, is_known=False)
    body = json.dumps({"model": model.spec.model, "prompt": text, "max_tokens": 1, "temperature": 0} | how | model.spec.extra)
    bill = CallCost(model.rates)

    async def send() -> AttemptResult[tuple[TokenChoice, ...] | None]:
        sent = await model.lane.endpoint.post("/completions", body.encode(), model.spec.timeout_seconds, bound.prompt_tokens * READ_BYTES)
        reply = json_of(sent.body, sent.headers)
        return AttemptResult(read_prompt_tokens(reply), usage_of(reply, bound), sent.headers)

    try:
        choices = await model.lane.carry(send, bound, model.books, bill, path="completions")
        if choices is None:
            raise NoTokensError(
                f"The endpoint gives no log-probabilities of {model.spec.model!r}'s prompt.",
                cure="Take an endpoint that has them (vLLM has), or leave out the scorer that needs them.",
            )
    except GlossatorError as error:
        if bill.attempts:
            model.record(key, TEMPLATE, bill, "failed", body, None, error)
        raise
    model.record(key, TEMPLATE, bill, "answered", body, packed_tokens(choices))
    return choices
