"""Promoted tokens of a dictionary that writes several hook points: parts that are added count everywhere, of the stream itself the last counts."""

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.collect.finish import finish
from interp.collect.run import collect
from interp.dictionary.module import Dictionary
from interp.domain.errors import WidthMismatchError
from interp.domain.spec import CollectionSpec
from tests.collect.fakes import VOCABULARY, WIDTH, FakeSubject, make_corpus, make_dictionary

SPEC = CollectionSpec(row_tokens=64, window=16, batch_tokens=1024, output_tokens=VOCABULARY, firing_level="zero")
NEURONS = 10


class SeveralMatrices(FakeSubject):
    """Its neurons go through an output matrix of their own in each layer."""

    def output_directions(self, hook_point: str) -> Tensor:
        direct = super().output_directions(hook_point)
        if hook_point.endswith("mlp.hook_pre"):
            return direct.new_zeros(NEURONS, 0)
        if not hook_point.endswith("mlp.hook_post"):
            return direct
        return torch.randn(NEURONS, WIDTH, generator=torch.Generator().manual_seed(int(hook_point[7]))) @ direct


def writing(points: str, width: int) -> Dictionary:
    fields = {name: value for name, value in vars(make_dictionary()).items() if name not in ("W_dec", "b_dec")}
    decoder = torch.randn(24, width, generator=torch.Generator().manual_seed(3))
    return Dictionary(**fields | {"output_point": points}, W_dec=decoder, b_dec=torch.zeros(width))


def effects(dictionary: Dictionary) -> torch.Tensor:
    """Logits [features, V] that the evidence holds."""
    subject, corpus = SeveralMatrices(), make_corpus([100, 100])
    partial = collect(subject, dictionary, corpus, (0, 2), SPEC, 7, np.arange(24), lambda done: None)
    logits = torch.zeros(24, VOCABULARY)
    for item in finish(partial, subject, dictionary, corpus, SPEC):
        for effect in item.promoted:
            logits[item.feature, effect.token] = effect.logit
    return logits


def test_parts_that_are_added_are_summed_and_of_the_stream_the_last_counts() -> None:
    points = ["blocks.0.hook_resid_post", "blocks.0.hook_mlp_out", "blocks.0.mlp.hook_post", "blocks.1.mlp.hook_post", "blocks.1.hook_resid_post"]
    widths = [WIDTH, WIDTH, NEURONS, NEURONS, WIDTH]
    dictionary = writing("+".join(points), sum(widths))
    parts = dict(zip(points, dictionary.W_dec.split(widths, dim=1), strict=True))
    subject = SeveralMatrices()
    expected = sum((parts[point] @ subject.output_directions(point) for point in points[1:]), torch.zeros(24, VOCABULARY))
    torch.testing.assert_close(effects(dictionary), expected, rtol=1e-4, atol=1e-4)


def test_one_hook_point_is_as_before() -> None:
    dictionary = writing("blocks.0.hook_resid_post", WIDTH)
    torch.testing.assert_close(effects(dictionary), dictionary.W_dec @ FakeSubject().output_directions(""), rtol=1e-5, atol=1e-5)


def test_a_hook_point_without_a_matrix_to_the_stream_has_no_effects() -> None:
    assert not effects(writing("blocks.0.mlp.hook_pre", NEURONS)).any()
    mixed = writing("blocks.0.mlp.hook_pre+blocks.0.hook_resid_post", NEURONS + WIDTH)
    torch.testing.assert_close(effects(mixed), mixed.W_dec[:, NEURONS:] @ FakeSubject().output_directions(""), rtol=1e-5, atol=1e-5)


def test_a_decoder_that_does_not_fit_what_it_writes_is_refused() -> None:
    with pytest.raises(WidthMismatchError, match="writes 40 numbers a token, fake takes 32 at"):
        effects(writing("blocks.0.hook_mlp_out+blocks.1.hook_mlp_out", 40))
