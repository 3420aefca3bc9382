"""Jobs whose explainer is a URL, from end to end on both dialects: what they leave, what they cost, and how they go on."""

import json
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from interp.config.settings import Settings
from interp.domain.spec import BudgetSpec, JobSpec
from interp.explain.endpoint import UNKNOWN_READING
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ExplanationRow, ScoreRow
from interp.store.db.text import unpack
from interp.store.llm import reply_cache
from interp.store.queue import jobs
from tests.fakes.lab import COST, TOKENS, Lab, serving, spec_of
from tests.workers.asking import complete, recorded, state, submit, work
from workers.llm.event_loop import close_clients
from workers.runtime import Runtime

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with serving(Lab()) as made:
        yield made


@pytest.fixture
def runtime(settings: Settings, lab: Lab) -> Runtime:
    return Runtime.of(settings.model_copy(update={"explain_chunk_features": 4, "llm_max_outage_seconds": 2.0, "llm_endpoints": (lab.url,)}))


def labels(runtime: Runtime) -> dict[int, ExplanationRow]:
    with snapshot(runtime.engine) as session:
        return {row.feature: row for row in session.scalars(select(ExplanationRow).where(ExplanationRow.explainer == "endpoint"))}


def test_a_job_is_explained_by_a_url_and_scored_like_any_other(runtime: Runtime, lab: Lab, tiny_job: JobSpec) -> None:
    found = complete(runtime, spec_of(tiny_job, lab, explainers=[{"name": "pattern"}, spec_of(tiny_job, lab).explainers[0].model_dump(mode="json")]))
    made = labels(runtime)
    assert {row.text is not None for row in made.values()} >= {True}
    assert sorted(lab.features) == sorted(set(lab.features)), "each feature once"
    one = lab.requests[0]
    assert (one["dictionary"]["name"], one["feature"]["name"]) == ("tiny@1-res", f"tiny@1-res:{one['feature']['index']}")
    assert one["subject"]["d_in"] > 0
    assert one["subject"]["hook_point"].startswith("blocks.")
    rows = recorded(runtime, found.job_id)
    assert len(rows) == len(lab.requests)
    assert {(row.model, row.base_url, row.purpose, row.template, row.status) for row in rows} == {
        ("endpoint", lab.url, "endpoint", "endpoint@1", "answered")
    }
    with snapshot(runtime.engine) as session:
        kept = reply_cache.load(session, [row.key for row in rows])
    sent = {row.feature: json.loads(unpack(kept[row.key].prompt)) for row in rows}
    assert sent == {request["feature"]["index"]: request for request in lab.requests}
    used = (found.summary or {})["language_models"]
    assert (used["questions"], used["cost_usd"]) == (len(rows), pytest.approx(COST * len(rows)))
    explained = next(row for row in made.values() if row.text is not None)
    assert explained.provenance["test_split"] == UNKNOWN_READING
    assert explained.provenance["settings"] == {"name": "endpoint", "url": lab.url}


def test_a_job_that_stops_midway_asks_for_nothing_twice(runtime: Runtime, lab: Lab, tiny_job: JobSpec) -> None:
    lab.most = 2
    job_id = submit(runtime, spec_of(tiny_job, lab, budget={"usd": 1.0, "tokens": 10_000}))
    found = work(runtime, job_id)
    assert (found.status, (found.pause_reason or {})["code"]) == ("paused", "key-refused")
    assert len(lab.requests) == 2
    lab.most = 10**6
    close_clients()  # as in another process, which has not seen the fault
    with transaction(runtime.engine) as session:
        jobs.resume(session, job_id, BudgetSpec(usd=1.0, tokens=10_000))
    assert work(runtime, job_id).status == "completed"
    assert len(lab.features) == len(set(lab.features)) > 2, "answers from before the pause are recalled"
    spent = state(runtime, job_id).spent
    assert spent.usd == pytest.approx(COST * len(lab.features))
    assert spent.tokens == TOKENS * len(lab.features)
    again = complete(runtime, spec_of(tiny_job, lab))
    assert recorded(runtime, again.job_id) == []


def test_a_budget_of_calls_pauses_the_job_before_it_is_passed(runtime: Runtime, lab: Lab, tiny_job: JobSpec) -> None:
    job_id = submit(runtime, spec_of(tiny_job, lab, budget={"calls": 3}))
    found = work(runtime, job_id)
    assert (found.status, (found.pause_reason or {})["code"]) == ("paused", "budget-reached")
    assert len(lab.requests) == 3


def test_a_refusal_fails_its_feature_alone_and_is_asked_again_by_the_next_job(runtime: Runtime, lab: Lab, tiny_job: JobSpec) -> None:
    complete(runtime, spec_of(tiny_job, lab))
    first = lab.features
    refused = first[0]
    lab.refusing, lab.requests = frozenset({refused}), []
    other = spec_of(tiny_job, lab, seed=1)
    complete(runtime, other)
    with snapshot(runtime.engine) as session:
        failures = session.scalars(select(ExplanationRow).where(ExplanationRow.explainer == "endpoint", ExplanationRow.text.is_(None))).all()
    assert "The endpoint refused: not this one" in {row.failure for row in failures if row.feature == refused}
    lab.refusing, lab.requests = frozenset(), []
    complete(runtime, other)
    assert lab.features == [refused]


def test_labels_are_scored_with_the_caveat_of_what_cannot_be_known(runtime: Runtime, lab: Lab, tiny_job: JobSpec) -> None:
    """The judge's part is free of calls here: an embedding scorer would ask, an executable one has no rule to run."""
    complete(runtime, spec_of(tiny_job, lab, scorers=["detection"]))
    with snapshot(runtime.engine) as session:
        scores = session.scalars(select(ScoreRow)).all()
    assert scores
    assert all(score.details["provenance"]["caveat"] == UNKNOWN_READING for score in scores)
