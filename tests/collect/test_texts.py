"""Activations of given texts are those that collection finds in documents of the same tokens."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from interp.collect.finish import finish
from interp.collect.levels import FiringLevels
from interp.collect.partial import merge
from interp.collect.run import collect
from interp.collect.texts import activations_of_texts, corpus_of
from interp.domain.spec import CollectionSpec, SubjectSpec
from interp.subject.base import Subject, open_subject
from tests.collect.fakes import FakeSubject, make_corpus, make_dictionary
from tests.subject import models

FEATURES = np.arange(24, dtype=np.int64)
SPEC = CollectionSpec(row_tokens=64, window=16, batch_tokens=1024, near_miss_neighbours=1, firing_level="zero")
# More than a row, exactly a row, parts of one, a token, none.
LENGTHS = (150, 63, 64, 40, 16, 15, 1, 5, 200)


def texts_of(tokens: np.ndarray, offsets: np.ndarray) -> list[str]:
    return ["".join(map(chr, tokens[start:stop])) for start, stop in pairwise(offsets.tolist())]


@pytest.mark.parametrize("kind", ["relu", "topk"])
@pytest.mark.parametrize("level", [0.0, 0.5])
def test_they_are_those_of_collection(kind: str, level: float) -> None:
    subject, dictionary, corpus = FakeSubject(), make_dictionary(activation=kind), make_corpus(LENGTHS, splits=[1] * len(LENGTHS))
    levels = np.full(24, level, np.float32)
    found = activations_of_texts(subject, dictionary, texts_of(corpus.tokens, corpus.offsets), FEATURES, SPEC, levels)
    np.testing.assert_array_equal(found.tokens, corpus.tokens)
    partial = collect(subject, dictionary, corpus, (0, len(LENGTHS)), SPEC, 0, FEATURES, lambda _: None, FiringLevels(FEATURES, levels))
    compared = 0
    for evidence in finish(merge([partial]), subject, dictionary, corpus, SPEC):
        contexts = evidence.contexts
        for row in np.flatnonzero(contexts.fires()):
            document = int(np.flatnonzero(corpus.documents == contexts.documents[row])[0])
            head = int(contexts.positions[row] == 0)
            kept = contexts.activations[row, head : int(contexts.lengths[row])]
            start = int(contexts.starts[row])
            np.testing.assert_array_equal(found.of(document)[evidence.feature, start : start + len(kept)], kept)
            compared += 1
    assert compared > 100


def test_a_text_gives_the_same_alone_and_among_others_in_any_order() -> None:
    subject, dictionary = FakeSubject(), make_dictionary()
    corpus = make_corpus(LENGTHS, seed=3)
    texts = texts_of(corpus.tokens, corpus.offsets)
    together = activations_of_texts(subject, dictionary, texts, FEATURES, SPEC)
    for place, text in enumerate(texts):
        alone = activations_of_texts(subject, dictionary, [text], FEATURES[::-1].copy(), SPEC.in_batches_of(64))
        np.testing.assert_array_equal(alone.of(0)[::-1], together.of(place))


def test_texts_without_a_token_have_no_activations() -> None:
    found = activations_of_texts(FakeSubject(), make_dictionary(), ["", "abc", ""], FEATURES, SPEC)
    assert found.maxima().shape == (24, 3)
    assert not found.maxima()[:, [0, 2]].any()
    assert found.of(1).shape == (24, 3)
    assert activations_of_texts(FakeSubject(), make_dictionary(), [], FEATURES, SPEC).maxima().shape == (24, 0)


def test_special_tokens_in_a_text_have_none() -> None:
    found = activations_of_texts(FakeSubject(), make_dictionary(), [chr(9) + chr(1) + chr(9)], FEATURES, SPEC)
    assert found.of(0)[1, 1] == 0
    assert (found.of(0)[1, [0, 2]] > 0).all()


def test_a_real_subject_reads_the_text_that_was_written(tmp_path: Path) -> None:
    folder = models.build("llama", tmp_path)
    subject: Subject = open_subject(SubjectSpec(model=str(folder), device="cpu", backend="huggingface"), "blocks.0.hook_resid_post")
    corpus = corpus_of(subject, ["def f(self):", "  return 1"])
    assert len(corpus) == 2
    assert "".join(subject.vocabulary.texts(corpus.tokens.tolist())) == "def f(self):  return 1"
