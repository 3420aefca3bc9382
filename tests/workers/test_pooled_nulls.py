"""Nulls of an earlier job of a run join the pool of a later one's."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import Engine, select

from interp.analysis.significance import STRATA
from interp.config.settings import Settings
from interp.domain.spec import JobSpec, ScorerSpec
from interp.stats.pooled import MIN_POOLED, pooled_p, strata_of
from interp.store.db.engine import snapshot
from interp.store.db.tables import FeatureRow, ScoreRow
from tests import databases
from tests.workers.asking import complete
from workers.runtime import Runtime

pytestmark = pytest.mark.timeout(300)

NULLS = 12
FIRST, SECOND = "0-15", "16-31"


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    settings = Settings(home=tmp_path)
    databases.upgrade(settings.database_url)
    return Runtime.of(settings)


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


def test_nulls_of_an_earlier_job_join_the_pool(runtime: Runtime, tiny_job: JobSpec) -> None:
    spec = tiny_job.model_copy(update={"scorers": (ScorerSpec(name="detection", nulls=NULLS),), "features": FIRST})
    earlier = complete(runtime, spec).job_id
    alone = [row for row in scored(runtime.engine) if row[0].value is not None]
    assert 0 < np.count_nonzero(~np.isnan(nulls_of(alone))) < MIN_POOLED
    assert "pooled" not in {score.p_method for score, _ in alone}
    later = complete(runtime, spec.model_copy(update={"features": SECOND})).job_id

    rows = [row for row in scored(runtime.engine) if row[0].value is not None and not _is_scarce(row[0])]
    own, nulls = np.array([score.value for score, _ in rows], dtype=np.float64), nulls_of(rows)
    assert np.count_nonzero(~np.isnan(nulls)) >= MIN_POOLED, "only both jobs' together are enough"
    assert {(score.job_id, score.p_method) for score, _ in rows} == {(earlier, "pooled"), (later, "pooled")}
    expected = pooled_p(own, nulls, strata_of(np.array([density for _, density in rows]), STRATA))
    np.testing.assert_allclose([score.p_value for score, _ in rows], expected)


def _is_scarce(score: ScoreRow) -> bool:
    return "a lift needs" in (score.null_reason or "")
