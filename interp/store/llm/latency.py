"""How long a job's calls took: a histogram with edges a tenth apart, added to as calls are recorded, so that a percentile is read from a few rows."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from interp.store.db.bulk import upsert
from interp.store.db.tables import LlmLatencyRow
from interp.store.llm.totals import SLOT

Group = tuple[str, str, str, str, str]
GROUP = ("stage", "purpose", "model", "base_url", "transport")
# A bucket's upper edge over its lower one: the middle of a bucket is within 5% of all that is in it.
RATIO = 1.1
# All that took less counts as this.
LEAST_SECONDS = 0.001


def bucket_of(seconds: float) -> int:
    """The bucket of a call."""
    return math.floor(math.log(max(seconds, LEAST_SECONDS)) / math.log(RATIO))


def seconds_of(bucket: int) -> float:
    """The geometric middle of a bucket."""
    return float(RATIO ** (bucket + 0.5))


def nearest_rank(histogram: Mapping[int, int], share: float) -> float:
    """Seconds that `share` (above 0) of the calls stay within, within 5%. The histogram gives the calls of each bucket, at least one in all."""
    rank = math.ceil(share * sum(histogram.values()))
    within = 0
    for bucket in sorted(histogram):
        within += histogram[bucket]
        if within >= rank:
            return seconds_of(bucket)
    raise ValueError(f"no {share} of {within} calls")


def add(session: Session, calls: Iterable[Mapping[str, Any]]) -> None:
    """Adds rows of `llm_calls` to the histograms of their jobs. In the order of their keys, so that two writers cannot deadlock."""
    counts = Counter((call["job_id"], *(call[name] for name in GROUP), bucket_of(call["seconds"])) for call in calls)
    keys = ("job_id", *GROUP, "bucket")
    rows = [dict(zip(keys, key, strict=True)) | {"slot": SLOT, "calls": number} for key, number in sorted(counts.items())]
    upsert(session, LlmLatencyRow, rows, [*keys, "slot"], update=[], assign=_added)


def _added(new: Any) -> dict[str, ColumnElement[Any]]:
    return {"calls": LlmLatencyRow.calls + new["calls"]}


def percentiles(session: Session, job_id: str, shares: Sequence[float]) -> list[dict[Group, float]]:
    """For each share: seconds of a whole call, attempts and waits included, that so many of a group's calls stay within (nearest rank, within 5%).

    By (stage, purpose, model, base URL, transport).
    """
    columns = [getattr(LlmLatencyRow, name) for name in (*GROUP, "bucket")]
    counted = select(*columns, func.sum(LlmLatencyRow.calls)).where(LlmLatencyRow.job_id == job_id).group_by(*columns)
    found: dict[Group, dict[int, int]] = {}
    for *group, bucket, number in session.execute(counted):
        stage, purpose, model, base_url, transport = group
        found.setdefault((stage, purpose, model, base_url, transport), {})[bucket] = int(number)
    return [{group: nearest_rank(histogram, share) for group, histogram in found.items()} for share in shares]
