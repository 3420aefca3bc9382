"""What collection refuses, and how it says so."""

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.collect.run import collect
from interp.domain.errors import ActivationsNotFiniteError
from interp.domain.spec import CollectionSpec
from tests.collect.fakes import FakeSubject, make_corpus, make_dictionary

SPEC = CollectionSpec(row_tokens=32, window=8, batch_tokens=512)
BAD_TOKEN = 63


def run(subject: FakeSubject, dictionary=None, features=None, spec: CollectionSpec = SPEC, corpus=None) -> object:
    corpus = corpus or make_corpus([100] * 4)
    dictionary = dictionary or make_dictionary(24)
    features = np.arange(24) if features is None else features
    return collect(subject, dictionary, corpus, (0, len(corpus)), spec, 0, features, lambda done: None)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_activations_that_are_not_finite_name_their_place(value: float) -> None:
    subject, corpus = FakeSubject(), make_corpus([100] * 4)
    corpus.tokens[corpus.tokens == BAD_TOKEN] = 5
    corpus.tokens[250] = BAD_TOKEN
    subject.embedding[BAD_TOKEN, 3] = value
    with pytest.raises(ActivationsNotFiniteError) as caught:
        run(subject, corpus=corpus)
    document = f"{int(corpus.documents[2]):016x}"
    assert subject.hook_point in str(caught.value)
    assert caught.value.details == {"hook_point": subject.hook_point, "document": document, "token": 50}
    assert f"document {document} at token 50" in str(caught.value)


def test_what_stands_at_padding_does_not_matter() -> None:
    class Wild(FakeSubject):
        def activations(self, tokens: Tensor) -> Tensor:
            x = super().activations(tokens)
            x[:, 1:][tokens[:, 1:] == 0] = torch.nan
            return x

    corpus = make_corpus([3, 40, 17, 99])
    corpus.tokens[corpus.tokens == 0] = 5
    wild, tame = run(Wild(), corpus=corpus), run(FakeSubject(), corpus=corpus)
    np.testing.assert_array_equal(wild.histogram, tame.histogram)  # type: ignore[attr-defined]


def test_an_encoder_that_overflows_is_refused() -> None:
    dictionary = make_dictionary(24)
    dictionary.W_enc[:, 5] = 3e38
    with pytest.raises(ActivationsNotFiniteError, match="encoder overflows"):
        run(FakeSubject(), dictionary)


def test_activations_beyond_float16_are_kept_at_its_largest() -> None:
    dictionary = make_dictionary(24)
    dictionary.W_enc[:, 5] *= 1e6
    partial = run(FakeSubject(), dictionary)
    assert partial.maxima[5] > 1e5  # type: ignore[attr-defined]
    assert all(np.isfinite(values).all() for values in partial.activations.values())  # type: ignore[attr-defined]
