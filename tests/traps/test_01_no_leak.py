"""Trap 1, the leak: other tools score an explanation on the text that it was written from. Here a document is in one split: over a whole job, every
explainer and every judge, no document that an explaining prompt shows is among the scored items, and every prompt shows its own split's text alone.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from api.demo.fake_llm.server import ScriptedServer
from interp.config.settings import Settings
from interp.domain.evidence import Contexts, Split
from interp.domain.spec import JobSpec
from interp.domain.vocabulary import Vocabulary
from interp.files.evidence_codec import decode_evidence
from interp.llm.prompt_text import BEGIN, parse_fenced, plain, unmarked
from interp.score.items.codec import decode_items
from interp.store.db.engine import snapshot
from interp.store.db.tables import EvidenceRow, ExplanationRow, ScoreItemsRow, ScoreRow
from interp.store.db.text import unpack
from interp.store.llm import reply_cache
from interp.store.results import runs
from tests import databases
from tests.workers.asking import complete, recorded, spec_of
from workers.llm.event_loop import close_clients
from workers.runtime import Runtime

pytestmark = pytest.mark.timeout(300)

EXPLAINERS = ["contexts", "contrastive", "token_activations", "top_contexts", "max_act_logits", "best_of", "refine", "agent", "pattern"]
SCORERS = ["detection", "fuzz", "simulation", "selection"]
DOCUMENT = re.compile(r"^([0-9a-f]{16}):\d+$")


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as made:
        yield made


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory, server: ScriptedServer) -> Runtime:
    settings = Settings(home=tmp_path_factory.mktemp("leak"), llm_base_url=server.base_url)
    databases.upgrade(settings.database_url)
    return Runtime.of(settings)


@pytest.fixture(scope="module")
def job_id(runtime: Runtime, server: ScriptedServer, tiny_job: JobSpec) -> str:
    """A whole job of every explainer and every control."""
    spec = spec_of(
        tiny_job,
        server,
        features="0-3",
        explainers=[{"name": name} for name in EXPLAINERS],
        scorers=[{"name": name, "positives": 4, "negatives": 4} for name in SCORERS],
        controls=["null", "empty", "baseline", "repeat", "gold"],
    )
    made = complete(runtime, spec).job_id
    close_clients()
    return made


def documents(identities: Iterable[str]) -> set[str]:
    """The documents of contexts' identities."""
    matches = [DOCUMENT.match(identity) for identity in identities]
    assert all(matches), "an identity names its document"
    return {match[1] for match in matches if match}


def texts(runtime: Runtime, split: Split) -> set[str]:
    """Every window's text that the job's evidence has of a split, as prompts show it."""
    with snapshot(runtime.engine) as session:
        blobs = session.execute(select(EvidenceRow.run_id, EvidenceRow.blob)).all()
        vocabulary: Vocabulary = runs.vocabulary_of(session, blobs[0][0])
    found: list[Contexts] = [decode_evidence(blob).contexts.of(split) for _, blob in blobs]
    return {plain(contexts, row, vocabulary) for contexts in found for row in range(len(contexts))}


def window_of(shown: str) -> str:
    """A window's text as a prompt shows it, without marks and without what stands left of it."""
    before, sign, after = shown.partition(BEGIN)
    return unmarked(after if sign else before)


def contexts_shown(runtime: Runtime, job_id: str, stage: str) -> dict[str, set[str]]:
    """The fenced texts of all prompts of a stage, by what the calls were for."""
    rows = [row for row in recorded(runtime, job_id) if row.stage == stage]
    with snapshot(runtime.engine) as session:
        kept = reply_cache.load(session, [row.key for row in rows])
    found: dict[str, set[str]] = {}
    for row in rows:
        prompt = unpack(kept[row.key].prompt if row.prompt is None else row.prompt)
        for message in json.loads(prompt)["messages"]:
            fenced = [part for part in parse_fenced(message["content"]) if part.kind == "context"]
            found.setdefault(row.purpose, set()).update(window_of(part.text) for part in fenced)
    return found


def test_no_document_shown_to_an_explainer_is_among_the_scored_items(runtime: Runtime, job_id: str) -> None:
    with snapshot(runtime.engine) as session:
        explained = session.scalars(select(ExplanationRow).where(ExplanationRow.text.is_not(None))).all()
        scored = {
            item.context for (blob,) in session.execute(select(ScoreItemsRow.blob)) for item in decode_items(blob) if DOCUMENT.match(item.context)
        }
        scorers = set(session.scalars(select(ScoreRow.scorer)))
    shown_by: dict[str, set[str]] = {name: set() for name in EXPLAINERS if name != "pattern"}
    for row in explained:
        if row.explainer != "pattern":
            shown_by[row.explainer] |= documents(row.provenance["contexts"])
            chosen_on = row.provenance.get("chosen", {}).get("on", ())
            shown_by[row.explainer] |= documents(chosen_on)
    assert all(shown_by.values()), "each says what it was shown"
    assert scorers == set(SCORERS)
    assert documents(scored)
    assert not set().union(*shown_by.values()) & documents(scored)


def test_prompts_show_the_text_of_their_own_split_alone(runtime: Runtime, job_id: str) -> None:
    own = {"explain": texts(runtime, Split.EXPLAIN), "score": texts(runtime, Split.TEST)}
    # Generated documents may agree over a window; such a text says nothing about its split.
    both = own["explain"] & own["score"]
    own["propose"] = own["explain"]
    for stage, other in (("explain", "score"), ("propose", "score"), ("score", "explain")):
        asked = contexts_shown(runtime, job_id, stage)
        assert asked, f"the job asked something in {stage}"
        for purpose, found in asked.items():
            assert not found & (own[other] - both), f"{purpose} shows text of the other split"
        compared = set().union(*asked.values()) & own[stage]
        assert len(compared) > 20, "the texts of prompts are really those of the evidence"


def test_what_an_explanation_says_it_was_shown_is_what_its_prompt_shows(runtime: Runtime, job_id: str) -> None:
    with snapshot(runtime.engine) as session:
        rows = session.scalars(select(ExplanationRow).where(ExplanationRow.explainer == "contexts", ExplanationRow.text.is_not(None))).all()
        evidence = {feature: decode_evidence(blob) for feature, blob in session.execute(select(EvidenceRow.feature, EvidenceRow.blob))}
        vocabulary = runs.vocabulary_of(session, rows[0].run_id)
    prompts = [row for row in recorded(runtime, job_id) if row.purpose == "contexts"]
    assert rows
    for row in rows:
        part = evidence[row.feature].contexts.of(Split.EXPLAIN)
        names = part.identities()
        said = {plain(part, names.index(identity), vocabulary) for identity in row.provenance["contexts"]}
        with snapshot(runtime.engine) as session:
            asked = reply_cache.load(session, [call.key for call in prompts if call.feature == row.feature]).values()
        fenced = {
            window_of(found.text)
            for one in asked
            for message in json.loads(unpack(one.prompt))["messages"]
            for found in parse_fenced(message["content"])
        }
        assert {text for text in fenced if text in said} == said, f"feature {row.feature}: provenance and prompt agree"


def test_the_books_are_on_disk(runtime: Runtime, job_id: str) -> None:
    """What the tests above read is the product's own record, not a spy's."""
    assert Path(runtime.settings.home / "glossator.db").exists()
    assert recorded(runtime, job_id)
