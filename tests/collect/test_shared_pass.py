"""One pass of the subject feeds several dictionaries, and each gets what it gets alone: every bit."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.collect.levels import calibrate
from interp.collect.partial import Partial
from interp.collect.run import Wanted, collect, collect_all
from interp.domain.spec import CollectionSpec, SubjectSpec
from interp.subject.base import open_subject
from tests.collect.fakes import WIDTH, FakeSubject, make_corpus, make_dictionary
from tests.subject import models

FEATURES = 24
SPEC = CollectionSpec(row_tokens=64, window=16, batch_tokens=1024, firing_rate=0.05)
FIRST, SECOND = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"


class TwoPoints(FakeSubject):
    """The second hook point holds the first's values, the other way round."""

    hook_point = f"{FIRST}+{SECOND}"
    d_in = 2 * WIDTH
    passes = 0

    def activations(self, tokens: Tensor) -> Tensor:
        self.passes += 1
        x = super().activations(tokens)
        return torch.cat([x, x.flip(2)], dim=2)

    def part(self, x: Tensor, hook_point: str) -> Tensor:
        columns = {FIRST: x[:, :WIDTH], SECOND: x[:, WIDTH:]}
        return torch.cat([columns[name] for name in hook_point.split("+")], dim=1)


class OnePoint(FakeSubject):
    def __init__(self, hook_point: str) -> None:
        super().__init__()
        self.hook_point = hook_point

    def activations(self, tokens: Tensor) -> Tensor:
        x = super().activations(tokens)
        return x if self.hook_point == FIRST else x.flip(2)


def same(one: Partial, other: Partial) -> None:
    for name in (field.name for field in fields(Partial)):
        mine, theirs = getattr(one, name), getattr(other, name)
        if isinstance(mine, dict):
            assert mine.keys() == theirs.keys()
            for key in mine:
                np.testing.assert_array_equal(mine[key], theirs[key])
        else:
            np.testing.assert_array_equal(mine, theirs)


def test_each_dictionary_gets_what_it_gets_alone() -> None:
    corpus = make_corpus(np.random.default_rng(3).integers(1, 300, 60))
    kinds = ((FIRST, "relu", 0), (SECOND, "jumprelu", 1), (SECOND, "topk", 2), (FIRST, "jumprelu", 3))
    wanted, alone = [], []
    for hook_point, activation, seed in kinds:
        dictionary = replace(make_dictionary(FEATURES, activation, seed), hook_point=hook_point)
        features = np.arange(seed, FEATURES, dtype=np.int64)
        spec = SPEC.model_copy(update={"firing_level": "quantile"})
        levels = calibrate(OnePoint(hook_point), dictionary, corpus, spec, np.arange(FEATURES), lambda done: None) if seed == 3 else None
        wanted.append(Wanted(dictionary, features, levels))
        alone.append(collect(OnePoint(hook_point), dictionary, corpus, (0, len(corpus)), SPEC, 7, features, lambda done: None, levels))
    subject, told = TwoPoints(), []
    together = collect_all(subject, wanted, corpus, (0, len(corpus)), SPEC, 7, told.append)
    assert subject.passes == len(told) > 1, "a pass for each batch, whatever the number of dictionaries"
    for one, other in zip(together, alone, strict=True):
        same(one, other)


@pytest.mark.parametrize("backend", ["bridge", "huggingface"])
def test_a_subject_reads_some_of_its_hook_points_alone(tmp_path: Path, backend: str) -> None:
    folder = models.build("llama", tmp_path)
    spec = SubjectSpec(model=str(folder), device="cpu", backend=backend)
    names = ("blocks.1.mlp.hook_post", "blocks.0.hook_resid_pre", "blocks.1.attn.hook_z[1]")
    every = open_subject(spec, "+".join(names))
    tokens = torch.randint(0, 250, (3, models.CONTEXT), generator=torch.Generator().manual_seed(1))
    x = every.activations(tokens).flatten(0, 1)
    for asked in (names[0], names[2], f"{names[2]}+{names[0]}"):
        some = every.at(asked)
        assert (some.hook_point, some.d_in) == (asked, sum(open_subject(spec, name).d_in for name in asked.split("+")))
        assert torch.equal(every.part(x, asked), some.activations(tokens).flatten(0, 1))
    assert every.hook_point == "+".join(names)
