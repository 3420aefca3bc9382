"""A job lays out the features of its dictionary once, and is not lost with the map."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from benches import tiny
from interp.config.settings import Settings
from interp.domain.digests import digest_of
from interp.domain.errors import ActivationsNotFiniteError
from interp.domain.lifecycle import Queue, Stage
from interp.domain.spec import MOST_MAPPED, JobSpec
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ChunkRow
from interp.store.queue import jobs
from interp.store.results import feature_maps, runs
from interp.store.results.feature_maps import StoredMap
from tests.store import steps
from tests.workers.test_pipeline import complete
from workers.runtime import Runtime
from workers.tasks import health
from workers.worker import drain

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def spec(tiny_job: JobSpec) -> JobSpec:
    """A few features of a small corpus: a map is of the whole dictionary all the same."""
    body = tiny_job.model_dump(mode="json") | {"features": "0-9"}
    body["corpus"]["max_tokens"] = 6000
    return JobSpec.model_validate(body | {"scorers": body["scorers"][:1]})


def stages_of(runtime: Runtime, job_id: str) -> set[str]:
    with snapshot(runtime.engine) as session:
        return set(session.scalars(select(ChunkRow.stage).where(ChunkRow.job_id == job_id)))


def map_of(runtime: Runtime, job_id: str) -> StoredMap | None:
    with snapshot(runtime.engine) as session:
        (run_id,) = jobs.runs_of(session, job_id)
        return feature_maps.find(session, runs.of_ids(session, [run_id])[run_id][1].id)


def test_a_dictionary_is_mapped_once_unless_asked(settings: Settings, spec: JobSpec) -> None:
    runtime = Runtime.of(settings)
    without = complete(runtime, spec.model_copy(update={"map": False}))
    assert without.status == "completed", without.error
    assert Stage.MAP not in stages_of(runtime, without.job_id)
    assert map_of(runtime, without.job_id) is None
    # All evidence is there: nothing but the map is to be made.
    first = complete(runtime, spec)
    assert first.status == "completed", first.error
    assert stages_of(runtime, first.job_id) >= {Stage.MAP, Stage.SUMMARISE} and Stage.COLLECT not in stages_of(runtime, first.job_id)
    made = map_of(runtime, first.job_id)
    assert made is not None and made.job_id == first.job_id
    assert made.places.shape == (tiny.FEATURES, 2) and not np.isnan(made.places).any()
    assert set(made.quality) == {"layout", "components", "random", "sampled"}
    again = complete(runtime, spec)
    assert Stage.MAP not in stages_of(runtime, again.job_id)
    asked = complete(runtime, spec.model_copy(update={"map": True, "seed": 1}))
    other = map_of(runtime, asked.job_id)
    assert other is not None and (other.job_id, other.seed) == (asked.job_id, 1)


def test_labels_are_not_lost_with_a_map(settings: Settings, spec: JobSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ActivationsNotFiniteError("Not finite.")

    runtime = Runtime.of(settings)
    with monkeypatch.context() as broken:
        broken.setattr(health, "layout", fail)
        found = complete(runtime, spec)
    assert found.status == "completed", found.error
    assert found.summary is not None and found.summary["features"]["explained"] > 0
    assert found.summary["without_map"] == [{"dictionary": "tiny@1-res", "detail": "Not finite.", "why": None, "cure": None}]
    assert map_of(runtime, found.job_id) is None
    with transaction(runtime.engine) as session:
        jobs.retry(session, found.job_id)
    drain(runtime, Queue.GPU, Queue.LLM)
    retried = steps.look(runtime.engine, found.job_id)
    assert retried.status == "completed" and retried.summary is not None and "without_map" not in retried.summary
    assert map_of(runtime, found.job_id) is not None


def test_the_size_and_the_directions_decide(spec: JobSpec) -> None:
    random = spec.model_copy(update={"dictionary": spec.dictionary.control})
    wanted: list[tuple[JobSpec, int, bool]] = [
        (spec, MOST_MAPPED, True),
        (spec, MOST_MAPPED + 1, False),
        (random, 10, False),
        (random.model_copy(update={"map": True}), MOST_MAPPED + 1, True),
        (spec.model_copy(update={"map": False}), 10, False),
    ]
    assert [job.maps(features) for job, features, _ in wanted] == [expected for *_, expected in wanted]


def test_a_job_of_before_keeps_its_digest(spec: JobSpec) -> None:
    digest: Callable[[JobSpec], str] = lambda job: digest_of(job.model_dump(mode="json"))  # noqa: E731
    assert "map" not in spec.model_dump(mode="json")
    assert digest(JobSpec.model_validate(spec.model_dump(mode="json") | {"map": None})) == digest(spec)
