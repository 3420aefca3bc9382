"""Trying again opens what failed and what was made of it, and nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert

from interp.domain.errors import ConflictError
from interp.domain.explanation import Explanation, ExplanationFamily
from interp.domain.lifecycle import BARRIERS, CHUNK_OPEN, ChunkStatus, Queue, Stage, stages_before
from interp.planning.plan import ChunkPlan
from interp.planning.retry_plan import ChunkState, reopening
from interp.store.db.dialect import now
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import DictionaryRow, RunRow, SubjectRow
from interp.store.llm import calls, reply_cache
from interp.store.llm.calls import pack_call
from interp.store.queue import completion, jobs, retention
from interp.store.results import explanations
from tests.store import steps
from tests.store.asked import call


def features(first: int, last: int) -> dict[str, Any]:
    return {"features": [[first, last]]}


REPORT_ALONE = steps.SPEC.model_copy(update={"explainers": (), "scorers": ()})
PLANS = (
    ChunkPlan(Stage.COLLECT, 0, 9),
    ChunkPlan(Stage.MERGE, 0, 4, features(0, 4), Stage.COLLECT),
    ChunkPlan(Stage.MERGE, 1, 4, features(4, 8), Stage.COLLECT),
    ChunkPlan(Stage.EXPLAIN, 0, 4, features(0, 4), "merge:0"),
    ChunkPlan(Stage.EXPLAIN, 1, 4, features(4, 8), "merge:1"),
    ChunkPlan(Stage.SCORE, 0, 4, features(0, 4), Stage.EXPLAIN),
    ChunkPlan(Stage.SCORE, 1, 4, features(4, 8), Stage.EXPLAIN),
    ChunkPlan(Stage.SUMMARISE, 0, 1, {}, Stage.SCORE),
)


def work(engine: Engine, *bad: str, results: dict[str, dict[str, Any]] | None = None, code: str = "internal", attempts: int = 1) -> None:
    """Works until nothing is ready; the chunks named fail for good, the others give their result."""
    while lease := steps.claim(engine, Queue.GPU) or steps.claim(engine, Queue.LLM):
        name = f"{lease.stage}:{lease.number}"
        with transaction(engine) as session:
            if name in bad:
                completion.fail(session, lease, {"code": code, "traceback": "..."}, max_attempts=attempts)
            else:
                completion.finish(session, lease, (results or {}).get(name))


def retry(engine: Engine, job_id: str) -> None:
    with transaction(engine) as session:
        jobs.retry(session, job_id)


def changed(engine: Engine, job_id: str) -> dict[str, str]:
    return {name: status for name, status in steps.statuses(engine, job_id).items() if status != "done"}


def test_a_failed_merge_takes_its_features_out_of_the_job_and_a_retry_merges_what_was_collected(engine: Engine) -> None:
    job_id = steps.running(engine, *PLANS)
    work(engine, "merge:1")
    with snapshot(engine) as session:
        assert retention.needs_partials(session, job_id), "it lies there still"
    found = steps.look(engine, job_id)
    assert (found.status, found.request_counts.failed) == ("completed", 4)
    retry(engine, job_id)
    found = steps.look(engine, job_id)
    assert (found.status, found.request_counts.failed, found.summary, found.finished_at) == ("running", 0, None, None)
    assert changed(engine, job_id) == {"merge:1": "ready", "explain:1": "waiting", "score:1": "waiting", "summarise:0": "waiting"}
    work(engine)
    assert changed(engine, job_id) == {}
    assert steps.look(engine, job_id).status == "completed"


TRIED = (
    *PLANS[:3],
    ChunkPlan(Stage.PROPOSE, 0, 4, features(0, 4) | {"round": 1}, "merge:0"),
    ChunkPlan(Stage.TRY, 0, 4, features(0, 4) | {"round": 1}, "propose:0"),
    ChunkPlan(Stage.PROPOSE, 1, 4, features(0, 4) | {"round": 2}, "try:0"),
    ChunkPlan(Stage.TRY, 1, 4, features(0, 4) | {"round": 2}, "propose:1"),
    ChunkPlan(Stage.PROPOSE, 2, 4, features(4, 8) | {"round": 1}, "merge:1"),
    ChunkPlan(Stage.TRY, 2, 4, features(4, 8) | {"round": 1}, "propose:2"),
    ChunkPlan(Stage.EXPLAIN, 0, 4, features(0, 4), "try:1"),
    ChunkPlan(Stage.EXPLAIN, 1, 4, features(4, 8), "try:2"),
    *PLANS[5:],
)
AFTER = {"explain:0": "waiting", "score:0": "waiting", "summarise:0": "waiting"}


@pytest.mark.parametrize(
    ("bad", "again"),
    [
        ("merge:0", {"merge:0": "ready", "propose:0": "waiting", "try:0": "waiting", "propose:1": "waiting", "try:1": "waiting"}),
        ("propose:0", {"propose:0": "ready", "try:0": "waiting", "propose:1": "waiting", "try:1": "waiting"}),
        ("try:0", {"try:0": "ready", "propose:1": "waiting", "try:1": "waiting"}),
        ("try:1", {"try:1": "ready"}),
    ],
)
def test_a_round_that_failed_is_tried_again_with_the_rounds_and_the_label_after_it(engine: Engine, bad: str, again: dict[str, str]) -> None:
    job_id = steps.running(engine, *TRIED)
    work(engine, bad, results={"explain:0": {"failed": 3}} if not bad.startswith("merge") else None)
    found = steps.look(engine, job_id)
    assert (found.status, found.request_counts.failed) == ("completed", 4 if bad.startswith("merge") else 0), "rounds count no feature themselves"
    retry(engine, job_id)
    assert changed(engine, job_id) == again | AFTER
    work(engine)
    assert changed(engine, job_id) == {}
    assert steps.look(engine, job_id).status == "completed"


def test_proposals_that_were_asked_for_in_vain_are_asked_for_again(engine: Engine) -> None:
    job_id = steps.running(engine, *TRIED)
    work(engine, results={"propose:1": {"failed": 1}})
    retry(engine, job_id)
    assert changed(engine, job_id) == {"propose:1": "ready", "try:1": "waiting"} | AFTER


WITH_HEALTH = (*PLANS[:-1], ChunkPlan(Stage.HEALTH, 0, 100, features(0, 8), Stage.SCORE), ChunkPlan(Stage.SUMMARISE, 0, 1, {}, Stage.HEALTH))


@pytest.mark.parametrize("attempts", [0, 1], ids=["for good", "in all attempts"])
def test_a_report_that_fails_takes_no_labels_with_it_and_a_retry_makes_it_alone(engine: Engine, attempts: int) -> None:
    job_id = steps.running(engine, *WITH_HEALTH)
    work(engine, "health:0", attempts=attempts)
    found = steps.look(engine, job_id)
    assert (found.status, found.request_counts.failed, found.request_counts.completed) == ("completed", 0, 8)
    retry(engine, job_id)
    assert changed(engine, job_id) == {"health:0": "ready", "summarise:0": "waiting"}
    assert steps.look(engine, job_id).request_counts.failed == 0
    work(engine)
    assert steps.look(engine, job_id).status == "completed"


def test_the_summary_waits_for_labels_that_are_tried_again_after_the_report(engine: Engine) -> None:
    job_id = steps.running(engine, *WITH_HEALTH)
    work(engine, "explain:1")
    retry(engine, job_id)
    assert changed(engine, job_id) == {"explain:1": "ready", "score:1": "waiting", "summarise:0": "waiting"}, "the report is there"
    work(engine)
    assert changed(engine, job_id) == {}
    assert steps.look(engine, job_id).status == "completed"


def test_a_report_whose_counts_are_gone_waits_until_they_are_collected_again(engine: Engine) -> None:
    job_id = steps.running(engine, *WITH_HEALTH)
    work(engine, "health:0", code="artifact-missing")
    retry(engine, job_id)
    assert changed(engine, job_id) == {"collect:0": "ready", "health:0": "waiting", "summarise:0": "waiting"}
    work(engine)
    assert changed(engine, job_id) == {}
    assert steps.look(engine, job_id).status == "completed"


def test_a_job_that_is_to_make_the_report_alone_fails_with_it(engine: Engine) -> None:
    health = ChunkPlan(Stage.HEALTH, 0, 100, features(0, 8), Stage.MERGE)
    job_id = steps.running(engine, *PLANS[:3], health, WITH_HEALTH[-1], spec=REPORT_ALONE)
    work(engine, "health:0")
    assert steps.look(engine, job_id).status == "failed"
    retry(engine, job_id)
    work(engine)
    found = steps.look(engine, job_id)
    assert (found.status, found.request_counts.completed) == ("completed", found.request_counts.total), "nothing was to be explained"


@pytest.mark.parametrize("code", ["artifact-missing", "blob-corrupt"])
def test_a_merge_that_failed_since_what_was_collected_is_gone_is_collected_for_again(engine: Engine, code: str) -> None:
    job_id = steps.running(engine, *PLANS)
    work(engine, "merge:1", code=code)
    retry(engine, job_id)
    assert changed(engine, job_id) == {
        "collect:0": "ready",
        "merge:1": "waiting",
        "explain:1": "waiting",
        "score:1": "waiting",
        "summarise:0": "waiting",
    }
    work(engine)
    assert changed(engine, job_id) == {}
    assert steps.look(engine, job_id).status == "completed"


def test_what_is_damaged_in_the_book_is_no_reason_to_collect(engine: Engine) -> None:
    """Evidence that was merged and cannot be read has the same error as a part that cannot."""
    job_id = steps.running(engine, *PLANS)
    work(engine, "score:1", code="blob-corrupt")
    retry(engine, job_id)
    assert changed(engine, job_id) == {"score:1": "ready", "summarise:0": "waiting"}


def test_features_that_failed_in_chunks_that_are_done_are_tried_again(engine: Engine) -> None:
    job_id = steps.running(engine, *PLANS)
    work(engine, results={"explain:0": {"explained": 2, "failed": 2}, "score:1": {"scores": 4, "failed": 1}})
    with transaction(engine) as session:
        jobs.count_failed(session, job_id, 2)
    retry(engine, job_id)
    assert changed(engine, job_id) == {"explain:0": "ready", "score:0": "waiting", "score:1": "waiting", "summarise:0": "waiting"}
    assert steps.look(engine, job_id).request_counts.failed == 0
    work(engine)
    assert steps.look(engine, job_id).status == "completed"


def test_a_running_job_opens_what_failed_and_leaves_what_is_in_work_alone(engine: Engine) -> None:
    job_id = steps.running(engine, *PLANS)
    for _ in range(3):
        steps.finish(engine, steps.take(engine, Queue.GPU))
    steps.fail(engine, steps.take(engine, Queue.LLM), max_attempts=1)
    held = steps.take(engine, Queue.LLM)
    retry(engine, job_id)
    assert changed(engine, job_id)["explain:0"] == "ready"
    assert changed(engine, job_id)["explain:1"] == "leased"
    steps.finish(engine, held)
    work(engine)
    assert steps.look(engine, job_id).request_counts.failed == 0
    assert changed(engine, job_id) == {}


@pytest.mark.parametrize("code", ["internal", "artifact-missing"])
def test_a_job_that_failed_in_collecting_collects_what_is_missing_and_no_more(engine: Engine, code: str) -> None:
    """Also where it was the corpus that was missing."""
    shards = [ChunkPlan(Stage.COLLECT, number, 9) for number in range(3)]
    job_id = steps.running(engine, *shards, *PLANS[1:])
    work(engine, "collect:1", code=code)
    retry(engine, job_id)
    found = changed(engine, job_id)
    assert {name: status for name, status in found.items() if name.startswith("collect")} == {"collect:1": "ready", "collect:2": "ready"}
    assert found["merge:0"] == "waiting"
    work(engine)
    assert steps.look(engine, job_id).status == "completed"


def test_a_failed_job_gets_its_cancelled_chunks_back(engine: Engine) -> None:
    job_id = steps.running(engine, *PLANS)
    steps.fail(engine, steps.take(engine, Queue.GPU), max_attempts=1)
    assert steps.look(engine, job_id).status == "failed"
    retry(engine, job_id)
    assert steps.look(engine, job_id).status == "running"
    assert changed(engine, job_id)["collect:0"] == "ready"
    work(engine)
    assert changed(engine, job_id) == {}
    assert steps.look(engine, job_id).status == "completed"


@pytest.mark.parametrize("state", ["good", "paused", "cancelled", "queued"])
def test_where_nothing_can_be_tried_again_there_is_a_conflict(engine: Engine, state: str) -> None:
    job_id = steps.submit(engine) if state == "queued" else steps.running(engine, *PLANS)
    with transaction(engine) as session:
        if state == "paused":
            jobs.pause(session, job_id)
        elif state == "cancelled":
            jobs.cancel(session, job_id)
    with pytest.raises(ConflictError):
        retry(engine, job_id)


def test_answers_that_came_to_nothing_are_forgotten_and_good_ones_kept(engine: Engine) -> None:
    job_id = steps.running(engine, *PLANS)
    with transaction(engine) as session:
        moment = {"created_at": now(session)}
        session.execute(insert(SubjectRow).values(id="s", name="s", config={}, vocabulary=b"", **moment))
        dictionary = {"id": 1, "name": "d", "digest": "d", "subject_id": "s", "hook_point": "h", "architecture": "a", "d_in": 1, "n_features": 8}
        session.execute(insert(DictionaryRow).values(**dictionary, config={}, **moment))
        session.execute(insert(RunRow).values(id=1, digest="e", number=1, dictionary_id=1, identity={}, corpus={}, tokens=1, **moment))
        jobs.attach(session, job_id, [(1, 1)], 8)
        made = [Explanation(0, "contexts", None, "no answer", None, {}), Explanation(1, "contexts", "a label", None, None, {})]
        explanations.save(session, ExplanationFamily(1, "contexts", "x"), made, job_id)
        calls.save(session, [pack_call(call(key, job_id=job_id, feature=number)) for number, key in enumerate(("bad", "good"))])
    work(engine, results={"explain:0": {"explained": 1, "failed": 1}})
    retry(engine, job_id)
    with snapshot(engine) as session:
        assert set(reply_cache.recall(session, ["bad", "good"])) == {"good"}


statuses = st.sampled_from([ChunkStatus.DONE, ChunkStatus.FAILED, ChunkStatus.READY, ChunkStatus.WAITING])


@given(
    st.sampled_from([WITH_HEALTH, TRIED]).flatmap(lambda plans: st.tuples(st.just(plans), st.tuples(*[statuses] * len(plans)))),
    st.sampled_from(["internal", "artifact-missing"]),
)
def test_whatever_is_opened_can_come_to_its_end(found: tuple[tuple[ChunkPlan, ...], tuple[ChunkStatus, ...]], code: str) -> None:
    """Every chunk that waits again waits for something that is open, and every chunk that is ready waits for nothing that is."""
    states = [
        ChunkState(
            f"{plan.stage}:{plan.number}",
            plan.stage,
            plan.number,
            status,
            plan.waits_for,
            [(first, last) for first, last in plan.payload.get("features", ())],
            plan.units,
            error=code if status == ChunkStatus.FAILED else None,
        )
        for plan, status in zip(*found, strict=True)
    ]
    result = reopening(states)
    again = {*result.ready, *result.waiting}
    assert len(again) == len(result.ready) + len(result.waiting)
    assert {state.id for state in states if state.status == ChunkStatus.FAILED} <= again
    assert not again & {state.id for state in states if state.status in CHUNK_OPEN}
    still_open = again | {state.id for state in states if state.status in CHUNK_OPEN}
    for state in states:
        if state.id in again and state.waits_for is not None:
            awaited = stages_before(state.stage) if state.stage in BARRIERS else (state.waits_for,)
            holds = any(name == one or name.startswith(f"{one}:") for name in still_open for one in awaited)
            assert (state.id in result.waiting) == holds
