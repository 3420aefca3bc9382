"""Nulls of an earlier job of a run join the pool of a later one's: two jobs, by the workers of a service."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import Engine, select

from interp.analysis.significance import STRATA
from interp.config.settings import Settings
from interp.domain.spec import JobSpec, ScorerSpec
from interp.planning import preflight
from interp.stats.pooled import MIN_POOLED, pooled_p, strata_of
from interp.store import migrate
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.db.tables import FeatureRow, ScoreRow
from interp.store.queue import jobs
from tests.store import steps
from tests.workers.test_supervisor import until
from workers.supervisor import Supervisor
from workers.wakeup import notify

pytestmark = pytest.mark.timeout(300)

NULLS = 12
FIRST, SECOND = "0-15", "16-31"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(home=tmp_path, llm_workers=1)
    migrate.upgrade(made.database_url)
    return made


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    made = make_engine(settings.database_url)
    with (settings.home / "workers.log").open("ab") as log:
        supervisor = Supervisor(settings, log)
        supervisor.start()
        yield made
        supervisor.stop()
    made.dispose()


def complete(engine: Engine, settings: Settings, spec: JobSpec) -> str:
    with transaction(engine) as session:
        job_id = jobs.submit(session, spec, preflight.check(spec)).id
    notify(engine, settings)
    until(lambda: steps.look(engine, job_id).finished_at, "the end of the job")
    assert steps.look(engine, job_id).status == "completed"
    return job_id


def scored(engine: Engine) -> list[tuple[ScoreRow, float]]:
    """Every score with its feature's density, by feature."""
    with snapshot(engine) as session:
        joined = select(ScoreRow, FeatureRow.density).join(
            FeatureRow, (FeatureRow.run_id == ScoreRow.run_id) & (FeatureRow.feature == ScoreRow.feature)
        )
        return [(score, density) for score, density in session.execute(joined.order_by(ScoreRow.feature))]


def nulls_of(rows: list[tuple[ScoreRow, float]]) -> NDArray[np.float64]:
    """float64 [scores, NULLS]: the stored figure of each null, NaN where undefined."""
    filled = [[*(score.null_values or ()), *[None] * NULLS][:NULLS] for score, _ in rows]
    return np.array(filled, dtype=np.float64)


def test_nulls_of_an_earlier_job_join_the_pool(engine: Engine, settings: Settings, tiny_job: JobSpec) -> None:
    spec = tiny_job.model_copy(update={"scorers": (ScorerSpec(name="detection", nulls=NULLS),), "features": FIRST})
    earlier = complete(engine, settings, spec)
    alone = [row for row in scored(engine) if row[0].value is not None]
    assert 0 < np.count_nonzero(~np.isnan(nulls_of(alone))) < MIN_POOLED
    assert "pooled" not in {score.p_method for score, _ in alone}
    later = complete(engine, settings, spec.model_copy(update={"features": SECOND}))

    rows = [row for row in scored(engine) if row[0].value is not None and not _is_scarce(row[0])]
    own, nulls = np.array([score.value for score, _ in rows], dtype=np.float64), nulls_of(rows)
    assert np.count_nonzero(~np.isnan(nulls)) >= MIN_POOLED, "only both jobs' together are enough"
    assert {(score.job_id, score.p_method) for score, _ in rows} == {(earlier, "pooled"), (later, "pooled")}
    expected = pooled_p(own, nulls, strata_of(np.array([density for _, density in rows]), STRATA))
    np.testing.assert_allclose([score.p_value for score, _ in rows], expected)


def _is_scarce(score: ScoreRow) -> bool:
    return "a lift needs" in (score.null_reason or "")
