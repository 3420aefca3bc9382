"""Build replies of the OpenAI API: chat completions, completions and embeddings."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from api.demo.fake_llm.answers import answer
from api.demo.fake_llm.asked import question
from api.demo.fake_llm.state import EndpointState
from api.demo.fake_llm.texts import chat_logprobs, embedding, encoded, prompt_tokens, read_logprobs, split
from api.demo.fake_llm.wire import ScriptedResponse

REFUSAL = "I'm sorry, but I cannot assist with that request."
NO_JSON = 'Sure! Here is what I found: {"1": "ye'
CREATED = 1_750_000_000  # a constant, so that equal questions get equal replies
ABSURD = 10**12
DEFAULT_MAX_TOKENS = 4096


class OpenAIError(Exception):
    """An error reply with an `error` object."""

    def __init__(
        self, status: int, message: str, kind: str, code: str | None = None, parameter: str | None = None, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers
        self.body = {"error": {"message": message, "type": kind, "param": parameter, "code": code}}

    def response(self) -> ScriptedResponse:
        return ScriptedResponse(self.status, json.dumps(self.body).encode(), self.headers)


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """A body, its true number of tokens, and the kind of its question."""

    body: dict[str, Any]
    prompt_tokens: int
    completion_tokens: int
    task: str = ""


def parsed(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise OpenAIError(400, f"We could not parse the JSON body of your request: {error}.", "invalid_request_error") from error
    if not isinstance(found, dict):
        raise OpenAIError(400, "The body of a request is a JSON object.", "invalid_request_error")
    return found


def as_response(body: dict[str, Any]) -> ScriptedResponse:
    """Return a JSON response, or an event stream for a body with `chunks`."""
    if "chunks" not in body:
        return ScriptedResponse(200, json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    events = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in body["chunks"]) + "data: [DONE]\n\n"
    return ScriptedResponse(200, events.encode(), content_type="text/event-stream")


def chat(state: EndpointState, body: dict[str, Any], number: int, fault: str | None) -> ScriptedReply:
    """Return the reply of `POST /v1/chat/completions`."""
    messages = _messages(body)
    response_format = body.get("response_format") or {}
    _check_supported(state.faults.lacks, body, response_format)
    form = {} if response_format.get("type") in state.faults.ignores else response_format
    wants_logprobs = bool(body.get("logprobs")) and "logprobs" not in state.faults.ignores
    prompt = prompt_tokens([text for _, text in messages])
    max_tokens = body.get("max_completion_tokens") or body.get("max_tokens") or DEFAULT_MAX_TOKENS
    _check_context_window(state.faults.context_window, prompt, max_tokens)
    key = hashlib.blake2b(json.dumps(messages).encode(), digest_size=16).hexdigest()
    asked = question(messages, form, key)
    found = answer(asked, state.reader, _variant(state, body, key)).with_fault(fault, number)
    text, odds = found.rendered()
    if fault == "refused":
        text, odds = REFUSAL, {}
    elif fault == "invalid_json":
        text, odds = NO_JSON, {}
    tokens = split(text)
    is_cut = len(tokens) > max_tokens or (fault == "cut_short" and len(tokens) > 1)
    if is_cut:
        tokens = tokens[: min(max_tokens, len(tokens) // 2) if fault == "cut_short" else max_tokens]
        text = "".join(tokens)
    is_refusal = fault == "refused"
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": None if is_refusal else text, "refusal": text if is_refusal else None},
        "logprobs": {"content": chat_logprobs(tokens, odds, int(body.get("top_logprobs") or 0)), "refusal": None} if wants_logprobs else None,
        "finish_reason": "length" if is_cut else "stop",
    }
    reply = {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": CREATED, "model": body["model"], "choices": [choice]}
    reply |= _usage(state, prompt, len(tokens), fault)
    return ScriptedReply(_streamed(reply) if body.get("stream") else reply, prompt, len(tokens), asked.kind or "other")


def _messages(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (role, text) per message; contents that are lists of parts are joined."""
    found = body.get("messages")
    if not isinstance(found, list) or not found or not all(isinstance(message, dict) for message in found):
        raise OpenAIError(400, "Missing required parameter: 'messages'.", "invalid_request_error", "missing_required_parameter", "messages")
    return [(str(message.get("role")), _text(message.get("content"))) for message in found]


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _check_supported(lacks: frozenset[str], body: dict[str, Any], response_format: dict[str, Any]) -> None:
    kind = response_format.get("type")
    if kind in lacks:
        what = f"Invalid parameter: 'response_format' of type '{kind}' is not supported with this model."
        raise OpenAIError(400, what, "invalid_request_error", None, "response_format")
    for name in ("max_tokens", "logprobs", "temperature", "seed", "echo"):
        if name in lacks and body.get(name) is not None and body[name] is not False:
            instead = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
            what = f"Unsupported parameter: '{name}' is not supported with this model.{instead}"
            raise OpenAIError(400, what, "invalid_request_error", "unsupported_parameter", name)


def _check_context_window(window: int | None, prompt: int, max_tokens: int) -> None:
    if window is not None and prompt + max_tokens > window:
        what = (
            f"This model's maximum context length is {window} tokens. However, you requested {prompt + max_tokens} tokens ({prompt} in the messages, "
            f"{max_tokens} in the completion). Please reduce the length of the messages or completion."
        )
        raise OpenAIError(400, what, "invalid_request_error", "context_length_exceeded", "messages")


def _variant(state: EndpointState, body: dict[str, Any], key: str) -> int:
    """Count earlier equal questions if the temperature (default 1) allows different answers."""
    if body.get("temperature", 1) == 0:
        return 0
    state.question_counts[key] += 1
    return state.question_counts[key] - 1


def _usage(state: EndpointState, prompt: int, completion: int, fault: str | None) -> dict[str, Any]:
    """Return the `usage` object, or by turns a negative, absurd or missing one."""
    if "usage" in state.faults.ignores:
        return {}
    if fault == "wrong_usage":
        turn = state.totals.by_fault["wrong_usage"] % 3
        if turn == 0:
            return {}
        prompt, completion = (-prompt, -completion) if turn == 1 else (ABSURD, ABSURD)
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}}


def _streamed(reply: dict[str, Any]) -> dict[str, Any]:
    """Return a reply as stream chunks: role and content, finish reason, usage."""
    choice, message = reply["choices"][0], reply["choices"][0]["message"]
    head = {name: reply[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    begun = {"index": 0, "delta": message, "logprobs": choice["logprobs"], "finish_reason": None}
    ended: dict[str, Any] = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": choice["finish_reason"]}
    usage = [head | {"choices": [], "usage": reply["usage"]}] if "usage" in reply else []
    return {"chunks": [head | {"choices": [begun]}, head | {"choices": [ended]}, *usage]}


def completion(state: EndpointState, body: dict[str, Any], number: int, fault: str | None) -> ScriptedReply:
    """Return the reply of `POST /v1/completions`; with `echo` the prompt's log-probabilities."""
    prompts = body.get("prompt")
    prompts = [prompts] if isinstance(prompts, str) else prompts
    if not isinstance(prompts, list) or not prompts or not all(isinstance(text, str) for text in prompts):
        raise OpenAIError(400, "A prompt is a string or a list of strings.", "invalid_request_error", None, "prompt")
    _check_supported(state.faults.lacks, body, {})
    max_tokens = int(body.get("max_tokens", 16))
    used = sum(len(split(text)) for text in prompts)
    _check_context_window(state.faults.context_window, used, max_tokens)
    choices = [_completed(state, body, text, place, max_tokens, fault) for place, text in enumerate(prompts)]
    said = sum(choice.pop("said") for choice in choices)
    reply = {"id": f"cmpl-{number}", "object": "text_completion", "created": CREATED, "model": body["model"], "choices": choices}
    return ScriptedReply(reply | _usage(state, used, said, fault), used, said, "read" if body.get("echo") else "completion")


def _completed(state: EndpointState, body: dict[str, Any], prompt: str, index: int, max_tokens: int, fault: str | None) -> dict[str, Any]:
    answered = answer(question([("system", prompt), ("user", prompt)], {}, prompt), state.reader).rendered()[0] if max_tokens else ""
    if fault == "invalid_json":
        answered = NO_JSON
    said = split(answered)[:max_tokens]
    tokens = [*split(prompt), *said] if body.get("echo") else said
    logprobs = None
    if body.get("logprobs") is not None and body.get("logprobs") is not False and "logprobs" not in state.faults.ignores:
        values = read_logprobs(tokens) if body.get("echo") else [-0.01] * len(tokens)
        offsets = [0]
        for token in tokens:
            offsets.append(offsets[-1] + len(token))
        top = [None if value is None else {token: value} for token, value in zip(tokens, values, strict=True)]
        logprobs = {"tokens": tokens, "token_logprobs": values, "top_logprobs": top, "text_offset": offsets[:-1]}
    finish = "length" if len(said) == max_tokens else "stop"
    return {"text": "".join(tokens), "index": index, "logprobs": logprobs, "finish_reason": finish, "said": len(said)}


def embeddings(state: EndpointState, body: dict[str, Any], number: int, fault: str | None) -> ScriptedReply:
    """Return the reply of `POST /v1/embeddings` for strings or token ids, taken as words."""
    del number
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if isinstance(texts, list) and texts and all(isinstance(item, int) for item in texts):
        texts = [texts]
    if not isinstance(texts, list) or not texts:
        raise OpenAIError(400, "Missing required parameter: 'input'.", "invalid_request_error", "missing_required_parameter", "input")
    words = [text if isinstance(text, str) else " ".join(map(str, text)) for text in texts]
    width = int(body.get("dimensions") or state.options.embedding_width)
    form = str(body.get("encoding_format") or "float")
    data = [{"object": "embedding", "index": place, "embedding": encoded(embedding(text, width), form)} for place, text in enumerate(words)]
    used = prompt_tokens(words)
    usage = _usage(state, used, 0, fault)
    if usage:
        usage["usage"].pop("completion_tokens")
    return ScriptedReply({"object": "list", "model": body["model"], "data": data} | usage, used, 0, "embed")
