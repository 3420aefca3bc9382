"""A real model of English with a character tokenizer that knows no newline: its neurons run to labels and scores."""

import json
import shutil
from pathlib import Path

import pytest

from interp.config.settings import Settings
from interp.domain.spec import CollectionSpec, CorpusSpec, DictionarySpec, JobSpec, ScorerSpec, SubjectSpec
from interp.files.evidence_codec import decode_evidence
from interp.store.db.engine import snapshot
from interp.store.results import evidence, runs
from tests import databases
from tests.workers.test_pipeline import complete
from workers.runtime import Runtime

REAL = Path(__file__).parents[2] / ".." / "shared" / "real"
MODEL, STORIES = REAL / "babyllama105", REAL / "tinystories" / "tinystories_1000.json"
NEURONS = 20


@pytest.mark.skipif(not (MODEL.is_dir() and STORIES.is_file()), reason="the real model and its text are not here")
def test_neurons_of_a_character_model(tmp_path: Path) -> None:
    stories = json.loads(STORIES.read_text(encoding="utf-8"))[:80]
    assert sum("\n" in story for story in stories) > 40, "else the newline is not tried"
    (tmp_path / "stories.jsonl").write_text("".join(json.dumps({"text": story}) + "\n" for story in stories))
    model = str(shutil.copytree(MODEL, tmp_path / "model"))
    spec = JobSpec(
        subject=SubjectSpec(model=model, device="cpu"),
        dictionary=DictionarySpec(source=model, format="neurons", hook_point="blocks.2.mlp.hook_post", name="babyllama@2-neurons"),
        corpus=CorpusSpec(path=str(tmp_path / "stories.jsonl"), max_tokens=20_000),
        features=f"0-{NEURONS - 1}",
        collection=CollectionSpec(),
        scorers=(ScorerSpec(name="detection", nulls=4), ScorerSpec(name="simulation", nulls=4)),
    )
    settings = Settings(home=tmp_path / "home")
    databases.upgrade(settings.database_url)
    runtime = Runtime.of(settings)
    found = complete(runtime, spec)
    assert found.status == "completed", found.error
    assert found.summary is not None
    assert found.summary["features"] | {"asked": NEURONS, "failed": 0} == found.summary["features"]
    assert found.summary["features"]["explained"] >= NEURONS // 2
    assert found.summary["scores"]["detection"]["median"] > 0.5
    with snapshot(runtime.engine) as session:
        vocabulary, blobs = runs.vocabulary_of(session, 1), evidence.load(session, 1, [(0, NEURONS)])
    unknown = [token for token in vocabulary.special if vocabulary.text(token) == "<unk>"]
    assert unknown, "the newline is <unk>, a special token"
    contexts = [decode_evidence(blob).contexts for blob in blobs.values()]
    newlines = [found.activations[found.tokens == unknown[0]] for found in contexts if len(found)]
    assert sum(map(len, newlines)) > 0
    assert all((at == 0).all() for at in newlines), "a newline is in contexts, and never counted"
