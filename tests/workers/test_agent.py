"""Run jobs whose explainer has texts tried on the subject, on both dialects."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete, select

from interp.config.settings import Settings
from interp.domain.lifecycle import Queue, Stage
from interp.domain.spec import JobSpec
from interp.explain.proposal import KEPT_TOKENS, LONGEST_TEXT
from interp.llm.prompt_text import parse_fenced
from interp.planning.settings_digest import family_of
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ChunkRow, ExplanationRow, MeasurementRow, ScoreRow
from interp.store.queue import jobs
from tests.fakes.full_server import FullServer
from tests.store import steps
from tests.workers.asking import complete, recorded, spec_of, state, submit
from workers.runtime import Runtime
from workers.tasks import measurements
from workers.worker import drain

pytestmark = pytest.mark.timeout(300)
ROUNDS, TEXTS = 2, 6
TRIALS = (Stage.PROPOSE, Stage.TRY, Stage.EXPLAIN)


@pytest.fixture
def runtime(settings: Settings, server: FullServer) -> Runtime:
    return Runtime.of(settings.model_copy(update={"explain_chunk_features": 4, "llm_max_outage_seconds": 2.0, "llm_base_url": server.base_url}))


@pytest.fixture
def server() -> Iterator[FullServer]:
    with FullServer() as made:
        yield made


def asked(tiny_job: JobSpec, server: FullServer, **changes: object) -> JobSpec:
    agent = {"name": "agent", "contexts": 6, "rounds": ROUNDS, "texts": TEXTS}
    return spec_of(tiny_job, server, **{"explainers": [agent]} | changes)


def explained(runtime: Runtime) -> list[ExplanationRow]:
    with snapshot(runtime.engine) as session:
        return list(session.scalars(select(ExplanationRow).where(ExplanationRow.explainer == "agent").order_by(ExplanationRow.feature)))


def first_text(messages: list[dict[str, str]]) -> str:
    return str(json.loads(messages[2]["content"])["texts"][0]["text"])


def content(row: ExplanationRow) -> list[Any]:
    """What does not depend on when and where a label was made."""
    return [row.feature, row.text, row.failure, row.provenance]


def test_texts_are_proposed_tried_and_a_label_is_written_in_rounds(runtime: Runtime, server: FullServer, tiny_job: JobSpec) -> None:
    job = complete(runtime, asked(tiny_job, server))
    chunks = {stage.stage: stage.chunks for stage in job.stages if stage.stage in TRIALS}
    assert chunks == {Stage.PROPOSE: {"done": 4}, Stage.TRY: {"done": 4}, Stage.EXPLAIN: {"done": 2}}
    made = [row for row in explained(runtime) if row.text is not None]
    assert len(made) > 4
    for row in made:
        rounds = row.provenance["rounds"]
        assert len(rounds) == ROUNDS
        texts = [text for one in rounds for text in one["texts"]]
        assert len({text["text"] for text in texts}) == len(texts), "each round tries new texts"
        assert all(TEXTS / 2 <= len(one["texts"]) <= TEXTS for one in rounds)
        assert all(one["ideas"] and one["failure"] is None for one in rounds)
        for text in texts:
            assert len(text["tokens"]) == len(text["activations"]) <= KEPT_TOKENS
            assert text["max"] == max(text["activations"])
            assert len(text["text"]) <= LONGEST_TEXT
            assert text["max"] > 0 or not text["fires"]
        own = [call for call in recorded(runtime, job.job_id) if call.feature == row.feature and call.stage in ("propose", "explain")]
        assert {call.stage for call in own} == {"propose", "explain"}
        assert row.provenance["calls"] == [call.key for call in own]
        assert row.provenance["usage"]["prompt_tokens"] == sum(call.prompt_tokens for call in own)
        assert row.provenance["contexts"]
    assert any(text["fires"] for row in made for one in row.provenance["rounds"] for text in one["texts"])
    assert any(not text["fires"] for row in made for one in row.provenance["rounds"] for text in one["texts"])
    with snapshot(runtime.engine) as session:
        scored = list(session.scalars(select(ScoreRow).where(ScoreRow.explanation_id.in_([row.id for row in made]))))
    assert len(scored) == len(made), "its labels are scored as all are"
    assert job.request_counts.failed + len(made) >= 4
    before = server.totals.calls
    complete(runtime, asked(tiny_job, server))
    assert server.totals.calls == before, "a second job asks nothing again"


def test_the_last_prompt_shows_what_was_proposed_and_what_the_subject_read(runtime: Runtime, server: FullServer, tiny_job: JobSpec) -> None:
    complete(runtime, asked(tiny_job, server))
    row = next(row for row in explained(runtime) if row.text is not None)
    last = [body["messages"] for body in server.totals.bodies if body["messages"][0]["content"].startswith("Task: explain\n")]
    said = next(messages for messages in last if first_text(messages) == row.provenance["rounds"][0]["texts"][0]["text"])
    assert [message["role"] for message in said] == ["system", "user", *["assistant", "user"] * ROUNDS]
    for turn, one in enumerate(row.provenance["rounds"]):
        reply, read = json.loads(said[2 + 2 * turn]["content"]), said[3 + 2 * turn]["content"]
        assert reply["ideas"] == one["ideas"]
        assert [text["text"] for text in reply["texts"]] == [text["text"] for text in one["texts"]]
        assert len(parse_fenced(read)) == len(one["texts"])
        assert ("«" in read) is any(text["fires"] for text in one["texts"])


def test_the_labels_do_not_depend_on_chunks_nor_on_workers_that_die(
    runtime: Runtime, server: FullServer, tiny_job: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete(runtime, asked(tiny_job, server))
    first = [content(row) for row in explained(runtime)]
    with transaction(runtime.engine) as session:
        for table in (ScoreRow, ExplanationRow, MeasurementRow):
            session.execute(delete(table))

    saved, died = measurements.save_rounds, []

    def dying(session: Any, family: Any, name: str, turn: int, made: Any) -> None:
        saved(session, family, name, turn, made)
        if (name, turn) not in died:
            died.append((name, turn))
            raise RuntimeError("the worker's transaction is lost")

    for module in ("write", "probe"):
        monkeypatch.setattr(f"workers.tasks.{module}.save_rounds", dying)
    complete(Runtime.of(runtime.settings.model_copy(update={"explain_chunk_features": 3})), asked(tiny_job, server))
    assert len(died) == 2 * ROUNDS
    assert [content(row) for row in explained(runtime)] == first


def test_a_chunk_of_texts_that_failed_is_tried_again_with_all_that_depends_on_it(
    runtime: Runtime, server: FullServer, tiny_job: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.tasks import probe

    spec, whole = asked(tiny_job, server), probe.models_for

    def broken(*_: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(probe, "models_for", broken)
    job_id = submit(runtime, spec)
    drain(runtime, Queue.GPU, Queue.LLM)
    made = explained(runtime)
    assert all(row.text is None for row in made)
    tried = [row for row in made if "not run through the subject" in str(row.failure)]
    assert tried
    found = steps.look(runtime.engine, job_id)
    assert found.request_counts.failed == len(tried), "a feature counts once, whatever failed before its label"
    monkeypatch.setattr(probe, "models_for", whole)
    with transaction(runtime.engine) as session:
        jobs.retry(session, job_id)
    assert steps.look(runtime.engine, job_id).request_counts.failed == 0
    drain(runtime, Queue.GPU, Queue.LLM)
    assert len([row for row in explained(runtime) if row.text is not None]) == len(tried)
    with snapshot(runtime.engine) as session:
        assert {row.status for row in session.scalars(select(ChunkRow).where(ChunkRow.job_id == job_id))} == {"done"}


def test_a_model_that_proposes_nothing_readable_gives_a_failure_and_a_retry_asks_again(
    runtime: Runtime, server: FullServer, tiny_job: JobSpec
) -> None:
    from api.demo.fake_llm import answers

    whole = answers.ANSWERS["propose"]
    answers.ANSWERS["propose"] = lambda *_: answers.ScriptedAnswer({"explanation": "I would rather not."}, form="text")
    try:
        job_id = submit(runtime, asked(tiny_job, server, features="0-3"))
        drain(runtime, Queue.GPU, Queue.LLM)
    finally:
        answers.ANSWERS["propose"] = whole
    failed = [row for row in explained(runtime) if str(row.failure).startswith("No texts were proposed")]
    assert failed
    assert all(row.provenance["calls"] for row in failed)
    with transaction(runtime.engine) as session:
        jobs.retry(session, job_id)
    drain(runtime, Queue.GPU, Queue.LLM)
    assert {row.feature for row in explained(runtime) if row.text is not None} >= {row.feature for row in failed}


def test_proposals_are_bounded_by_the_jobs_budget(runtime: Runtime, server: FullServer, tiny_job: JobSpec) -> None:
    job_id = submit(runtime, asked(tiny_job, server, budget={"calls": 5}))
    drain(runtime, Queue.GPU, Queue.LLM)
    found = steps.look(runtime.engine, job_id)
    assert found.status == "paused"
    assert found.pause_reason is not None and found.pause_reason["code"] == "budget-reached"
    assert len(recorded(runtime, job_id)) <= 5
    assert state(runtime, job_id).spent.calls <= 5


def test_a_round_that_is_proposed_anew_leaves_no_later_rounds_of_the_old_one(runtime: Runtime, server: FullServer, tiny_job: JobSpec) -> None:
    spec = asked(tiny_job, server)
    complete(runtime, spec)
    with snapshot(runtime.engine) as session:
        row = session.scalars(select(ExplanationRow).where(ExplanationRow.explainer == "agent", ExplanationRow.text.is_not(None))).first()
        assert row is not None
        family, ranges = family_of(spec, spec.explainers[0], row.run_id, server.base_url), [(row.feature, row.feature + 1)]
        (before,) = measurements.tried_rounds(session, family, ROUNDS, ranges).values()
    assert len(before) == ROUNDS
    anew = replace(before[0].proposal, ideas=("something else",))
    with transaction(runtime.engine) as session:
        measurements.save_rounds(session, family, measurements.PROPOSED, 1, {row.feature: anew})
        measurements.save_rounds(session, family, measurements.TRIED, 1, {row.feature: replace(before[0], proposal=anew)})
    with snapshot(runtime.engine) as session:
        (after,) = measurements.tried_rounds(session, family, ROUNDS, ranges).values()
    assert [one.proposal for one in after] == [anew], "the second round answered to the old first one"
