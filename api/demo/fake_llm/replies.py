"""Build replies of the OpenAI API: chat completions and embeddings."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from api.demo.fake_llm.answers import answer
from api.demo.fake_llm.asked import question
from api.demo.fake_llm.readers import QuotedReader
from api.demo.fake_llm.texts import chat_logprobs, embedding, encoded, prompt_tokens, split

REFUSAL = "I'm sorry, but I cannot assist with that request."
NO_JSON = 'Sure! Here is what I found: {"1": "ye'
CREATED = 1_750_000_000  # a constant, so that equal questions get equal replies
ABSURD = 10**12
DEFAULT_MAX_TOKENS = 4096
EMBEDDING_WIDTH = 256


class OpenAIError(Exception):
    """An error reply with an `error` object."""

    def __init__(
        self, status: int, message: str, kind: str, code: str | None = None, parameter: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers
        self.body = {"error": {"message": message, "type": kind, "param": parameter, "code": code}}

    def response(self) -> web.Response:
        return json_response(self.status, self.body, self.headers)


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """A body, its true number of tokens, and the kind of its question."""

    body: dict[str, Any]
    prompt_tokens: int
    completion_tokens: int
    task: str


# Makes a reply of the reader, the counts of equal questions, the request's body and number, and its fault.
Maker = Callable[[QuotedReader, Counter[str], dict[str, Any], int, str | None], ScriptedReply]


def json_response(status: int, body: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a response of any text, surrogates included."""
    content = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return web.Response(status=status, body=content, headers=headers, content_type="application/json")


def chat(reader: QuotedReader, asked: Counter[str], body: dict[str, Any], number: int, fault: str | None) -> ScriptedReply:
    """Return the reply of `POST /v1/chat/completions`."""
    messages = chat_messages(body)
    prompt = prompt_tokens([text for _, text in messages])
    max_tokens = most_tokens(body)
    key = hashlib.blake2b(json.dumps(messages).encode(), digest_size=16).hexdigest()
    parsed = question(messages, body.get("response_format") or {}, key)
    text, odds = answer(parsed, reader, _variant(asked, body, key)).with_fault(fault, number).rendered()
    if fault == "refused":
        text, odds = REFUSAL, {}
    elif fault == "invalid_json":
        text, odds = NO_JSON, {}
    tokens = split(text)
    is_cut = len(tokens) > max_tokens or (fault == "cut_short" and len(tokens) > 1)
    if is_cut:
        tokens = tokens[: min(max_tokens, len(tokens) // 2) if fault == "cut_short" else max_tokens]
        text = "".join(tokens)
    logprobs = {"content": chat_logprobs(tokens, odds, int(body.get("top_logprobs") or 0)), "refusal": None} if body.get("logprobs") else None
    is_refusal = fault == "refused"
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": None if is_refusal else text, "refusal": text if is_refusal else None},
        "logprobs": logprobs,
        "finish_reason": "length" if is_cut else "stop",
    }
    reply = {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": CREATED, "model": body["model"], "choices": [choice]}
    return ScriptedReply(reply | usage(prompt, len(tokens), number, fault), prompt, len(tokens), parsed.kind or "other")


def chat_messages(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (role, text) per message; contents that are lists of parts are joined."""
    found = body.get("messages")
    if not isinstance(found, list) or not found or not all(isinstance(message, dict) for message in found):
        raise OpenAIError(400, "Missing required parameter: 'messages'.", "invalid_request_error", "missing_required_parameter", "messages")
    return [(str(message.get("role")), _text(message.get("content"))) for message in found]


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def most_tokens(body: dict[str, Any]) -> int:
    """Return how long the reply may be."""
    return int(body.get("max_completion_tokens") or body.get("max_tokens") or DEFAULT_MAX_TOKENS)


def _variant(asked: Counter[str], body: dict[str, Any], key: str) -> int:
    """Count earlier equal questions if the temperature (default 1) allows different answers."""
    if body.get("temperature", 1) == 0:
        return 0
    asked[key] += 1
    return asked[key] - 1


def usage(prompt: int, completion: int, number: int, fault: str | None) -> dict[str, Any]:
    """Return the `usage` object, or by turns a negative, absurd or missing one."""
    if fault == "wrong_usage":
        turn = number % 3
        if turn == 0:
            return {}
        prompt, completion = (-prompt, -completion) if turn == 1 else (ABSURD, ABSURD)
    return {"usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}}


def embeddings(reader: QuotedReader, asked: Counter[str], body: dict[str, Any], number: int, fault: str | None) -> ScriptedReply:
    """Return the reply of `POST /v1/embeddings` for strings or token ids, taken as words."""
    del reader, asked
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if isinstance(texts, list) and texts and all(isinstance(item, int) for item in texts):
        texts = [texts]
    if not isinstance(texts, list) or not texts:
        raise OpenAIError(400, "Missing required parameter: 'input'.", "invalid_request_error", "missing_required_parameter", "input")
    words = [text if isinstance(text, str) else " ".join(map(str, text)) for text in texts]
    width = int(body.get("dimensions") or EMBEDDING_WIDTH)
    form = str(body.get("encoding_format") or "float")
    data = [{"object": "embedding", "index": place, "embedding": encoded(embedding(text, width), form)} for place, text in enumerate(words)]
    used = prompt_tokens(words)
    counted = usage(used, 0, number, fault)
    if counted:
        counted["usage"].pop("completion_tokens")
    return ScriptedReply({"object": "list", "model": body["model"], "data": data} | counted, used, 0, "embed")
