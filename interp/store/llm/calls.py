"""Store recorded calls, one row per question sent, in the order of recording."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from interp.llm.call_store import Call
from interp.store.db.dialect import in_index_order, now
from interp.store.db.tables import LlmCallRow
from interp.store.db.text import pack, storable
from interp.store.llm import call_stats, reply_cache


@dataclass(frozen=True, slots=True)
class CallRows:
    """The rows of a call in `llm_calls`, and in `llm_replies` when it was answered."""

    call: dict[str, Any]
    reply: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class CallQuery:
    """Filters of a job's calls; `after` is the last row's id."""

    job_id: str
    stage: str | None = None
    feature: int | None = None
    status: str | None = None
    after: int | None = None
    limit: int = 50


def pack_call(call: Call) -> CallRows:
    """Return the rows of a call; outside of a transaction, since it compresses texts."""
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
    return CallRows(row, of_both | {"prompt": prompt, "raw": raw} if was_answered else None)


def save(session: Session, packed: Sequence[CallRows]) -> None:
    """Write calls, cache their answers, and add them to all sums."""
    if not packed:
        return
    moment = now(session)
    session.connection().execute(insert(LlmCallRow), [item.call | {"created_at": moment} for item in packed])
    reply_cache.save(session, [item.reply | {"created_at": moment} for item in packed if item.reply is not None])
    call_stats.add(session, [item.call for item in packed])


def page(session: Session, query: CallQuery) -> Sequence[LlmCallRow]:
    """Return up to `limit` calls after the cursor, by a covering index."""
    in_index_order(session)
    statement = select(LlmCallRow.id).where(LlmCallRow.job_id == query.job_id).order_by(LlmCallRow.id).limit(query.limit)
    for name in ("stage", "feature", "status"):
        value = getattr(query, name)
        if value is not None:
            statement = statement.where(getattr(LlmCallRow, name) == value)
    if query.after is not None:
        statement = statement.where(LlmCallRow.id > query.after)
    # Keys alone, or PostgreSQL might read all jobs' calls in the order of their ids, where a job has many of them.
    keys = session.scalars(statement).all()
    return session.scalars(select(LlmCallRow).where(LlmCallRow.id.in_(keys)).order_by(LlmCallRow.id)).all()


def by_key(session: Session, keys: Sequence[str]) -> list[LlmCallRow]:
    """Return all calls with one of these keys, of any job, oldest first."""
    found: list[LlmCallRow] = []
    for start in range(0, len(keys), reply_cache.MOST_KEYS):
        some = keys[start : start + reply_cache.MOST_KEYS]
        found += session.scalars(select(LlmCallRow).where(LlmCallRow.key.in_(some)).order_by(LlmCallRow.id))
    return found
