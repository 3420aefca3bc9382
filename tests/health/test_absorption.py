"""Absorption: a plain definition, planted rates, and worlds with splits, lacks and nothing to say."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from interp.dictionary.module import Dictionary
from interp.domain.vocabulary import Vocabulary
from interp.health import concepts as module
from interp.health.absorption import Absorption
from interp.health.concepts import TokenActivations, concepts
from interp.health.probes import Discriminant, best_threshold, fit_logistic
from interp.health.token_classes import token_classes
from interp.stats.intervals import clustered_proportion
from tests.health.directions import dictionary_of, normal

WIDTH, GENERAL, SPECIAL = 24, 0, (1, 2, 3)
WORDS = [f" {first}{second}" for first in "abcdef" for second in "uvw"]
VOCABULARY = Vocabulary(tuple(word.encode() for word in ["<bos>", *WORDS, *"0123456789"]), frozenset({0}))
CLASSES = token_classes(VOCABULARY)
DIGITS = CLASSES["digits"]


def sample_of(share: float = 0.04, documents: int = 60, length: int = 60, noise: float = 0.15, seed: int = 0) -> TokenActivations:
    """Return tokens whose activations are noise, the general direction at digits, and at this share of the digits each special direction beside."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, len(VOCABULARY), documents * length)
    x = noise * normal(len(tokens), WIDTH, seed)
    x[:, GENERAL] += 3 * torch.from_numpy(DIGITS[tokens])
    kinds = np.floor(rng.random(len(tokens)) / share).astype(int)
    for place, special in enumerate(SPECIAL):
        x[:, special] += 3 * torch.from_numpy(DIGITS[tokens] & (kinds == place))
    return TokenActivations(x, tokens, np.repeat(np.arange(documents) * 7, length))


def dictionary(absorbing: bool, silent: bool = True, scale: float = 1.0) -> Dictionary:
    """Return a dictionary of the axes; where special features fire the general one is silent, and they carry its direction, if `absorbing`.

    Feature activations are `scale` times as large, decoders as much shorter.
    """
    encoder, decoder = torch.eye(WIDTH), torch.eye(WIDTH)
    if silent:
        encoder[GENERAL, list(SPECIAL)] = -1.0
    if absorbing:
        decoder[list(SPECIAL), GENERAL] = 1.0
    return dictionary_of(decoder / scale, scale * encoder, b_enc=torch.full((WIDTH,), -1.5 * scale))


def measured(of: Dictionary, sample: TokenActivations, name: str = "digits", **settings: object) -> Absorption:
    report = concepts(of, sample, VOCABULARY, CLASSES, **settings)  # type: ignore[arg-type]
    json.dumps(asdict(report), allow_nan=False)
    return next(concept for concept in report.concepts if concept.name == name).absorption


@pytest.mark.parametrize("scale", [1.0, 50.0], ids=["", "activations 50 times as large"])
def test_planted_absorption_is_found_at_its_rate(scale: float) -> None:
    found = measured(dictionary(absorbing=True, scale=scale), sample_of())
    assert found.own == (GENERAL,) and found.f1.value is not None and 0.9 < found.f1.value < 0.97 and found.why is None
    for share in (found.silent, found.rate):
        assert share.low is not None and share.high is not None and share.low < 0.12 < share.high and share.high - share.low < 0.06
    assert {one.feature for one in found.absorbers} == set(SPECIAL) and sum(one.tokens for one in found.absorbers) == round(
        (found.rate.value or 0) * found.tokens
    )
    assert all(0.5 < one.cosine < 0.8 for one in found.absorbers)
    assert found.random.greatest is not None and found.rate.value is not None and found.random.greatest < found.rate.value


@pytest.mark.parametrize(("absorbing", "silent", "lacks"), [(True, False, 0.0), (False, False, 0.0), (False, True, 0.12)])
def test_without_a_feature_in_its_place_nothing_is_absorbed(absorbing: bool, silent: bool, lacks: float) -> None:
    """The special features fire beside the general one, or fire where it is silent without its direction: a lack and no absorption."""
    found = measured(dictionary(absorbing, silent), sample_of())
    assert found.silent.value == pytest.approx(lacks, abs=0.02)
    assert found.rate.value is not None and found.rate.value < 0.01
    # Of 30 documents without any, one in ten might have some: the rule of three.
    assert found.rate.low == 0.0 and found.rate.high is not None and 0 < found.rate.high < 0.13
    assert sum(one.tokens for one in found.absorbers) == round(found.rate.value * found.tokens)


def test_a_frequent_special_feature_is_one_of_the_class_s_own() -> None:
    """At 20% of the digits each, the special ones raise F1: the class is split over four features, and none absorbs."""
    found = measured(dictionary(absorbing=True), sample_of(share=0.2))
    assert set(found.own) == {GENERAL, *SPECIAL} and found.rate.value is not None and found.rate.value < 0.01


def test_it_is_that_of_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: dense products, every token on its own."""
    monkeypatch.setattr("interp.health.absorption.BLOCK", 7)
    sample, of, draws = sample_of(share=0.06, documents=16, length=30, noise=0.8, seed=3), dictionary(absorbing=True), 2
    found = measured(of, sample, draws=draws)
    rng = np.random.default_rng(0)
    labels, _ = module._labels(sample.tokens, VOCABULARY, CLASSES, draws, rng)
    fit = module._Halves.of(sample.documents, rng).fit
    x, codes, decoder = sample.x.double().numpy(), of.encode(sample.x).double().numpy(), of.W_dec.double().numpy()
    place = (draws + 1) * CLASSES.names.index("digits")
    rates = []
    for truth in labels[place : place + draws + 1, sample.tokens]:
        differences = (codes[fit & truth].mean(0) - codes[fit & ~truth].mean(0)) / codes[fit].std(0)
        first = np.argsort(-np.abs(differences))[:16]
        order = [feature for feature in first.tolist() if differences[feature] > 0]
        single = max(order, key=lambda one: module.auroc(codes[fit][:, one], truth[fit]) or 0)
        order = [single, *(feature for feature in order if feature != single)]
        own, best = [], 0.0
        for feature in order[:10]:
            chosen = codes[fit][:, [*own, feature]]
            scaled = (chosen - chosen.mean(0)) / chosen.std(0)
            f1 = greatest_f1(scaled @ fit_logistic(scaled, truth[fit]), truth[fit])
            if own and f1 < best + 0.03:
                break
            own, best = [*own, feature], f1
        mean, deviation = x[fit].mean(0), x[fit].std(0)
        probe = Discriminant((x[fit] - mean) / deviation).weights(truth[fit]) / deviation
        threshold, _ = best_threshold((x[fit] - mean) @ probe, truth[fit])
        p = probe / np.linalg.norm(probe)
        margins = (x - x[fit & ~truth].mean(0)) @ p
        hits, silences, units = [], [], []
        for token in np.flatnonzero(~fit & truth & ((x - mean) @ probe >= threshold)):
            parts = codes[token] * (decoder @ p)
            top = int(parts.argmax())
            silences.append(not codes[token][own].any())
            carries = margins[token] > 0 and parts[top] >= 0.4 * margins[token] and decoder[top] @ p / np.linalg.norm(decoder[top]) >= 0.025
            hits.append(bool(silences[-1] and carries))
            units.append(int(sample.documents[token]) // 7)
        rates.append(np.mean(hits))
        if len(rates) == 1:
            assert found.own == tuple(own) and found.f1.value == pytest.approx(best) and found.tokens == len(hits)
            assert found.documents == len(set(units)) and found.silent.value == pytest.approx(np.mean(silences))
            assert (found.rate.value, found.rate.low, found.rate.high) == pytest.approx(
                (rates[0], *clustered_proportion(np.array(hits), np.unique(units, return_inverse=True)[1]))
            )
    assert 0.05 < rates[0] < 0.5 and found.permuted.mean.value == pytest.approx(np.mean(rates[1:]))


def greatest_f1(scores: np.ndarray, truth: np.ndarray) -> float:
    f1s = [2 * (truth & (scores >= edge)).sum() / ((scores >= edge).sum() + truth.sum()) for edge in np.unique(scores)]
    return float(max(f1s))


def test_the_threshold_has_the_greatest_f1() -> None:
    rng = np.random.default_rng(0)
    for size in range(1, 40):
        scores, truth = rng.integers(0, 6, size).astype(float), rng.random(size) < 0.3
        threshold, f1 = best_threshold(scores, truth)
        if not truth.any():
            assert (threshold, f1) == (np.inf, 0.0)
            continue
        assert f1 == pytest.approx(greatest_f1(scores, truth))
        assert f1 == pytest.approx(2 * (truth & (scores >= threshold)).sum() / ((scores >= threshold).sum() + truth.sum()))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"architecture": "neurons"}, "nothing is reconstructed"),
        ({"output_point": "blocks.1.hook_mlp_out"}, "two spaces"),
        ({"b_enc": torch.full((WIDTH,), -1e6)}, "No feature fires more in the class"),
    ],
)
def test_where_nothing_can_be_absorbed_a_reason_stands(changes: dict[str, object], why: str) -> None:
    given: dict[str, object] = {"b_enc": torch.full((WIDTH,), -1.5), **changes}
    found = measured(dictionary_of(torch.eye(WIDTH), **given), sample_of(documents=20))  # type: ignore[arg-type]
    for said in (found.why, found.rate.why, found.silent.why, found.random.mean.why):
        assert why in (said or "")
    assert found.own == () and found.rate.value is None


def test_too_few_documents_have_no_absorption() -> None:
    found = measured(dictionary(absorbing=True), sample_of(documents=4))
    assert "at least 5" in (found.why or "") and found.tokens == 0


def test_input_norms_scale_what_a_feature_adds() -> None:
    """Inputs of one length, ten times as long: the norm is undone where the parts are measured, as in a reconstruction."""
    sample, of = sample_of(), dictionary(absorbing=True)
    unit = sample.x / sample.x.norm(dim=1, keepdim=True) * WIDTH**0.5
    plain = measured(of, TokenActivations(unit, sample.tokens, sample.documents))
    normed = dictionary_of(of.W_dec, of.W_enc.T, b_enc=of.b_enc, input_norm="unit_scale")
    found = measured(normed, TokenActivations(10 * unit, sample.tokens, sample.documents))
    assert (found.own, found.tokens, found.silent, found.rate) == (plain.own, plain.tokens, plain.silent, plain.rate)
    assert [one.tokens for one in found.absorbers] == [one.tokens for one in plain.absorbers]
    assert plain.rate.value is not None and plain.rate.value > 0.05
