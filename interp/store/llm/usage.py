"""What a job's calls add up to, kept as they are recorded: whoever watches a job asks for it every second, and a large job has millions of calls."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from interp.store.db.bulk import upsert
from interp.store.db.tables import LlmUsageRow
from interp.store.llm.totals import PICO, SLOT

GROUP = ("stage", "purpose", "model", "base_url", "transport")
COUNTS = ("questions", "answered", "attempts", "prompt_tokens", "completion_tokens", "usage_unknown", "unpriced", "picodollars", "seconds")


@dataclass(frozen=True, slots=True)
class UsageLine:
    """What the calls of one job, stage, purpose and model add up to.

    `questions` went out, `answered` of them came back well; `attempts` counts every try. Tokens are the endpoint's count where `tokens_known` says
    that it always gave one, else partly our upper bound. `cost_usd` None: the price of some is unknown; `priced_usd` is what the others cost.
    `seconds` adds up the calls' own time, many at once.
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
    tokens_known: bool
    cost_usd: float | None
    priced_usd: float
    seconds: float


def add(session: Session, calls: Iterable[Mapping[str, Any]]) -> None:
    """Adds rows of `llm_calls` to the sums of their jobs. In the order of their keys, so that two writers cannot deadlock."""
    sums: dict[tuple[str, ...], dict[str, float]] = {}
    for call in calls:
        total = sums.setdefault((call["job_id"], *(call[name] for name in GROUP)), dict.fromkeys(COUNTS, 0))
        for name, value in _counted(call).items():
            total[name] += value
    keys = ("job_id", *GROUP)
    rows = [dict(zip(keys, group, strict=True)) | {"slot": SLOT} | total for group, total in sorted(sums.items())]
    upsert(session, LlmUsageRow, rows, [*keys, "slot"], update=[], assign=_added)


def _added(new: Any) -> dict[str, ColumnElement[Any]]:
    return {name: getattr(LlmUsageRow, name) + new[name] for name in COUNTS}


def of(session: Session, job_id: str) -> list[UsageLine]:
    """What the job's calls add up to, by stage, purpose and model. Answers from the cache went out in another job, and cost nothing here."""
    return of_jobs(session, [job_id]).get(job_id, [])


def of_jobs(session: Session, job_ids: Collection[str]) -> dict[str, list[UsageLine]]:
    """The same of some jobs, by id; those without a call are left out."""
    groups = [LlmUsageRow.job_id, *(getattr(LlmUsageRow, name) for name in GROUP)]
    sums = [func.sum(getattr(LlmUsageRow, name)) for name in COUNTS]
    found: dict[str, list[UsageLine]] = {}
    for job_id, *rest in session.execute(select(*groups, *sums).where(LlmUsageRow.job_id.in_(job_ids)).group_by(*groups).order_by(*groups)):
        line = _line(tuple(rest[: len(GROUP)]), dict(zip(COUNTS, rest[len(GROUP) :], strict=True)))
        found.setdefault(job_id, []).append(line)
    return found


def _counted(call: Mapping[str, Any]) -> dict[str, float]:
    cost = call["cost_usd"]
    return {
        "questions": 1,
        "answered": int(call["status"] == "answered"),
        **{name: call[name] for name in ("attempts", "prompt_tokens", "completion_tokens", "seconds")},
        "usage_unknown": int(not call["usage_known"]),
        "unpriced": int(cost is None),
        "picodollars": 0 if cost is None else round(cost * PICO),
    }


def _line(group: tuple[Any, ...], sums: Mapping[str, Any]) -> UsageLine:
    questions, answered, attempts, asked, said = (int(sums[name]) for name in COUNTS[:5])
    stage, purpose, model, base_url, transport = group
    priced = int(sums["picodollars"]) / PICO
    cost = None if sums["unpriced"] else priced
    counts = (questions, answered, attempts, asked, said)
    return UsageLine(stage, purpose, model, base_url, transport, *counts, sums["usage_unknown"] == 0, cost, priced, float(sums["seconds"]))
