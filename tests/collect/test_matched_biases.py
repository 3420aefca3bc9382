"""A random dictionary's features fire as often as the trained ones of their numbers, on the sample that their biases are found on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from interp.collect.levels import CalibrationSample
from interp.collect.measure.matched_biases import firings, matched_biases
from interp.dictionary.canonical import Canonical
from interp.dictionary.module import Dictionary, from_canonical
from interp.dictionary.random_directions import randomised
from interp.domain.spec import CollectionSpec
from tests.collect.fakes import FakeSubject, make_corpus, make_dictionary

FEATURES = 128
ALL = np.arange(FEATURES)
SPEC = CollectionSpec(row_tokens=64, window=16, batch_tokens=1024, left_context=12)
CORPUS = make_corpus(np.random.default_rng(3).integers(1, 300, 60))


def random_beside(trained: Dictionary, seed: int = 5) -> Dictionary:
    arrays = Canonical(*(getattr(trained, name).numpy() for name in ("W_enc", "b_enc", "W_dec", "b_dec")), activation=trained.activation, k=trained.k)
    drawn = randomised(arrays, (1, 1), shared=True, seed=seed)
    return from_canonical(drawn, name="random", hook_point=trained.hook_point, architecture="random_directions", digest="", config={})


def counted(dictionary: Dictionary, features: np.ndarray = ALL) -> np.ndarray:
    return firings(CalibrationSample(FakeSubject(), dictionary, CORPUS, SPEC), features, lambda _share: None)


def matched(random: Dictionary, trained: Dictionary, features: np.ndarray = ALL, spec: CollectionSpec = SPEC) -> np.ndarray:
    return matched_biases(FakeSubject(), random, trained, CORPUS, spec, features, lambda _share: None)


@pytest.mark.parametrize("activation", ["relu", "topk"])
def test_each_fires_as_often_as_its_partner(activation: str) -> None:
    trained = make_dictionary(FEATURES, "relu")
    # Of all densities: never, at some tokens, at nearly all.
    trained = replace(trained, b_enc=trained.b_enc + torch.linspace(-60, 60, FEATURES))
    if activation == "topk":
        trained = replace(make_dictionary(FEATURES, "relu"), activation="topk", k=5)
    random, wanted = random_beside(trained), counted(trained)
    found = counted(random.with_biases(matched(random, trained)))
    assert wanted.min() == 0
    assert wanted.max() > 500
    # A feature without an encoder is constant. Of others, equal values (the same tokens) tie, and fall on one side together.
    has_encoder = trained.W_enc.norm(dim=0).numpy() > 0
    assert np.abs(found - wanted)[has_encoder].max() <= 4
    assert np.abs(counted(random) - wanted).mean() > 100, "without biases they do not"


def test_a_bias_depends_on_no_other_feature_and_no_batch() -> None:
    trained = make_dictionary(FEATURES, "relu")
    random, some = random_beside(trained), np.array([3, 17, 90])
    biases, alone = matched(random, trained), matched(random, trained, some)
    np.testing.assert_array_equal(alone[some], biases[some])
    assert np.isneginf(np.delete(alone, some)).all()
    np.testing.assert_array_equal(matched(random, trained, spec=SPEC.in_batches_of(256)), biases)


def test_directions_are_random_and_norms_the_trained_ones() -> None:
    draw = np.random.default_rng(0)
    encoder, decoder = draw.standard_normal((6, FEATURES)).astype(np.float32), 3 * draw.standard_normal((FEATURES, 6)).astype(np.float32)
    trained = Canonical(encoder, np.ones(FEATURES, np.float32), decoder, np.ones(6, np.float32))
    tied, transcoder = randomised(trained, (1, 1), True, 1), randomised(trained, (1, 1), False, 1)
    crosscoder = randomised(trained, (3, 3), True, 1)

    def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return (first * second).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)

    for made in (tied, transcoder, crosscoder):
        np.testing.assert_allclose(np.linalg.norm(made.W_dec, axis=1), np.linalg.norm(decoder, axis=1), rtol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(made.W_enc, axis=0), np.linalg.norm(encoder, axis=0), rtol=1e-5)
        assert abs(cosines(made.W_dec, decoder).mean()) < 0.2
        assert not made.b_enc.any()
    np.testing.assert_allclose(cosines(tied.W_enc.T, tied.W_dec), 1, atol=1e-5)
    assert abs(cosines(transcoder.W_enc.T, transcoder.W_dec).mean()) < 0.2
    sites = crosscoder.W_dec.reshape(FEATURES, 3, 2), decoder.reshape(FEATURES, 3, 2)
    np.testing.assert_allclose(*(np.linalg.norm(one, axis=2) for one in sites), rtol=1e-5)
