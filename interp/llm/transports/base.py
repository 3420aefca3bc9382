"""Define the types between the client and its transports, live and batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from interp.domain.cleaning import one_line
from interp.domain.spec import ModelSpec
from interp.llm.base import Prompt, Reply, Usage
from interp.llm.call_store import CallStore

# `oversized`: past a cap on what a reply may hold; `forbidden`: the host has only forbidden addresses.
FaultKind = Literal["connect", "forbidden", "timeout", "dropped", "garbage", "oversized", "status"]
UNSENT = frozenset({"connect", "forbidden"})
MAX_CODE = 100

# Statuses after which a proxy may have given up on an answer that the model continued to write.
MAYBE_BILLED = frozenset({408, 504, 524})


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat question; `key` is its cache key (batch `custom_id`), `bound` its token limit."""

    key: str
    spec: ModelSpec
    prompt: Prompt
    bound: Usage


class TransportError(Exception):
    """The error of an attempt without an answer: bad status, connection or body.

    `usage` is what the endpoint bills for the attempt all the same; None where it did not say. The endpoint's words are shortened and cleaned of
    control characters here, since they go to clients, logs and the database.
    """

    def __init__(
        self,
        kind: FaultKind,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        raw: str | None = None,
        usage: Usage | None = None,
    ) -> None:
        self.kind, self.message, self.status = kind, one_line(message), status
        self.code, self.param = code and one_line(code, MAX_CODE), param and one_line(param, MAX_CODE)
        super().__init__(self.message)
        self.headers: Mapping[str, str] = headers or {}
        self.raw, self.usage = raw, usage

    @property
    def reached(self) -> bool:
        """Return whether the request left this machine: then it counts as a call."""
        return self.kind not in UNSENT

    @property
    def may_have_cost(self) -> bool:
        """Return whether the endpoint may have written, and billed, an answer that was lost."""
        if self.kind == "status":
            return self.status in MAYBE_BILLED
        return self.kind not in UNSENT


class ChatTransport(Protocol):
    """A way to send a chat question once, without retries, budget or cache."""

    @property
    def name(self) -> Literal["live", "batch"]: ...

    async def chat(self, request: ChatRequest, call_store: CallStore) -> Reply:
        """Return the answer to one attempt, or raise TransportError.

        `call_store` is the same for all questions of one chunk; the live transport does not need it. A batch transport collects questions, submits
        them together, and answers each when its batch has ended; thousands of calls may wait at once.
        """
        ...

    async def close(self) -> None: ...
