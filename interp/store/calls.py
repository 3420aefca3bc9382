"""The record of calls: one row a question that went out, and what all of them add up to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, insert, select
from sqlalchemy.orm import Session

from interp.llm.books import Call
from interp.store import replies, totals
from interp.store.clean import storable
from interp.store.dialect import now
from interp.store.pack import pack
from interp.store.tables import LlmCall


@dataclass(frozen=True, slots=True)
class Packed:
    """A call as rows: of `llm_calls`, and of `llm_replies` when it was answered. Made outside of any transaction, since it compresses."""

    call: dict[str, Any]
    reply: dict[str, Any] | None


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


@dataclass(frozen=True, slots=True)
class CallQuery:
    """Which calls of a job, in the order in which they were recorded. `after` is the last row's id."""

    job_id: str
    stage: str | None = None
    feature: int | None = None
    status: str | None = None
    after: int | None = None
    limit: int = 50


def pack_call(call: Call) -> Packed:
    """The rows of a call, but for their time."""
    of_both = {
        "key": call.key,
        "model": call.model,
        "base_url": call.base_url,
        "prompt_tokens": call.usage.prompt_tokens,
        "completion_tokens": call.usage.completion_tokens,
        "usage_known": call.usage.is_known,
        "cost_usd": call.cost_usd,
    }
    was_answered = call.status == "answered" and call.raw is not None
    prompt, raw = pack(call.prompt), None if call.raw is None else pack(call.raw)
    row = of_both | {
        "job_id": call.tag.job_id,
        "chunk_id": call.tag.chunk_id,
        "stage": call.tag.stage,
        "feature": call.tag.feature,
        "purpose": call.tag.purpose,
        "transport": call.transport,
        "template": call.template,
        "status": call.status,
        "attempts": call.attempts,
        "seconds": call.seconds,
        "error": storable(call.error),
        "prompt": None if was_answered else prompt,
        "raw": None if was_answered else raw,
    }
    return Packed(row, of_both | {"prompt": prompt, "raw": raw} if was_answered else None)


def save(session: Session, packed: Sequence[Packed]) -> None:
    """Writes calls, the answers among them to the cache, and adds them to the sums of their models."""
    if not packed:
        return
    moment = now(session)
    session.connection().execute(insert(LlmCall), [item.call | {"created_at": moment} for item in packed])
    replies.save(session, [item.reply | {"created_at": moment} for item in packed if item.reply is not None])
    totals.add(session, [item.call for item in packed])


def usage(session: Session, job_id: str) -> list[UsageLine]:
    """What the job's calls add up to, by stage, purpose and model. Answers from the cache went out in another job, and cost nothing here."""
    groups = (LlmCall.stage, LlmCall.purpose, LlmCall.model, LlmCall.base_url, LlmCall.transport)
    statement = (
        select(
            *groups,
            func.count(),
            func.sum(case((LlmCall.status == "answered", 1), else_=0)),
            func.sum(LlmCall.attempts),
            func.sum(LlmCall.prompt_tokens),
            func.sum(LlmCall.completion_tokens),
            func.sum(case((LlmCall.usage_known, 0), else_=1)),
            func.sum(case((LlmCall.cost_usd.is_(None), 1), else_=0)),
            func.sum(LlmCall.cost_usd),
            func.sum(LlmCall.seconds),
        )
        .where(LlmCall.job_id == job_id)
        .group_by(*groups)
        .order_by(*groups)
    )
    return [_line(*row) for row in session.execute(statement)]


def of_feature(session: Session, job_id: str, feature: int) -> Sequence[LlmCall]:
    """Every question of a job that was about one feature, in the order in which they were recorded."""
    return session.scalars(select(LlmCall).where(LlmCall.job_id == job_id, LlmCall.feature == feature).order_by(LlmCall.id)).all()


def page(session: Session, query: CallQuery) -> Sequence[LlmCall]:
    """Up to `limit` calls after the cursor."""
    statement = select(LlmCall).where(LlmCall.job_id == query.job_id).order_by(LlmCall.id).limit(query.limit)
    if query.stage is not None:
        statement = statement.where(LlmCall.stage == query.stage)
    if query.feature is not None:
        statement = statement.where(LlmCall.feature == query.feature)
    if query.status is not None:
        statement = statement.where(LlmCall.status == query.status)
    if query.after is not None:
        statement = statement.where(LlmCall.id > query.after)
    return session.scalars(statement).all()


def by_key(session: Session, keys: Sequence[str]) -> list[LlmCall]:
    """Every recorded asking of these questions, of any job, oldest first: where failed ones stand with what came back."""
    found: list[LlmCall] = []
    for start in range(0, len(keys), replies.MOST_KEYS):
        some = keys[start : start + replies.MOST_KEYS]
        found += session.scalars(select(LlmCall).where(LlmCall.key.in_(some)).order_by(LlmCall.id))
    return found


def _line(
    stage: str,
    purpose: str,
    model: str,
    base_url: str,
    transport: str,
    questions: int,
    answered: int,
    attempts: int,
    asked: int,
    said: int,
    unknown: int,
    unpriced: int,
    cost: float | None,
    seconds: float,
) -> UsageLine:
    counts = (int(questions), int(answered), int(attempts), int(asked), int(said))
    priced = float(cost or 0.0)
    return UsageLine(stage, purpose, model, base_url, transport, *counts, unknown == 0, None if unpriced else priced, priced, float(seconds))
