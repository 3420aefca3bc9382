"""`clusters` finds as many meanings as there are, names each, and says how much of the feature each is."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.domain.errors import CallFailedError
from interp.explain.grouping import groups, k_means, silhouette, unit
from interp.llm.prompt_text import parse_fenced
from tests.explain.explaining import Answering, explain, selves, two_meanings
from tests.explain.planted import evidence, where


def by_marks(prompt):
    """Names a group by the commonest marked token."""
    marked = re.findall("«([^»]*)»", "".join(part.text for part in parse_fenced(prompt.messages[-1].content)))
    words = ["a digit" if word.strip().isdigit() else word.strip() for word in marked]
    return json.dumps({"explanation": max(sorted(set(words)), key=words.count)})


def test_a_feature_of_one_meaning_has_one_label_and_one_call():
    model = Answering(by_marks)
    made = explain("clusters", selves(), model)
    assert made.text == "self"
    assert len(model.asked) == 1
    assert [cluster["share"] for cluster in made.provenance["clusters"]] == [1.0]


def test_two_meanings_have_a_label_each_with_their_shares():
    model = Answering(by_marks)
    made = explain("clusters", two_meanings(), model)
    assert re.fullmatch(r"a digit \((\d+)%\); import \((\d+)%\)", made.text), made.text
    clusters = made.provenance["clusters"]
    assert len(model.asked) == len(clusters) == 2
    assert sum(cluster["share"] for cluster in clusters) == pytest.approx(1)
    assert [f"({cluster['share']:.0%})" for cluster in clusters] == re.findall(r"\(\d+%\)", made.text)
    assert not set(clusters[0]["contexts"]) & set(clusters[1]["contexts"])
    assert made.provenance["calls"] == [key for cluster in clusters for key in cluster["calls"]]
    assert all(prompt.messages[0].content.startswith("Task: cluster\n") for prompt in model.prompts)
    assert made.provenance["template"] == "clusters@2"


def test_there_are_no_more_groups_than_asked_for():
    found = evidence(where(lambda t: t.strip() in ("def", "import", "return", "None", "self")))
    model = Answering(by_marks)
    explain("clusters", found, model, clusters=2)
    assert len(model.asked) <= 2


def test_groups_of_one_name_are_one():
    made = explain("clusters", two_meanings(), Answering(lambda prompt: '{"explanation": "Tokens of code"}'))
    assert made.text == "Tokens of code"


def test_a_group_that_nobody_can_name_is_left_out_and_its_share_stays_open():
    made = explain("clusters", two_meanings(), Answering(lambda prompt: by_marks(prompt).replace('"import"', '"unclear"')))
    assert re.fullmatch(r"a digit \(\d\d%\)", made.text), made.text
    assert "unclear" in made.provenance["clusters"][1]["failure"]
    assert made.provenance["clusters"][1]["label"] is None


def test_with_an_embedding_model_its_vectors_decide():
    class Embedder(Answering):
        async def embed(self, texts):
            self.embedded += texts
            return np.array([[1, 0] if any(character.isdigit() for character in text) else [0, 1] for text in texts], dtype=np.float32)

    embedder, model = Embedder(), Answering(by_marks)
    made = explain("clusters", two_meanings(), model, embedder=embedder)
    assert len(model.asked) == 2
    assert made.provenance["vectors"] == embedder.provenance
    assert len(embedder.embedded) == sum(len(cluster["contexts"]) for cluster in made.provenance["clusters"])
    assert not any("«" in text for text in embedder.embedded)


def test_an_embedding_that_fails_is_a_failure_with_its_reason():
    class Broken(Answering):
        async def embed(self, texts):
            raise CallFailedError("The endpoint sent vectors of two widths.")

    model = Answering()
    made = explain("clusters", selves(), model, embedder=Broken())
    assert made.text is None
    assert "two widths" in made.failure
    assert not model.asked


@given(st.integers(1, 5), st.integers(2, 8), st.integers(0, 99))
def test_clouds_that_lie_apart_are_found_as_they_are(count, each, seed):
    random = np.random.default_rng(seed)
    centres = np.eye(8)[:count]
    truth = np.repeat(np.arange(count), each)
    vectors = unit(centres[truth] + 0.02 * random.normal(size=(len(truth), 8)))
    found = groups(vectors, 6, random, alike=0.9)
    assert found.max() + 1 == count
    assert all(len(set(found[truth == number])) == 1 for number in range(count))


@given(st.integers(0, 30), st.integers(2, 6), st.integers(0, 99))
def test_groups_are_numbered_by_size_and_none_is_a_single_row(count, most, seed):
    random = np.random.default_rng(seed)
    found = groups(unit(random.normal(size=(count, 3))), most, random)
    sizes = np.bincount(found) if count else np.zeros(0)
    assert len(found) == count
    assert (np.diff(sizes) <= 0).all()
    assert len(sizes) <= most
    assert len(sizes) <= 1 or sizes.min() >= 2


def test_silhouette_by_hand():
    """Cosine distances on a line of angles: a = 1 - cos within, b = 1 - cos to the other group's mean, (b - a) / max."""
    angles = np.radians([0, 10, 90, 100])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    near = 1 - np.cos(np.radians(10))
    far = [(2 - np.cos(np.radians(90)) - np.cos(np.radians(100))) / 2, (2 - np.cos(np.radians(80)) - np.cos(np.radians(90))) / 2]
    by_hand = np.mean([(b - near) / b for b in (far[0], far[1], far[1], far[0])])
    assert silhouette(vectors, np.array([0, 0, 1, 1])) == pytest.approx(by_hand)


def test_k_means_finds_two_clouds_from_any_start():
    random = np.random.default_rng(3)
    vectors = unit(np.repeat([[1.0, 0.1], [0.1, 1.0]], 6, axis=0) + 0.05 * random.normal(size=(12, 2)))
    for seed in range(10):
        labels = k_means(vectors, 2, np.random.default_rng(seed))
        assert len(set(labels[:6])) == len(set(labels[6:])) == 1
        assert labels[0] != labels[-1]
