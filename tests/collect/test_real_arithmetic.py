"""The same exactness with a real transformer, whose sums are rounded: rows must not feel what else stands in their batch."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaModel

from interp.collect.finish import finish
from interp.collect.partial import Partial, merge
from interp.collect.reservoir import EMPTY, ORDINAL_MASK
from interp.collect.run import collect
from interp.dictionary.module import Dictionary
from interp.domain.spec import CollectionSpec
from interp.files.evidence_codec import encode_evidence
from tests.collect.fakes import VOCABULARY, FakeSubject, make_corpus
from tests.collect.test_properties import assert_equal

WIDTH, FEATURES = 64, 300
SPEC = CollectionSpec(row_tokens=128, window=16, batch_tokens=1024)
CORPUS = make_corpus(np.random.default_rng(0).integers(20, 900, 40).tolist())


class LlamaSubject(FakeSubject):
    """Two layers with random weights; attention as transformers picks it."""

    d_in = WIDTH

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=176, num_hidden_layers=2, num_attention_heads=4, initializer_range=0.3
        )
        self.model = LlamaModel(config).eval()

    @torch.inference_mode()
    def activations(self, tokens: Tensor) -> Tensor:
        states: Tensor = self.model(tokens).last_hidden_state
        return states

    def output_directions(self, hook_point: str) -> Tensor:
        directions: Tensor = self.model.embed_tokens.weight.detach().T.contiguous()
        return directions


@pytest.fixture(scope="module")
def subject() -> LlamaSubject:
    return LlamaSubject()


@pytest.fixture(scope="module", params=["jumprelu", "topk"])
def dictionary(request: pytest.FixtureRequest) -> Dictionary:
    generator = torch.Generator().manual_seed(2)
    topk = request.param == "topk"
    return Dictionary(
        name="real@0",
        hook_point="h",
        architecture=request.param,
        digest="d",
        config={},
        W_enc=torch.randn(WIDTH, FEATURES, generator=generator),
        b_enc=torch.randn(FEATURES, generator=generator),
        W_dec=torch.randn(FEATURES, WIDTH, generator=generator),
        b_dec=torch.zeros(WIDTH),
        activation="topk" if topk else "jumprelu",
        threshold=None if topk else torch.full((FEATURES,), 18.0),
        k=6 if topk else None,
        pre_bias=torch.randn(WIDTH, generator=generator),
    )


def run(subject: LlamaSubject, dictionary: Dictionary, documents: tuple[int, int], spec: CollectionSpec = SPEC) -> Partial:
    return collect(subject, dictionary, CORPUS, documents, spec, 0, np.arange(FEATURES), lambda done: None)


@pytest.fixture(scope="module")
def whole(subject: LlamaSubject, dictionary: Dictionary) -> Partial:
    return run(subject, dictionary, (0, len(CORPUS)))


@pytest.mark.parametrize("cuts", [(20,), (1, 2, 39), (7, 13, 14, 30)])
def test_any_cut_and_order_of_shards_give_exactly_the_same(
    subject: LlamaSubject, dictionary: Dictionary, whole: Partial, cuts: tuple[int, ...]
) -> None:
    edges = [0, *cuts, len(CORPUS)]
    parts = [run(subject, dictionary, (edges[index], edges[index + 1])) for index in reversed(range(len(edges) - 1))]
    assert_equal(merge(parts), whole)


def collect_some(subject: LlamaSubject, dictionary: Dictionary, documents: tuple[int, int], features: range) -> Partial:
    return collect(subject, dictionary, CORPUS, documents, SPEC, 0, np.arange(features.start, features.stop), lambda done: None)


@pytest.mark.parametrize("edges", [(1,), (150,), (7, 8, 299), (75, 150, 225)])
def test_any_cut_by_features_gives_exactly_the_same(subject: LlamaSubject, dictionary: Dictionary, whole: Partial, edges: tuple[int, ...]) -> None:
    """Group by shard, as a dictionary is cut that no worker holds at once: near misses need neighbours of other groups."""
    documents = [(0, 13), (13, len(CORPUS))]
    for start, stop in pairwise([0, *edges, FEATURES]):
        group = merge(collect_some(subject, dictionary, shard, range(start, stop)) for shard in documents)
        assert_equal(group, rows_of(whole, start, stop))
    for start, stop in pairwise([0, *edges, FEATURES]):
        of_group = finish(rows_of(whole, start, stop), subject, dictionary, CORPUS, SPEC)
        assert [encode_evidence(item) for item in of_group] == finished(subject, dictionary, whole)[start:stop]


def finished(subject: LlamaSubject, dictionary: Dictionary, partial: Partial) -> list[bytes]:
    return [encode_evidence(item) for item in finish(partial, subject, dictionary, CORPUS, SPEC)]


def rows_of(whole: Partial, start: int, stop: int) -> Partial:
    """What `whole` says of some of its features."""
    rows = {name: getattr(whole, name)[start:stop] for name in ("features", "windows_active", "histogram", "sums", "maxima", "levels")}
    samples = {name: {sample: values[start:stop] for sample, values in getattr(whole, name).items()} for name in ("keys", "activations")}
    return replace(whole, **rows, **samples)


def test_another_batch_size_changes_no_more_than_rounding(subject: LlamaSubject, dictionary: Dictionary, whole: Partial) -> None:
    other = run(subject, dictionary, (0, len(CORPUS)), SPEC.model_copy(update={"batch_tokens": 4096}))
    assert other.windows_seen == whole.windows_seen
    np.testing.assert_allclose(other.maxima, whole.maxima, rtol=1e-4, atol=1e-4)
    assert abs(other.histogram.sum() - whole.histogram.sum()) <= 1e-4 * whole.histogram.sum()
    assert len(kept(whole) & kept(other)) > 0.99 * len(kept(whole) | kept(other))


def kept(partial: Partial) -> set[tuple[object, ...]]:
    """(kind, split, feature, window) of all samples."""
    return {
        (*sample, int(row), int(keys[row, place] & ORDINAL_MASK))
        for sample, keys in partial.keys.items()
        for row, place in zip(*np.nonzero(keys != EMPTY), strict=True)
    }


def test_the_number_of_threads_changes_nothing_beyond_rounding(subject: LlamaSubject, dictionary: Dictionary, whole: Partial) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        single = run(subject, dictionary, (0, len(CORPUS)))
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(single.maxima, whole.maxima, rtol=1e-4, atol=1e-4)
    assert abs(single.histogram.sum() - whole.histogram.sum()) <= 1e-4 * whole.histogram.sum()
