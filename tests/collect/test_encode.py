"""The tiled encode against the dictionary's own, on weights that are no round numbers."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.collect.encode import DenseEncoder, Encoder, TileShape, make_encoder
from interp.collect.run import collect
from interp.collect.window_batches import WindowBatch, Windows
from interp.dictionary.module import Dictionary
from interp.domain.evidence import ContextKind, Split
from interp.domain.spec import CollectionSpec
from tests.collect.fakes import WIDTH, FakeSubject, make_corpus, make_dictionary

WINDOW, WINDOWS, FEATURES = 8, 12, 40
SHAPE = TileShape(features=16, tokens=32)


def random_dictionary(activation: str) -> Dictionary:
    dictionary = make_dictionary(FEATURES, activation)
    return dataclasses.replace(
        dictionary,
        W_enc=torch.randn(WIDTH, FEATURES),
        b_enc=torch.randn(FEATURES),
        pre_bias=torch.randn(WIDTH),
        input_norm="layer_norm",
        threshold=torch.randn(FEATURES) if activation == "jumprelu" else None,
    )


@pytest.mark.parametrize("activation", ["relu", "jumprelu", "topk"])
@pytest.mark.parametrize("features", [torch.arange(FEATURES), torch.tensor([30, 2, 7, 39])])
def test_activity_is_where_the_dictionary_fires(activation: str, features: Tensor) -> None:
    torch.manual_seed(0)
    dictionary = random_dictionary(activation)
    encoder = make_encoder(dictionary, features, torch.float32, WINDOW, SHAPE)
    x = torch.randn(WINDOWS * WINDOW, WIDTH)
    masked = torch.rand(len(x)) < 0.1
    known = Windows(torch.arange(WINDOWS), torch.zeros((2, WINDOWS), dtype=torch.int32), ~masked.view(WINDOWS, WINDOW))
    encoder.begin(WindowBatch(0, known, x, masked))
    dense = dictionary.encode(x).masked_fill(masked[:, None], 0)[:, features].T.reshape(len(features), WINDOWS, WINDOW)
    for start, stop in ((0, 3), (3, len(features))):
        check(encoder, start, stop, dense[start:stop])


def check(encoder: Encoder, start: int, stop: int, dense: Tensor) -> None:
    maxima = torch.empty((stop - start, WINDOWS))
    activity = encoder.activity(start, stop, maxima)
    torch.testing.assert_close(maxima, dense.amax(2))
    pairs = sorted(zip(activity.features.tolist(), activity.windows.tolist(), strict=True))
    assert pairs == [tuple(pair) for pair in (dense.amax(2) > 0).nonzero().tolist()]
    floors = encoder.limits.thresholds[start:stop][activity.features, None]
    values = torch.where(activity.values > floors, activity.values, 0)
    torch.testing.assert_close(values, dense[activity.features, activity.windows])


def test_a_batch_without_activity() -> None:
    dictionary = dataclasses.replace(make_dictionary(FEATURES), b_enc=torch.full((FEATURES,), -1e6))
    encoder = DenseEncoder(dictionary, torch.arange(FEATURES), torch.float32, WINDOW, SHAPE)
    x = torch.randn(32, WIDTH)
    known = Windows(torch.arange(4), torch.zeros((2, 4), dtype=torch.int32), torch.ones((4, WINDOW), dtype=torch.bool))
    encoder.begin(WindowBatch(0, known, x, torch.zeros(32, dtype=torch.bool)))
    maxima = torch.ones((FEATURES, 4))
    assert len(encoder.activity(0, FEATURES, maxima).features) == 0
    assert not maxima.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_subject_of_half_precision_with_a_dictionary_of_single(dtype: torch.dtype) -> None:
    corpus, spec = make_corpus([100] * 20), CollectionSpec(row_tokens=32, window=8, batch_tokens=512)
    runs = [
        collect(FakeSubject(dtype=kind), make_dictionary(24), corpus, (0, 20), spec, 0, np.arange(24), lambda done: None)
        for kind in (dtype, torch.float32)
    ]
    np.testing.assert_array_equal(runs[0].histogram, runs[1].histogram)  # the fake's values are exact in either


def test_bfloat16_encoding_keeps_nearly_the_same_windows() -> None:
    corpus, counts = make_corpus([200] * 60, splits=[0, 1] * 30), {}
    dictionary = dataclasses.replace(make_dictionary(64), W_enc=torch.randn(WIDTH, 64), b_enc=torch.full((64,), -6.0))
    for dtype in ("float32", "bfloat16"):
        spec = CollectionSpec(row_tokens=64, window=16, encode_dtype=dtype)  # type: ignore[arg-type]
        counts[dtype] = collect(FakeSubject(), dictionary, corpus, (0, 60), spec, 0, np.arange(64), lambda done: None)
    single, half = counts["float32"], counts["bfloat16"]
    assert abs(half.histogram.sum() / single.histogram.sum() - 1) < 0.02
    sample = (ContextKind.UNIFORM, Split.EXPLAIN)
    shared = [len(np.intersect1d(a, b)) / len(a) for a, b in zip(single.keys[sample], half.keys[sample], strict=True)]
    assert np.mean(shared) > 0.95
