"""Replies of `POST /v1/completions`, with the log-probabilities of a prompt."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from api.demo.fake_llm.answers import answer
from api.demo.fake_llm.asked import question
from api.demo.fake_llm.readers import QuotedReader
from api.demo.fake_llm.replies import CREATED, NO_JSON, OpenAIError, ScriptedReply, usage
from api.demo.fake_llm.texts import draw, split


def prompts_of(body: dict[str, Any]) -> list[str]:
    prompts = body.get("prompt")
    prompts = [prompts] if isinstance(prompts, str) else prompts
    if not isinstance(prompts, list) or not prompts or not all(isinstance(text, str) for text in prompts):
        raise OpenAIError(400, "A prompt is a string or a list of strings.", "invalid_request_error", None, "prompt")
    return prompts


def completion(reader: QuotedReader, asked: Counter[str], body: dict[str, Any], number: int, fault: str | None) -> ScriptedReply:
    """Return the reply; with `echo` the prompt's log-probabilities."""
    del asked
    prompts = prompts_of(body)
    choices = [_completed(reader, body, text, place, int(body.get("max_tokens", 16)), fault) for place, text in enumerate(prompts)]
    used, said = sum(len(split(text)) for text in prompts), sum(choice.pop("said") for choice in choices)
    reply = {"id": f"cmpl-{number}", "object": "text_completion", "created": CREATED, "model": body["model"], "choices": choices}
    return ScriptedReply(reply | usage(used, said, number, fault), used, said, "read" if body.get("echo") else "completion")


def _completed(reader: QuotedReader, body: dict[str, Any], prompt: str, index: int, max_tokens: int, fault: str | None) -> dict[str, Any]:
    answered = answer(question([("system", prompt), ("user", prompt)], {}, prompt), reader).rendered()[0] if max_tokens else ""
    if fault == "invalid_json":
        answered = NO_JSON
    said = split(answered)[:max_tokens]
    tokens = [*split(prompt), *said] if body.get("echo") else said
    logprobs = None
    if body.get("logprobs") is not None and body.get("logprobs") is not False:
        values = read_logprobs(tokens) if body.get("echo") else [-0.01] * len(tokens)
        offsets = [0]
        for token in tokens:
            offsets.append(offsets[-1] + len(token))
        top = [None if value is None else {token: value} for token, value in zip(tokens, values, strict=True)]
        logprobs = {"tokens": tokens, "token_logprobs": values, "top_logprobs": top, "text_offset": offsets[:-1]}
    finish = "length" if len(said) == max_tokens else "stop"
    return {"text": "".join(tokens), "index": index, "logprobs": logprobs, "finish_reason": finish, "said": len(said)}


def read_logprobs(tokens: Sequence[str]) -> list[float | None]:
    """Return a prompt's log-probabilities: repeated words are likely, new ones by hash, first None."""
    seen: set[str] = set()
    found: list[float | None] = []
    for token in tokens:
        word = token.strip().casefold()
        if not word[:1].isalnum():
            found.append(-1.0 - draw(word))
        else:
            found.append(-1.5 if word in seen else -5.0 - 5.0 * draw(word))
            seen.add(word)
    if found:
        found[0] = None
    return found
