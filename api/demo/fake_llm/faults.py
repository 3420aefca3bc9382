"""Define the faults of a scripted endpoint."""

from dataclasses import dataclass
from typing import Any

from api.demo.fake_llm.texts import draw

# Shares of requests. Each request draws its own fault, so a retry most likely succeeds.
PASSING = (
    "rate_limited",
    "rate_limited_silently",
    "server_error",
    "dropped",
    "dropped_midway",
    "stalled",
    "truncated_body",
    "invalid_json",
    "missing_verdicts",
    "extra_verdicts",
    "refused",
    "wrong_usage",
    "slow",
    "cut_short",
)
# Faults of any request; the others need a reply in words.
OF_TRANSPORT = frozenset(
    {"rate_limited", "rate_limited_silently", "server_error", "dropped", "dropped_midway", "stalled", "truncated_body", "slow"},
)
# Mixed faults are for whole jobs, whose clients wait for the end of a stall.
MIXED_STALL_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults of a scripted server: shares of transient faults, then lasting faults.

    rate_limited            429 with `Retry-After: retry_after_seconds`; `_silently`: without the header
    server_error            500
    dropped                 the connection closes before the reply; `_midway`: within its body
    stalled                 the reply comes after `stall_seconds`
    truncated_body          half of the body, with a Content-Length that fits the half
    invalid_json            a reply in words that is not JSON
    missing_verdicts        one of the requested answers is left out; `extra_verdicts`: one is added
    refused                 `refusal` instead of `content`
    wrong_usage             token counts are negative, absurd, or missing
    slow                    the body comes in ten pieces over `slow_seconds`
    cut_short               half of the content, `finish_reason: length`
    at                      prefixes of the paths with transient faults; empty: all paths
    batch_failed, batch_expired  shares of batches; an expired one has done half of its lines

    key_revoked_after, quota_after   requests that are still answered; then 401, or 429 `insufficient_quota`
    requests_per_second     more than this (a second's worth at once) gets 429 with Retry-After, and every reply has `x-ratelimit-*` headers
    context_window          tokens of prompt and reply together; more is 400 `context_length_exceeded`
    lacks                   fields of the request that get 400 (`logprobs`, `json_schema`, `json_object`, `max_tokens`, `temperature`, `seed`,
                            `echo`) and paths that get 404 (`models`, `completions`, `embeddings`, `files`, `batches`)
    ignores                 `logprobs`, `json_schema`, `json_object`, `usage`: accepted, but ignored
    """

    rate_limited: float = 0.0
    rate_limited_silently: float = 0.0
    server_error: float = 0.0
    dropped: float = 0.0
    dropped_midway: float = 0.0
    stalled: float = 0.0
    truncated_body: float = 0.0
    invalid_json: float = 0.0
    missing_verdicts: float = 0.0
    extra_verdicts: float = 0.0
    refused: float = 0.0
    wrong_usage: float = 0.0
    slow: float = 0.0
    cut_short: float = 0.0
    at: tuple[str, ...] = ()
    batch_failed: float = 0.0
    batch_expired: float = 0.0
    retry_after_seconds: float = 0.05
    stall_seconds: float = 3600.0
    slow_seconds: float = 0.2
    key_revoked_after: int | None = None
    quota_after: int | None = None
    requests_per_second: float | None = None
    context_window: int | None = None
    lacks: frozenset[str] = frozenset()
    ignores: frozenset[str] = frozenset()

    @classmethod
    def mixed(cls, share: float, **others: Any) -> "Faults":
        """Return equal shares of all transient faults, in sum `share`, with fields `others`."""
        if not 0 <= share <= 1:
            raise ValueError(f"a share lies between 0 and 1, and {share} does not")
        return cls(**{name: share / len(PASSING) for name in PASSING} | {"stall_seconds": MIXED_STALL_SECONDS} | others)

    def drawn(self, seed: int, number: int) -> str | None:
        """Return the transient fault of the `number`th request; None for most."""
        chance = draw(seed, number)
        for name in PASSING:
            chance -= getattr(self, name)
            if chance < 0:
                return name
        return None

    def of_batch(self, seed: int, number: int) -> str | None:
        """Return `batch_failed`, `batch_expired` or None for the `number`th batch."""
        chance = draw(seed, "batch", number)
        if chance < self.batch_failed:
            return "batch_failed"
        return "batch_expired" if chance < self.batch_failed + self.batch_expired else None
