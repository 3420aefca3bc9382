"""A job on neurons of both signs: the negative side of neuron 3 is the feature `3-`, with its own evidence, label and scores."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from sqlalchemy import select

from api.app import create_app
from api.cli.commands.features import parse_reference
from benches.in_process import InProcess
from benches.tiny import WIDTH
from glossator import ApiError, Client
from interp.config.settings import Settings
from interp.domain.evidence import ContextKind, FeatureEvidence, Split
from interp.domain.spec import DictionarySpec, JobSpec
from interp.files.evidence_codec import decode_evidence
from interp.store.db.engine import snapshot
from interp.store.db.tables import EvidenceRow
from tests.workers.test_pipeline import complete
from workers.runtime import Runtime

# Axes of the embedding: each fires at some tokens, which a rule can name.
NEURONS = WIDTH
HOOK_POINT = "blocks.0.hook_resid_pre"
NAME = "tiny@neurons"


@pytest.fixture
def spec(tiny_job: JobSpec) -> JobSpec:
    dictionary = DictionarySpec(source=tiny_job.subject.model, format="neurons", hook_point=HOOK_POINT, name=NAME, polarity="both")
    collection = tiny_job.collection.model_copy(update={"firing_rate": 0.05, "firing_level": "auto"})
    return tiny_job.model_copy(update={"dictionary": dictionary, "collection": collection, "features": "0-2,5"})


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with Client("http://test", InProcess(create_app(settings))) as found:
        yield found


def evidence_of(runtime: Runtime, run_id: int) -> dict[int, FeatureEvidence]:
    with snapshot(runtime.engine) as session:
        return {
            feature: decode_evidence(blob)
            for feature, blob in session.execute(select(EvidenceRow.feature, EvidenceRow.blob).where(EvidenceRow.run_id == run_id))
        }


def test_each_side_has_its_own_evidence_label_and_scores(spec: JobSpec, settings: Settings, client: Client, tmp_path: Path) -> None:
    runtime = Runtime.of(settings)
    found = complete(runtime, spec)
    assert found.status == "completed", found.error
    assert found.summary is not None
    assert found.summary["features"]["asked"] == 8

    listed = list(client.list_features(NAME))
    assert [item["name"] for item in listed] == [f"{NAME}:{address}" for address in ("0", "1", "2", "5", "0-", "1-", "2-", "5-")]
    assert [item["index"] for item in listed] == [0, 1, 2, 5, *(NEURONS + index for index in (0, 1, 2, 5))]
    [dictionary] = client.list_dictionaries()
    assert (dictionary["polarity"], dictionary["n_features"]) == ("both", 2 * NEURONS)
    for address in ("2-", NEURONS + 2):
        negative = client.get_feature(NAME, address)
        assert (negative["name"], negative["index"]) == (f"{NAME}:2-", NEURONS + 2)
    assert negative["explanations"][0]["name"] == f"{NAME}:2-"
    assert [item["name"] for item in listed[4:] if item["label"] and item["score"] is not None], "labels and scores of negative sides"
    assert all(item["name"].startswith(f"{NAME}:") for item in negative["nearest"])
    assert client.get_feature_provenance(NAME, "2-")["name"] == f"{NAME}:2-"
    assert negative["statistics"] != client.get_feature(NAME, 2)["statistics"]
    with pytest.raises(ApiError, match=r"neurons:7-.*yet"):
        client.get_feature(NAME, "7-")
    with pytest.raises(ApiError, match=r"No feature .*:32-"):
        client.get_feature(NAME, "32-")

    # A negative side is the positive side of the opposed direction, its level too.
    np.save(tmp_path / "opposed.npy", -np.eye(NEURONS, dtype=np.float32))
    opposed = DictionarySpec(source=str(tmp_path / "opposed.npy"), hook_point=HOOK_POINT, name="tiny@opposed")
    assert complete(runtime, spec.model_copy(update={"dictionary": opposed, "scorers": ()})).status == "completed"
    ours, theirs = evidence_of(runtime, 1), evidence_of(runtime, 2)
    for index in (0, 1, 2, 5):
        one, other = ours[NEURONS + index], theirs[index]
        assert one.statistics == other.statistics
        assert one.statistics.firing_level > 0
        np.testing.assert_array_equal(one.histogram, other.histogram)
        assert [effect.token for effect in one.promoted] == [effect.token for effect in other.promoted]
        assert [effect.token for effect in one.promoted] == [effect.token for effect in ours[index].suppressed]
        for split in Split:
            tops = (item.contexts.of(split, ContextKind.TOP) for item in (one, other))
            np.testing.assert_array_equal(*(contexts.activations for contexts in tops))
    with pytest.raises(ApiError, match="positive side of each feature alone") as refused:
        client.get_feature("tiny@opposed", "2-")
    assert "polarity: both" in str(refused.value)


@pytest.mark.parametrize("written", ["2--", "-2", "x", "2.0", "99999999999"])
def test_other_texts_are_no_feature(settings: Settings, written: str) -> None:
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://test") as http:
        assert http.get(f"/v1/dictionaries/any/features/{written}").status_code == 422


def test_the_command_line_takes_the_negative_side() -> None:
    assert parse_reference("pystdlib/1-neurons/123-") == ("pystdlib@1-neurons", "123-")
    assert parse_reference("pystdlib@1-neurons:123") == ("pystdlib@1-neurons", "123")
