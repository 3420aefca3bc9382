"""Hold the options and state of an endpoint, with counts of requests and bills."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from api.demo.fake_llm.faults import Faults
from api.demo.fake_llm.readers import ScriptedReader

DEFAULT_MODELS = ("scripted", "scripted-judge", "scripted-embedding")
BODIES_KEPT = 256


@dataclass(slots=True)
class CallTotals:
    """Counts of requests and bills, written by the server's thread alone.

    A call is billed once its answer is made, even if that does not arrive: dropped, stalled and truncated replies are billed, 4xx and 5xx are not.
    `prompt_tokens` and `completion_tokens` are the true ones, whatever the reply says. `calls` counts lines of batches, too.
    """

    requests: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    by_path: Counter[str] = field(default_factory=Counter)
    calls_by_path: Counter[str] = field(default_factory=Counter)
    by_status: Counter[int] = field(default_factory=Counter)
    by_fault: Counter[str] = field(default_factory=Counter)
    by_task: Counter[str] = field(default_factory=Counter)
    bodies: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=BODIES_KEPT))

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def bill(self, path: str, prompt_tokens: int, completion_tokens: int) -> None:
        self.calls += 1
        self.calls_by_path[path] += 1
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens

    def as_json(self) -> dict[str, Any]:
        """Return everything but the bodies."""
        names = ("requests", "calls", "prompt_tokens", "completion_tokens", "tokens", "in_flight", "max_in_flight")
        counters = ("by_path", "calls_by_path", "by_status", "by_fault", "by_task")
        return {name: getattr(self, name) for name in names} | {name: dict(getattr(self, name)) for name in counters}


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a server; `batch_seconds` is how long a batch stays in each state."""

    latency_seconds: float = 0.0
    key: str = ""
    models: tuple[str, ...] = DEFAULT_MODELS
    seed: int = 0
    embedding_width: int = 256
    batch_seconds: float = 0.05


@dataclass(slots=True)
class EndpointState:
    """State kept while a server is stopped; `question_counts` counts equal questions."""

    reader: ScriptedReader
    faults: Faults
    options: Options
    totals: CallTotals = field(default_factory=CallTotals)
    question_counts: Counter[str] = field(default_factory=Counter)
