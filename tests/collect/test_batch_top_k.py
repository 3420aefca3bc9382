"""The threshold of a BatchTopK dictionary is found on the corpus: above it, k features a token fire on average, as over one large batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from interp.collect.levels import CALIBRATION_TOKENS, batch_top_k_threshold
from interp.domain.evidence import Split
from interp.domain.spec import CollectionSpec
from tests.collect import reference
from tests.collect.fakes import FakeSubject, make_corpus, make_dictionary

FEATURES = 128
SPEC = CollectionSpec(row_tokens=64, window=16, batch_tokens=1024, left_context=12)


def explained(batch_k: int) -> tuple[float, np.ndarray]:
    """The threshold, and the activations [F, N] float16 of all counted tokens of the explain split, before it."""
    subject, dictionary = FakeSubject(), replace(make_dictionary(FEATURES, "relu"), batch_k=batch_k)
    corpus = make_corpus(np.random.default_rng(3).integers(1, 300, 60))
    assert len(corpus.tokens) < CALIBRATION_TOKENS, "the sample is the whole split"
    told: list[float] = []
    threshold = batch_top_k_threshold(subject, dictionary, corpus, SPEC, told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)
    windows = [window for window in reference.windows_of(subject, dictionary, corpus, SPEC) if window.split == Split.EXPLAIN]
    return threshold, np.concatenate([window.activations[:, np.array(window.counted)] for window in windows], axis=1).astype(np.float16)


@pytest.mark.parametrize("batch_k", [1, 2, 4])
def test_the_threshold_keeps_what_batchtopk_keeps_of_all_tokens(batch_k: int) -> None:
    threshold, values = explained(batch_k)
    kept = np.sort(values.reshape(-1))[::-1][: batch_k * values.shape[1]]
    assert kept[-1] > 0
    assert threshold > 0
    # Equal numbers at the border fall together, below.
    assert threshold == np.sort(values.reshape(-1))[::-1][batch_k * values.shape[1]]
    above = values > np.float16(threshold)
    assert abs(above.sum() - len(kept)) <= (values == np.float16(threshold)).sum()
    assert above.sum() <= len(kept)


def test_more_features_a_token_than_there_are_need_no_threshold() -> None:
    threshold, values = explained(FEATURES)
    assert (values > 0).sum() < FEATURES * values.shape[1]
    assert threshold == 0


def test_with_its_threshold_it_is_jumprelu() -> None:
    dictionary = replace(make_dictionary(FEATURES, "relu"), batch_k=3)
    x = FakeSubject().activations(torch.randint(2, 60, (2, 9))).reshape(-1, dictionary.d_in)
    plain, thresholded = dictionary.encode(x), dictionary.with_threshold(0.75)
    assert (thresholded.activation, thresholded.batch_k) == ("jumprelu", None)
    assert torch.equal(thresholded.encode(x), plain * (plain > 0.75))
