"""Keep sums and latency histograms of calls, updated as calls are recorded.

Clients that follow a job ask for them every second, and a large job has millions of calls. Retention deletes calls, not sums.
"""

import math
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import add as add_numbers
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from interp.store.db.bulk import upsert
from interp.store.db.tables import Base, LlmLatencyRow, LlmTotalRow, LlmUsageRow

# Sums of dollars are kept in whole picodollars: a token of a cheap model costs some ten thousand of them.
PICO = 10**12
# Rows per key, of which a process uses one: with a single row, each transaction would wait for the one before.
SLOTS = 32
SLOT = random.randrange(SLOTS)

Group = tuple[str, ...]
GROUP = ("stage", "purpose", "model", "base_url", "transport")
USAGE = (
    "questions",
    "answered",
    "attempts",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "usage_unknown",
    "unpriced",
    "picodollars",
    "seconds",
)
TOTALS = ("calls", "attempts", "prompt_tokens", "completion_tokens", "cached_tokens", "picodollars", "unpriced")
# Each table, the purpose of its rows, and the columns that are summed.
TABLES: tuple[tuple[type[Base], tuple[str, ...], tuple[str, ...]], ...] = (
    (LlmUsageRow, ("job_id", *GROUP), USAGE),
    (LlmLatencyRow, ("job_id", *GROUP, "bucket"), ("calls",)),
    (LlmTotalRow, ("model", "status"), TOTALS),
)
# Ratio of a bucket's edges: the middle of a bucket is within 5% of all that is in it.
RATIO = 1.1
# Shorter calls count as this.
LEAST_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class UsageLine:
    """The sums of one job's calls of one stage, purpose and model.

    `questions` were sent, and `answered` of them succeeded; `attempts` counts every try. Tokens are the endpoint's count where `tokens_known` says
    that it always gave one, else partly our upper bound. `cached_tokens` of the prompts' came from the endpoint's cache. `cost_usd` is None where
    the price of some is unknown; `priced_usd` is what the others cost. `seconds` adds up the calls' own time, many at once.
    """

    stage: str
    purpose: str
    model: str
    base_url: str
    transport: str
    questions: int
    answered: int
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    tokens_known: bool
    cost_usd: float | None
    priced_usd: float
    seconds: float


def add(session: Session, calls: Iterable[Mapping[str, Any]]) -> None:
    """Add `llm_calls` rows to all sums, in key order, so that no writers deadlock."""
    counted = [{**call, **_counts(call)} for call in calls]
    for table, keys, names in TABLES:
        sums: dict[tuple[Any, ...], list[Any]] = {}
        for call in counted:
            key, more = tuple(call[name] for name in keys), [call[name] for name in names]
            sums[key] = [*map(add_numbers, sums[key], more)] if key in sums else more
        rows = [dict(zip((*keys, *names), (*key, *total), strict=True)) | {"slot": SLOT} for key, total in sorted(sums.items())]
        upsert(session, table, rows, [*keys, "slot"], update=[], add=names)


def _counts(call: Mapping[str, Any]) -> dict[str, int]:
    cost = call["cost_usd"]
    return {
        "calls": 1,
        "questions": 1,
        "answered": int(call["status"] == "answered"),
        "usage_unknown": int(not call["usage_known"]),
        "unpriced": int(cost is None),
        "picodollars": 0 if cost is None else round(cost * PICO),
        "bucket": bucket_of(call["seconds"]),
    }


def usage(session: Session, job_id: str) -> list[UsageLine]:
    """Return the sums of a job's calls by stage, purpose and model, without cached answers."""
    return usage_of_jobs(session, [job_id]).get(job_id, [])


def usage_of_jobs(session: Session, job_ids: Collection[str]) -> dict[str, list[UsageLine]]:
    """Return the sums of the calls of some jobs that have any, by id."""
    groups = [LlmUsageRow.job_id, *(getattr(LlmUsageRow, name) for name in GROUP)]
    sums = [func.sum(getattr(LlmUsageRow, name)) for name in USAGE]
    found: dict[str, list[UsageLine]] = {}
    for job_id, *rest in session.execute(select(*groups, *sums).where(LlmUsageRow.job_id.in_(job_ids)).group_by(*groups).order_by(*groups)):
        sums_of: dict[str, Any] = dict(zip(USAGE, map(int, rest[len(GROUP) : -1]), strict=False))
        unknown, unpriced, priced = sums_of.pop("usage_unknown"), sums_of.pop("unpriced"), sums_of.pop("picodollars") / PICO
        line = UsageLine(
            **dict(zip(GROUP, rest, strict=False)),
            **sums_of,
            tokens_known=unknown == 0,
            cost_usd=None if unpriced else priced,
            priced_usd=priced,
            seconds=float(rest[-1]),
        )
        found.setdefault(job_id, []).append(line)
    return found


def latency_percentiles(session: Session, job_id: str, shares: Sequence[float]) -> list[dict[Group, float]]:
    """Return latency percentiles in seconds per share and group (nearest rank, within 5%).

    A call's seconds are those of all its attempts and waits.
    """
    columns = [getattr(LlmLatencyRow, name) for name in (*GROUP, "bucket")]
    counted = select(*columns, func.sum(LlmLatencyRow.calls)).where(LlmLatencyRow.job_id == job_id).group_by(*columns)
    found: dict[Group, dict[int, int]] = {}
    for *group, bucket, number in session.execute(counted):
        found.setdefault(tuple(group), {})[bucket] = int(number)
    return [{group: nearest_rank(histogram, share) for group, histogram in found.items()} for share in shares]


def bucket_of(seconds: float) -> int:
    """Return the histogram bucket of a call."""
    return math.floor(math.log(max(seconds, LEAST_SECONDS)) / math.log(RATIO))


def seconds_of(bucket: int) -> float:
    """Return the geometric middle of a bucket."""
    return float(RATIO ** (bucket + 0.5))


def nearest_rank(histogram: Mapping[int, int], share: float) -> float:
    """Return the percentile at `share` (above 0) of a nonempty histogram in seconds, within 5%."""
    rank = math.ceil(share * sum(histogram.values()))
    within = 0
    for bucket in sorted(histogram):
        within += histogram[bucket]
        if within >= rank:
            return seconds_of(bucket)
    raise ValueError(f"no {share} of {within} calls")
