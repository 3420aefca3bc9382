"""Define the types between the client and its transports, live and batch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from interp.domain.cleaning import one_line
from interp.domain.spec import ModelSpec
from interp.llm.base import Prompt, Reply, Usage
from interp.llm.call_store import CallStore

if TYPE_CHECKING:
    from interp.llm.transports.http import Response

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


@dataclass(frozen=True, slots=True)
class BatchInfo:
    """The state of a batch, failed whole where `errors` say why.

    `status` in the API's words: validating, in_progress, finalizing, completed, failed, expired, cancelling, cancelled.
    """

    id: str
    status: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    completed: int = 0
    errors: tuple[str, ...] = ()

    @property
    def has_ended(self) -> bool:
        return self.status in {"completed", "failed", "expired", "cancelled"}


class BatchEndpoint(Protocol):
    """What is asked for answers: an endpoint over HTTP, or files; failed requests raise TransportError."""

    @property
    def base_url(self) -> str: ...

    async def post(self, path: str, body: bytes, timeout: float, extra_bytes: int = 0) -> "Response":
        """Post a JSON body; raises AbilityMissingError where nothing is asked live."""
        ...

    async def upload_batch_file(self, lines: bytes) -> str:
        """Keep a file of JSON lines and return its id."""
        ...

    async def create_batch(self, file_id: str, path: str) -> BatchInfo: ...

    async def batch(self, batch_id: str) -> BatchInfo: ...

    async def batch_of_file(self, file_id: str) -> BatchInfo | None:
        """Return the batch made of a file, or None."""
        ...

    async def read_lines(self, file_id: str, size: int, extra_bytes: int, take: Callable[[bytes], None]) -> None:
        """Pass on the lines of a file, `size` bytes in all at most."""
        ...

    def clean(self, text: str) -> str:
        """Remove secrets from a text."""
        ...

    async def close(self) -> None: ...


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
