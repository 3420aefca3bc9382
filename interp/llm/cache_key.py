"""Compute cache keys of questions, and store answers that are not a chat's."""

import base64
import hashlib
import json
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
from numpy.typing import NDArray

from interp.domain.spec import ModelSpec
from interp.llm.base import Prompt, TokenChoice


def settings_of(spec: ModelSpec, base_url: str) -> dict[str, Any]:
    """Return the settings of a model that decide its answers: not transport, timeout or price."""
    return {
        "base_url": base_url,
        "model": spec.model,
        "temperature": spec.temperature,
        "structured": spec.structured,
        "max_tokens": spec.max_tokens,
        "extra": dict(sorted(spec.extra.items())),
    }


@lru_cache(maxsize=256)
def shown_url(base_url: str) -> str:
    """Return a URL for records and errors: without user, password and query."""
    parts = urlsplit(base_url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


class Namer:
    """Cache keys of one model's questions: sha256 of its settings and the question."""

    def __init__(self, spec: ModelSpec, base_url: str) -> None:
        self._begun = hashlib.sha256(_canonical(settings_of(spec, base_url)))

    def chat(self, prompt: Prompt) -> str:
        return self._name(["chat", prompt.content()])

    def embedding(self, text: str) -> str:
        return self._name(["embed", text])

    def reading(self, text: str) -> str:
        return self._name(["read", text])

    def _name(self, content: Any) -> str:
        digest = self._begun.copy()
        digest.update(_canonical(content))
        return digest.hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def packed_vector(vector: NDArray[np.float32]) -> str:
    """Encode a vector as little-endian float32 in base64, a quarter of its decimals."""
    return json.dumps({"embedding": base64.b64encode(vector.astype("<f4").tobytes()).decode()})


def unpacked_vector(raw: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(json.loads(raw)["embedding"]), dtype="<f4").astype(np.float32)


def packed_tokens(choices: tuple[TokenChoice, ...]) -> str:
    """Encode the tokens of a text that was read."""
    return json.dumps({"tokens": [[choice.token, choice.logprob] for choice in choices]})


def unpacked_tokens(raw: str) -> tuple[TokenChoice, ...]:
    return tuple(TokenChoice(token, logprob) for token, logprob in json.loads(raw)["tokens"])
