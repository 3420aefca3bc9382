"""Planted directions move the predictions that they are to move, all at one divergence; a direction of zeros moves none."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from interp.collect.measure.effects import NO_EFFECT, TARGET_KL, TOLERANCE, Effect, effects_of, prompts_of
from interp.dictionary.module import Dictionary
from interp.domain.evidence import Split
from interp.domain.spec import SubjectSpec
from interp.subject import splice
from interp.subject.base import open_subject
from interp.subject.loaded import OpenedSubject
from tests.collect.fakes import make_corpus, make_dictionary
from tests.subject import models

HOOK_POINT = "blocks.1.hook_resid_post"
TOKENS = (70, 80, 90)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> OpenedSubject:
    folder: Path = models.build("llama", tmp_path_factory.mktemp("steered"))
    return cast(OpenedSubject, open_subject(SubjectSpec(model=str(folder), device="cpu", backend="huggingface"), HOOK_POINT))


@pytest.fixture(scope="module")
def dictionary(subject: OpenedSubject) -> Dictionary:
    """Each feature writes what makes one token likelier; the last writes nothing."""
    directions = torch.linalg.pinv(subject.output_directions(HOOK_POINT))
    rows = torch.stack([*(directions[token] * 10.0**place for place, token in enumerate(TOKENS)), torch.zeros(directions.shape[1])])
    return replace(make_dictionary(4), hook_point=HOOK_POINT, W_dec=rows)


PROMPTS = np.random.default_rng(0).integers(3, 60, (6, 12)).astype(np.int64)


@pytest.fixture(scope="module")
def found(subject: OpenedSubject, dictionary: Dictionary) -> list[Effect]:
    return effects_of(subject, dictionary, np.arange(4, dtype=np.int64), PROMPTS)


def test_the_token_that_a_direction_writes_is_among_those_it_moves_most(found: list[Effect]) -> None:
    for token, effect in zip(TOKENS, found, strict=False):
        assert len(effect.shifts) == len(PROMPTS)
        named = [dict(shift.up).get(token, 0.0) > 0 for shift in effect.shifts]
        assert sum(named) >= len(PROMPTS) - 1, "of hundreds of tokens"
        assert all(nats > 0 for shift in effect.shifts for _, nats in shift.up)
        assert all(nats < 0 for shift in effect.shifts for _, nats in shift.down)


def test_all_are_at_one_divergence_whatever_their_norm(found: list[Effect], subject: OpenedSubject, dictionary: Dictionary) -> None:
    for place, effect in enumerate(found[:3]):
        assert effect.kl == pytest.approx(TARGET_KL, rel=TOLERANCE * 1.01)
        unit = dictionary.W_dec[place] / dictionary.W_dec[place].norm()
        tokens = torch.from_numpy(PROMPTS)
        where = torch.ones_like(tokens, dtype=torch.bool)
        where[:, 0] = subject.bos is None
        added = splice.shift(subject, tokens, {HOOK_POINT: (effect.strength * unit).expand(len(tokens), -1)}, where)
        clean = splice.read(subject, tokens, {})
        assert float(splice.divergences(clean, added)[:, -1].mean()) == pytest.approx(effect.kl, rel=1e-3)


def test_a_direction_without_an_effect_says_so(found: list[Effect]) -> None:
    assert (found[3].strength, found[3].kl, found[3].shifts, found[3].why) == (None, None, (), NO_EFFECT)


def test_a_feature_is_found_alike_alone(found: list[Effect], subject: OpenedSubject, dictionary: Dictionary) -> None:
    (alone,) = effects_of(subject, dictionary, np.array([1]), PROMPTS)
    assert alone.strength == pytest.approx(found[1].strength, rel=1e-3)
    assert [shift.up[0][0] for shift in alone.shifts] == [shift.up[0][0] for shift in found[1].shifts]


def test_the_mean_shift_begins_with_the_token_that_a_direction_writes(found: list[Effect]) -> None:
    """As the explainer `output_tokens` is shown it; the shift is over prompts, so that what one of them alone moves stands back."""
    for token, effect in zip(TOKENS, found, strict=False):
        ups = [name for name, _ in effect.mean.up]
        assert token in ups[:10]
        assert all(nats > 0 for _, nats in effect.mean.up) and all(nats < 0 for _, nats in effect.mean.down)
        assert [nats for _, nats in effect.mean.up] == sorted((nats for _, nats in effect.mean.up), reverse=True)
    assert (found[3].mean.up, found[3].mean.down) == ((), ())


def test_prompts_are_beginnings_of_a_splits_documents() -> None:
    corpus = make_corpus([40, 40, 40, 40], splits=[1, 0, 0, 1])
    own = {split: {tuple(row) for row in prompts_of(corpus, None, split=split).tolist()} for split in (Split.EXPLAIN, Split.TEST)}
    assert [len(rows) for rows in own.values()] == [2, 2]
    assert not own[Split.EXPLAIN] & own[Split.TEST]


def test_prompts_are_beginnings_of_test_documents() -> None:
    corpus = make_corpus([40, 10, 33, 50, 32], splits=[1, 1, 0, 1, 1])
    prompts = prompts_of(corpus, 0, count=2)
    assert prompts.shape == (2, 33)
    assert (prompts[:, 0] == 0).all()
    np.testing.assert_array_equal(prompts[1, 1:], corpus.tokens[corpus.offsets[3] : corpus.offsets[3] + 32])
    assert prompts_of(make_corpus([5, 6]), None).shape == (0, 32)


def test_without_a_prompt_there_is_no_effect(subject: OpenedSubject, dictionary: Dictionary) -> None:
    (effect,) = effects_of(subject, dictionary, np.array([0]), np.zeros((0, 33), np.int64))
    assert effect.why is not None
