"""Lasting faults of a scripted endpoint: what it lacks, and what ends."""

from dataclasses import dataclass

from api.demo.fake_llm.faults import Faults
from api.demo.fake_llm.texts import draw


@dataclass(frozen=True)
class LastingFaults(Faults):
    """Transient faults, and lasting ones.

    at                      prefixes of the paths with transient faults; empty: all paths
    batch_failed, batch_expired  shares of batches; an expired one has done half of its lines
    key_revoked_after, quota_after   requests that are still answered; then 401, or 429 `insufficient_quota`
    requests_per_second     more than this (a second's worth at once) gets 429 with Retry-After, and every reply has `x-ratelimit-*` headers
    context_window          tokens of prompt and reply together; more is 400 `context_length_exceeded`
    lacks                   fields of the request that get 400 (`logprobs`, `json_schema`, `json_object`, `max_tokens`, `temperature`, `seed`,
                            `echo`, `prompt_cache_key`; for `unknown fields` 422, which names none) and paths that get 404 (`models`,
                            `completions`, `embeddings`, `files`, `batches`)
    ignores                 `logprobs`, `json_schema`, `json_object`, `usage`: accepted, but ignored
    """

    at: tuple[str, ...] = ()
    batch_failed: float = 0.0
    batch_expired: float = 0.0
    key_revoked_after: int | None = None
    quota_after: int | None = None
    requests_per_second: float | None = None
    context_window: int | None = None
    lacks: frozenset[str] = frozenset()
    ignores: frozenset[str] = frozenset()

    def of_batch(self, seed: int, number: int) -> str | None:
        """Return `batch_failed`, `batch_expired` or None for the `number`th batch."""
        chance = draw(seed, "batch", number)
        if chance < self.batch_failed:
            return "batch_failed"
        return "batch_expired" if chance < self.batch_failed + self.batch_expired else None


def lasting(faults: Faults) -> LastingFaults:
    """Return faults of either kind as lasting ones."""
    return faults if isinstance(faults, LastingFaults) else LastingFaults()
