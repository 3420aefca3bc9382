"""Calls as tests make them up."""

from interp.llm.base import Usage
from interp.llm.call_store import Call, CallStatus, Tag

MODEL, BASE_URL = "some-model", "http://127.0.0.1:1/v1"


def call(
    key: str,
    *,
    job_id: str = "job",
    chunk_id: str = "chunk",
    stage: str = "explain",
    feature: int | None = 7,
    purpose: str = "contexts",
    status: CallStatus = "answered",
    tokens: tuple[int, int] = (100, 10),
    is_known: bool = True,
    cost: float | None = 0.001,
    attempts: int = 1,
    raw: str | None = '{"choices": []}',
) -> Call:
    tag = Tag(job_id, chunk_id, stage, feature, purpose)
    error = None if status == "answered" else f"it was {status}"
    usage = Usage(*tokens, is_known)
    return Call(key, tag, MODEL, BASE_URL, "live", "contexts@1", status, attempts, usage, cost, 0.2, f'{{"asked": "{key} ü"}}', raw, error)
