"""Encode and decode the API's JSON, and batch file lines (platform.openai.com/docs/guides/batch)."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.cleaning import one_line
from interp.llm.base import Message, Reply, TokenChoice, Usage
from interp.llm.replies.error_body import ErrorSaid, error_inside, error_of
from interp.llm.replies.finish_reasons import ending_of
from interp.llm.replies.reasoning import answer_in, answer_tokens
from interp.llm.transports.base import ChatRequest, TransportError
from interp.llm.transports.quirks import CACHE_KEY, EndpointQuirks

TEXTS_PER_CALL = 64  # embeddings
BATCH_PATH = "/v1/chat/completions"
MAX_BATCH_LINES = 50_000
MAX_BATCH_BYTES = 200_000_000
EXPIRED = "batch_expired"
TOKENS_PER_MESSAGE = 16
TOKENS_PER_REQUEST = 256  # what chat templates add: a system prompt, the date, the schema's preamble
TOKEN_BYTES = 128  # of JSON: escaped, and with reasoning written twice
CHOICE_BYTES = 256  # a token with its log-probability and its own bytes
VECTOR_BYTES = 256 * 1024
READ_BYTES = 512  # of JSON per byte of a prompt whose tokens are returned
MAX_CHOICES = 8  # one is requested
SHOWN = 200
UNREADABLE = (AttributeError, LookupError, OverflowError, TypeError, ValueError)  # raised where JSON has another shape, or numbers beyond floats
TEXT_PARTS = frozenset({None, "text", "output_text"})
NO_JSON_CODES = frozenset({"json_validate_failed"})
NO_JSON = re.compile(
    r"failed to (generate|validate) json|generated json does not match|model (output|produced) (is |was )?(not valid|invalid) (json|content|output)",
    re.IGNORECASE,
)


def bound_of(messages: tuple[Message, ...], schema: dict[str, Any] | None, max_tokens: int) -> Usage:
    """Return an upper bound of a request's tokens.

    One per byte sent, what a chat template adds, and all that the reply may take. Byte-level tokenisers start at bytes and only merge, so no text has
    more tokens than bytes.
    """
    size = sum(len(message.content.encode("utf-8", "replace")) + TOKENS_PER_MESSAGE for message in messages)
    size += len(json.dumps(schema)) + 128 if schema else 0
    return Usage(size + TOKENS_PER_REQUEST, max_tokens, is_known=False)


def max_tokens_of(request: ChatRequest) -> int:
    """Return the reply's token limit: the model's setting, else the question's."""
    return request.spec.max_tokens or request.prompt.max_tokens


def extra_bytes_of(request: ChatRequest) -> int:
    """Return the most JSON bytes of a reply's tokens and alternatives."""
    alternatives = request.prompt.top_logprobs
    return max_tokens_of(request) * (TOKEN_BYTES + (alternatives + 1) * CHOICE_BYTES * bool(alternatives))


def chat_body(request: ChatRequest, quirks: EndpointQuirks) -> dict[str, Any]:
    """Return the body of `/chat/completions`, as the endpoint takes it."""
    spec, prompt = request.spec, request.prompt
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    body: dict[str, Any] = {"model": spec.model, "messages": messages, quirks.token_field: max_tokens_of(request)}
    if spec.temperature is not None and quirks.takes_temperature:
        body["temperature"] = max(spec.temperature, prompt.temperature)
    if prompt.seed is not None and quirks.takes_seed:
        body["seed"] = prompt.seed + prompt.sample
    alternatives = prompt.top_logprobs if quirks.most_logprobs is None else min(prompt.top_logprobs, quirks.most_logprobs)
    if alternatives:
        body["logprobs"], body["top_logprobs"] = True, alternatives
    if prompt.prefix and quirks.sends_cache_key(spec):
        body[CACHE_KEY] = prompt.prefix
    if prompt.schema is not None:
        form = quirks.form_for(spec)
        if form == "json_schema":
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": prompt.schema.name, "strict": True, "schema": prompt.schema.body},
            }
        else:
            messages[-1]["content"] += in_words(prompt.schema.body)
            if form == "json_object":
                body["response_format"] = {"type": "json_object"}
    return body | spec.extra


def in_words(schema: dict[str, Any]) -> str:
    """Return a schema in words, with the word JSON, which JSON mode requires."""
    return f"\n\nReply with one JSON object that fits this JSON schema, and with nothing else:\n{json.dumps(schema)}"


def read_chat(raw: str, bound: Usage, sent: str, headers: Mapping[str, str]) -> Reply:
    """Return the reply in a body of `/chat/completions`, with or without an answer.

    A body without choices is a filtered prompt's: a refusal. Raises TransportError where the body is garbage or an error under status 200, and where
    the server broke off while it wrote.
    """
    body = json_of(raw, headers)
    usage = usage_of(body, bound)
    reply = Reply("", "invalid", usage, raw=raw, sent=sent, headers=headers)
    listed = body.get("choices")
    choice = next((each for each in listed if isinstance(each, dict)), None) if isinstance(listed, list) else None
    if choice is None:
        return replace(reply, finish="refusal" if listed == [] else "invalid", reason="the reply holds no choices")
    if isinstance(listed, list) and len(listed) > MAX_CHOICES:
        return replace(reply, raw="", reason=f"the reply holds {len(listed):,} choices where one was asked for")
    if (error := error_inside({"error": choice.get("error")})) is not None:
        raise _fault_of(error, raw, headers, usage)
    word, found = choice.get("finish_reason"), choice.get("message")
    message: dict[str, Any] = found if isinstance(found, dict) else {}
    content, refusal = _text_of(message.get("content")), message.get("refusal")
    ending = ending_of(word, bool(content))
    if ending == "broken":
        why = f"the endpoint broke off with finish_reason {one_line(str(word), SHOWN)!r}"
        raise TransportError("garbage", why, headers=headers, raw=raw, usage=usage)
    if not isinstance(found, dict):
        return replace(reply, finish="refusal", reason="the reply holds no message")
    if ending == "refusal" or (refusal and isinstance(refusal, str)):
        return replace(reply, text=content or str(refusal or ""), finish="refusal")
    reply = replace(reply, text=answer_in(content), choices=answer_tokens(choices_of(choice.get("logprobs"))))
    if ending == "length":
        return replace(reply, finish="length")
    if ending == "invalid":
        is_named = isinstance(word, str) and word
        why = f"it ended with finish_reason {one_line(str(word), SHOWN)!r}" if is_named else "it is empty, and does not say why it ended"
        return replace(reply, reason=f"{why}, which is no end of an answer")
    has_reasoning = content or message.get("content") or message.get("reasoning_content") or message.get("reasoning")
    return replace(reply, finish="stop", reason="it holds reasoning and no answer" if has_reasoning and not reply.text else "")


def read_failed_generation(fault: TransportError, bound: Usage, sent: str) -> Reply | None:
    """Return an invalid reply for a server's error that the model wrote no valid JSON.

    None for any other fault. Groq's `json_validate_failed` (status 400), and the equivalents of others.
    """
    if fault.kind != "status" or not (fault.code in NO_JSON_CODES or NO_JSON.search(fault.message)):
        return None
    why = f"the endpoint could not make valid JSON of it ({fault.message})"
    return Reply("", "invalid", bound, raw=fault.raw or "", sent=sent, headers=fault.headers, reason=why)


def json_of(raw: str | bytes, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return a body as a JSON object; TransportError is "garbage" or the body's error."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    text = raw if isinstance(raw, str) else raw.decode("utf-8", "replace")
    error = error_inside(body)
    if error is not None:
        raise _fault_of(error, text, headers)
    if not isinstance(body, dict):
        raise TransportError("garbage", f"the body is no JSON object: {one_line(text, SHOWN)!r}", headers=headers)
    return body


def _fault_of(error: ErrorSaid, raw: str, headers: Mapping[str, str] | None, usage: Usage | None = None) -> TransportError:
    return TransportError("status", error.message, status=error.status, code=error.code, param=error.param, headers=headers, raw=raw, usage=usage)


def _text_of(content: Any) -> str:
    """Return a message's text; of a list only text parts (others are reasoning)."""
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict) and part.get("type") in TEXT_PARTS]
        return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def usage_of(body: dict[str, Any], bound: Usage) -> Usage:
    """Return the tokens counted by the endpoint; the bound where impossible or missing."""
    usage = body.get("usage")
    if isinstance(usage, dict):
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
        if type(prompt) is int and type(completion) is int and 0 < prompt <= bound.prompt_tokens and 0 <= completion <= bound.completion_tokens:
            return Usage(prompt, completion, cached_tokens=_cached_of(usage, prompt))
    return bound


def _cached_of(usage: dict[str, Any], prompt: int) -> int:
    """Return the prompt's tokens from the endpoint's cache; 0 where impossible or missing."""
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return cached if type(cached) is int and 0 <= cached <= prompt else 0


def choices_of(logprobs: Any) -> tuple[TokenChoice, ...]:
    """Return the reply's tokens with alternatives; nothing where missing or unreadable."""
    try:
        return tuple(
            TokenChoice(
                entry["token"],
                _logprob(entry["logprob"]),
                tuple((other["token"], _logprob(other["logprob"])) for other in entry.get("top_logprobs") or ()),
            )
            for entry in (logprobs or {}).get("content") or ()
        )
    except UNREADABLE:
        return ()


def _logprob(value: Any) -> float:
    """Return a log-probability; raises ValueError for NaN and what no rounding puts above 0."""
    number = float(value)
    if not number < 1.0:
        raise ValueError(f"{number} is no log-probability")
    return number


def read_prompt_tokens(body: dict[str, Any]) -> tuple[TokenChoice, ...] | None:
    """Return a prompt's token log-probabilities in `/completions` (`echo` or vLLM's `prompt_logprobs`).

    None where there are none. The first token has no log-probability and is left out, and so is what was generated after the prompt. vLLM gives null
    for the first token, and `{token id: {"logprob", "rank", "decoded_token"}}` for others, the actual token first. Source: vLLM,
    `vllm.entrypoints.openai.protocol`.
    """
    try:
        choice = body["choices"][0]
        if isinstance(choice.get("prompt_logprobs"), list):
            actual = [next(iter(entry.values())) for entry in choice["prompt_logprobs"] if entry]
            pairs = [(token.get("decoded_token") or "", token["logprob"]) for token in actual]
        else:
            pairs = list(zip(choice["logprobs"]["tokens"], choice["logprobs"]["token_logprobs"], strict=True))
            usage = body.get("usage")
            has_generated = not isinstance(usage, dict) or usage.get("completion_tokens") != 0
            pairs = [pair for pair in pairs[: len(pairs) - has_generated] if isinstance(pair[1], int | float)]
        return tuple(TokenChoice(str(token), _logprob(value)) for token, value in pairs) or None
    except UNREADABLE:
        return None


def read_vectors(body: dict[str, Any], count: int) -> list[NDArray[np.float32]]:
    """Return `count` unit-length vectors of an `/embeddings` body, in input order, or raise TransportError."""
    data = body.get("data")
    if not isinstance(data, list) or len(data) != count:
        raise TransportError("garbage", f"asked for {count} embeddings, got {len(data) if isinstance(data, list) else 'none'}")
    try:
        ordered = sorted(data, key=lambda entry: int(entry["index"]))
        vectors = [np.asarray(entry["embedding"], dtype=np.float32) for entry in ordered]
    except UNREADABLE:
        raise TransportError("garbage", "the embeddings are no lists of numbers") from None
    if any(vector.ndim != 1 or not vector.size or not np.isfinite(vector).all() for vector in vectors):
        raise TransportError("garbage", "the embeddings hold NaN, infinity or nothing")
    return [vector / max(float(np.linalg.norm(vector)), 1e-12) for vector in vectors]


def batch_line(key: str, body: dict[str, Any]) -> bytes:
    """Return a question as a line: `custom_id` is its key."""
    return json.dumps({"custom_id": key, "method": "POST", "url": BATCH_PATH, "body": body}).encode() + b"\n"


def parse_batch_line(text: bytes) -> tuple[str, dict[str, Any]] | None:
    """Return (key, line) of a file's line, or None (then its question is unanswered)."""
    try:
        line = json.loads(text) if text.strip() else None
    except (ValueError, RecursionError):
        return None
    return (line["custom_id"], line) if isinstance(line, dict) and isinstance(line.get("custom_id"), str) else None


def batch_reply(line: dict[str, Any]) -> str | None:
    """Return the reply's body, None for an expired line; raises TransportError for an error."""
    response, error = line.get("response"), line.get("error")
    if isinstance(response, dict):
        body, status = response.get("body"), response.get("status_code")
        # Where a request failed, vLLM's runner has no body, and says why beside the response.
        text = json.dumps(error if body is None and status != 200 and error is not None else body, ensure_ascii=False)
        if status == 200:
            return text
        said = error_of(text)
        number = status if type(status) is int and 400 <= status < 600 else 500
        raise TransportError("status", said.message or f"HTTP {status}", status=number, code=said.code, param=said.param, raw=text)
    code = str(error.get("code")) if isinstance(error, dict) else ""
    if code == EXPIRED:
        return None
    message = str(error.get("message")) if isinstance(error, dict) else "the line holds neither a response nor an error"
    raise TransportError("status", message, status=500, code=code or None)
