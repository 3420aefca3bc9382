"""Store recorded calls, one row per question sent, in the order of recording."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from interp.llm.call_store import Call, Tag
from interp.store.db.dialect import in_index_order, now
from interp.store.db.tables import LlmCallRow, LlmReplyRow
from interp.store.db.text import pack, storable
from interp.store.llm import call_stats, reply_cache
from interp.store.llm.reply_cache import portions

TAG = [field.name for field in fields(Tag)]
# Columns of the reply cache.
OF_REPLIES = [column.key for column in LlmReplyRow.__table__.c]


def pack_call(call: Call) -> dict[str, Any]:
    """Return the row of a call; outside of a transaction, since it compresses texts."""
    return {
        **{name: getattr(call.tag, name) for name in TAG},
        **{name: getattr(call, name) for name in ("key", "model", "base_url", "transport", "template", "status", "attempts", "cost_usd", "seconds")},
        "prompt_tokens": call.usage.prompt_tokens,
        "completion_tokens": call.usage.completion_tokens,
        "cached_tokens": call.usage.cached_tokens,
        "usage_known": call.usage.is_known,
        "error": storable(call.error),
        "prompt": pack(call.prompt),
        "raw": None if call.raw is None else pack(call.raw),
    }


def save(session: Session, packed: Sequence[dict[str, Any]]) -> None:
    """Write calls, cache their answers, and add them to all sums.

    The texts of an answered call are in the cache alone.
    """
    if not packed:
        return
    moment = now(session)
    dated = [row | {"created_at": moment} for row in packed]
    answered = [row for row in dated if row["status"] == "answered" and row["raw"] is not None]
    replies = [{name: row[name] for name in OF_REPLIES} for row in answered]
    for row in answered:
        row |= {"prompt": None, "raw": None}
    session.connection().execute(insert(LlmCallRow), dated)
    reply_cache.save(session, replies)
    call_stats.add(session, packed)


def page(
    session: Session,
    job_id: str,
    stage: str | None = None,
    feature: int | None = None,
    status: str | None = None,
    after: int | None = None,
    limit: int = 50,
) -> Sequence[LlmCallRow]:
    """Return up to `limit` calls of a job after an id, by a covering index."""
    in_index_order(session)
    filters = ((LlmCallRow.stage, stage), (LlmCallRow.feature, feature), (LlmCallRow.status, status))
    wanted = [column == value for column, value in filters if value is not None]
    # Keys alone, or PostgreSQL might read all jobs' calls in the order of their ids, where a job has many of them.
    keys = select(LlmCallRow.id).where(LlmCallRow.job_id == job_id, LlmCallRow.id > (after or 0), *wanted).order_by(LlmCallRow.id).limit(limit)
    return session.scalars(select(LlmCallRow).where(LlmCallRow.id.in_(session.scalars(keys).all())).order_by(LlmCallRow.id)).all()


def by_key(session: Session, keys: Sequence[str]) -> list[LlmCallRow]:
    """Return all calls with one of these keys, of any job, oldest first."""
    statement = select(LlmCallRow).order_by(LlmCallRow.id)
    return [row for some in portions(keys) for row in session.scalars(statement.where(LlmCallRow.key.in_(some)))]
