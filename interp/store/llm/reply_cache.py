"""Cache answers by what decides them, unless refused, truncated or failed; first write wins."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import Session

from interp.domain.lifecycle import Stage
from interp.llm.base import Usage
from interp.llm.call_store import StoredReply
from interp.store.db.bulk import upsert
from interp.store.db.tables import ExplanationRow, LlmCallRow, LlmReplyRow, ScoreRow
from interp.store.db.text import unpack

# Keys per statement, since SQLite limits its parameters.
MOST_KEYS = 500
_REPLIES = LlmReplyRow.__table__.c
# Built once: a lookup comes before every call.
RECALLED = select(_REPLIES.key, _REPLIES.raw, _REPLIES.cost_usd, _REPLIES.prompt_tokens, _REPLIES.completion_tokens, _REPLIES.usage_known).where(
    _REPLIES.key.in_(bindparam("keys", expanding=True))
)


def recall(session: Session, keys: Collection[str]) -> dict[str, StoredReply]:
    """Return the cached answers among `keys`."""
    rows = (row for some in portions(keys) for row in session.connection().execute(RECALLED, {"keys": some}))
    return {key: StoredReply(key, unpack(raw), Usage(asked, answered, known), cost) for key, raw, cost, asked, answered, known in rows}


def load(session: Session, keys: Collection[str]) -> dict[str, LlmReplyRow]:
    """Return the cached questions with their answers among `keys`."""
    return {row.key: row for some in portions(keys) for row in session.scalars(select(LlmReplyRow).where(LlmReplyRow.key.in_(some)))}


def save(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Write new `llm_replies` rows, in key order, so that no writers deadlock."""
    one_a_key = {row["key"]: row for row in reversed(rows)}
    upsert(session, LlmReplyRow, [one_a_key[key] for key in sorted(one_a_key)], keys=["key"], update=[])


def unusable(session: Session, job_id: str, run_ids: Sequence[int]) -> list[str]:
    """Return keys of a job's calls without explanation, or without any scored item.

    Of several runs, a feature's calls are returned where it failed in any: where it did not, its explanation is there and nothing is asked again.
    """
    unexplained = select(LlmCallRow.key).join(
        ExplanationRow,
        ExplanationRow.run_id.in_(run_ids) & (ExplanationRow.feature == LlmCallRow.feature) & (ExplanationRow.explainer == LlmCallRow.purpose),
    )
    unscored = select(LlmCallRow.key).join(
        ScoreRow, (ScoreRow.feature == LlmCallRow.feature) & (ScoreRow.scorer == LlmCallRow.purpose) & (ScoreRow.job_id == job_id)
    )
    wanted = (
        unexplained.where(LlmCallRow.job_id == job_id, LlmCallRow.stage.in_((Stage.PROPOSE, Stage.EXPLAIN)), ExplanationRow.text.is_(None)),
        unscored.where(LlmCallRow.job_id == job_id, LlmCallRow.stage == Stage.SCORE, ScoreRow.answered == 0, ScoreRow.failed > 0),
    )
    return sorted({key for statement in wanted for key in session.scalars(statement)})


def forget(session: Session, keys: Collection[str]) -> None:
    """Delete cached answers, so that the same questions are asked again."""
    for some in portions(sorted(keys)):
        session.execute(delete(LlmReplyRow).where(LlmReplyRow.key.in_(some)).execution_options(synchronize_session=False))


def portions(keys: Collection[str]) -> list[list[str]]:
    """Return the distinct keys, as many together as one statement takes."""
    distinct = list(dict.fromkeys(keys))
    return [distinct[start : start + MOST_KEYS] for start in range(0, len(distinct), MOST_KEYS)]
