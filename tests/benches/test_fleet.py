"""The figures of `benches.fleet`, from lives of workers that are written down here."""

import pytest

from benches.fleet import Observed, SmallJob, report
from benches.simulated import COLLECTED, SHARD_TOKENS, Served, planned
from interp.domain.lifecycle import Queue, Stage
from interp.domain.spec import CorpusSpec, DictionarySpec, JobSpec, SubjectSpec

CREW = {Queue.GPU: 1, Queue.LLM: 2}


def served(worker: int, job: str, begun: float, ended: float, queue: Queue = Queue.LLM, opening: float = 0.0) -> Served:
    """Its end is written 0.1 s later, and notifications are sent in no time."""
    return Served(worker, queue, job, begun, ended, opening, written=ended + 0.1, notified=ended + 0.1)


def seen(*chunks: Served, small: tuple[SmallJob, ...] = ()) -> Observed:
    """A window from 100 to 110."""
    return Observed(100.0, 110.0, list(chunks), {"million"}, list(small), cpu=0.4)


def test_a_worker_is_busy_for_as_long_as_its_chunks_lie_in_the_window() -> None:
    found = report(
        seen(
            served(0, "million", 95.0, 105.0, Queue.GPU),
            served(0, "small", 105.0, 112.0, Queue.GPU),
            served(1, "million", 100.0, 104.0),
            served(1, "million", 105.0, 110.0),
            served(2, "small", 90.0, 99.0),
        ),
        CREW,
    )
    assert found["utilisation_gpu"] == 1.0
    assert found["utilisation_llm"] == pytest.approx(9 / 20)
    assert found["utilisation"] == pytest.approx(19 / 30, abs=1e-4)
    assert found["chunks"] == 2, "one ended before the window, two at its end or after it"
    assert found["gap_ms_p50"] == 500.0, "0 and 1000 ms"
    assert found["gap_ms_of"] == {"end": 100.0, "notify": 0.0, "claim": 400.0}
    assert found["worker_cpu_ms_per_chunk"] == 80.0


def test_a_small_job_waits_for_what_it_took_beyond_its_own_chunks() -> None:
    work = [served(1, "a", 101.0, 103.0), served(2, "a", 104.0, 105.0), served(2, "million", 105.0, 109.0)]
    found = report(seen(*work, small=(SmallJob("a", 100.5, 5.0), SmallJob("b", 101.0, None), SmallJob("c", 109.0, None))), CREW)
    assert found["small_wait_s_max"] == 2.0
    assert found["small_jobs"] == 3
    assert found["small_unfinished"] == 1, "c came too late to have ended"
    assert found["of_the_million"] == pytest.approx(1 / 3, abs=1e-3)


def test_simulated_jobs_are_planned_as_real_ones_are() -> None:
    spec = JobSpec(
        subject=SubjectSpec(model="m"),
        dictionary=DictionarySpec(source="d"),
        corpus=CorpusSpec(path="text", max_tokens=3 * SHARD_TOKENS),
        features="0-9999",
    )
    stages = [chunk.stage for chunk in planned(spec)]
    assert {stage: stages.count(stage) for stage in set(stages)} == {
        Stage.COLLECT: 3,
        Stage.MERGE: 20,
        Stage.EXPLAIN: 157,
        Stage.SCORE: 157,
        Stage.SUMMARISE: 1,
    }
    collected = planned(spec.model_copy(update={"corpus": CorpusSpec(path=COLLECTED)}))
    assert {chunk.stage for chunk in collected} == {Stage.EXPLAIN, Stage.SCORE, Stage.SUMMARISE}
