"""The scripted server as tests use it: questions in our prompts' form, and clients that are not ours."""

import json
from collections.abc import Sequence
from typing import Any

import httpx
import openai

from interp.llm.base import Prompt
from interp.llm.prompt_text import FENCE_RULE, fence, fence_label, nonce_of
from tests.fakes.full_server import FullServer

MODEL = "scripted"


def question(kind: str, label: str | None, texts: Sequence[str] | dict[str, str], wording: str = "Answer in JSON.") -> list[dict[str, str]]:
    """Messages of a prompt as our templates build them; texts are numbered from 1 where they bring no ids."""
    named = list(texts.items()) if isinstance(texts, dict) else [(str(number), text) for number, text in enumerate(texts, start=1)]
    nonce = nonce_of([*(text for _, text in named), label or ""])
    user = ([fence_label(label, nonce)] if label is not None else []) + [fence(named, nonce)]
    return [{"role": "system", "content": f"Task: {kind}\n{FENCE_RULE}\n{wording}"}, {"role": "user", "content": "\n".join(user)}]


def body(messages: list[dict[str, str]] | None = None, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "temperature": 0, "messages": messages or question("detect", '"cat"', ["a cat", "a dog"])} | fields


def body_of(prompt: Prompt, **fields: Any) -> dict[str, Any]:
    """One of our own prompts as a request with a schema, where it has one."""
    messages = [{"role": message.role, "content": message.content} for message in prompt.messages]
    found = body(messages, max_tokens=prompt.max_tokens)
    if prompt.schema:
        found["response_format"] = {"type": "json_schema", "json_schema": {"name": prompt.schema.name, "schema": prompt.schema.body}}
    if prompt.top_logprobs:
        found |= {"logprobs": True, "top_logprobs": prompt.top_logprobs}
    return found | fields


def post(server: FullServer, sent: dict[str, Any], path: str = "/chat/completions", timeout: float = 10.0, key: str = "") -> httpx.Response:
    """One request on a connection of its own."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.post(server.base_url + path, json=sent, headers=headers, timeout=timeout)


def said(response: httpx.Response) -> Any:
    """The JSON in the reply's text."""
    return json.loads(response.json()["choices"][0]["message"]["content"])


def sdk(server: FullServer, key: str = "any") -> openai.OpenAI:
    """The bare SDK, without its retries."""
    return openai.OpenAI(base_url=server.base_url, api_key=key, max_retries=0)
