"""Classes of tokens in a dictionary: plain definitions, planted features, worlds without any, and too little to say."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from interp.dictionary.module import Dictionary
from interp.domain.vocabulary import Vocabulary
from interp.health import concepts as module
from interp.health.concepts import ConceptReport, Probe, TokenActivations, concepts
from interp.health.probes import Discriminant, fit_logistic
from interp.health.token_classes import TokenClasses, concept_classes, script_classes, token_classes
from interp.stats.ranking import auroc
from tests.health.directions import dictionary_of, normal

WIDTH, FEATURES, PLANTED = 12, 20, 3
WORDS = [f" {first}{second}" for first in "abcdef" for second in "uvw"]
VOCABULARY = Vocabulary(tuple(word.encode() for word in ["<bos>", *WORDS, *"0123456789", *".,;:!?"]), frozenset({0}))
DIGITS = token_classes(VOCABULARY)["digits"]


def sample_of(strength: float, documents: int = 24, length: int = 40, seed: int = 0) -> TokenActivations:
    """Return tokens drawn alike, whose activations are noise and, at digits, the planted direction."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, len(VOCABULARY), documents * length)
    x = normal(len(tokens), WIDTH, seed)
    x[:, PLANTED] += strength * torch.from_numpy(DIGITS[tokens])
    return TokenActivations(x, tokens, np.repeat(np.arange(documents) * 7, length))


def dictionary() -> Dictionary:
    rest = normal(FEATURES - WIDTH, WIDTH, 5)
    return dictionary_of(torch.cat([torch.eye(WIDTH), rest]), b_enc=torch.full((FEATURES,), -0.5))


def measured(sample: TokenActivations, name: str = "digits", **settings: object) -> tuple[ConceptReport, dict[str, Probe]]:
    report = concepts(dictionary(), sample, VOCABULARY, token_classes(VOCABULARY), **settings)  # type: ignore[arg-type]
    json.dumps(asdict(report), allow_nan=False)
    return report, {probe.probe: probe for concept in report.concepts if concept.name == name for probe in concept.probes}


def test_a_planted_class_is_found_by_its_feature_and_permuted_labels_are_not() -> None:
    embedding = normal(len(VOCABULARY), WIDTH, 8)
    embedding[torch.from_numpy(DIGITS), PLANTED] += 6
    report, probes = measured(sample_of(3.0), embedding=embedding)
    digits = next(concept for concept in report.concepts if concept.name == "digits")
    for direction in (digits.residual, digits.embedding):
        first, *others = direction.aligned
        assert first.feature == PLANTED and first.cosine.value is not None and first.cosine.value > 0.9 and len(others) == 9
        assert first.cosine.standard_error is not None and 0 < first.cosine.standard_error < 0.1
        assert direction.null is not None and direction.null.greatest is not None and direction.null.greatest < first.cosine.value
    assert probes["single"].features == (PLANTED,) and probes["sparse-4"].features[0] == PLANTED and probes["linear"].features == ()
    for probe in probes.values():
        assert probe.auroc.value is not None and probe.auroc.standard_error is not None and probe.null.mean.value is not None
        assert probe.auroc.value > 0.95 > probe.null.mean.value + 5 * probe.auroc.standard_error
    assert (digits.types, digits.tokens) == (10, int(DIGITS[sample_of(3.0).tokens].sum()))
    assert 0.4 < digits.null_overlap < 0.9


def test_directions_are_those_of_their_definitions() -> None:
    sample = sample_of(1.0, documents=12)
    truth, x = DIGITS[sample.tokens], sample.x.double().numpy()
    decoder = torch.nn.functional.normalize(dictionary().W_dec.double(), dim=1).numpy()

    def cosines(kept: np.ndarray) -> np.ndarray:
        difference = x[kept & truth].mean(0) - x[kept & ~truth].mean(0)
        return decoder @ difference / np.linalg.norm(difference)

    whole = cosines(np.ones(len(truth), dtype=bool))
    left = np.array([cosines(sample.documents != document) for document in np.unique(sample.documents)])
    errors = np.sqrt(11 / 12 * ((left - left.mean(0)) ** 2).sum(0))
    report, _ = measured(sample, draws=0)
    residual = next(concept for concept in report.concepts if concept.name == "digits").residual
    assert [found.feature for found in residual.aligned] == np.argsort(-whole)[:10].tolist()
    for found in residual.aligned:
        assert found.cosine.value == pytest.approx(whole[found.feature], abs=1e-6)
        assert found.cosine.standard_error == pytest.approx(errors[found.feature], abs=1e-6)
    assert residual.null is not None and residual.null.mean.value is None and "No permutation" in (residual.null.mean.why or "")


@pytest.mark.parametrize("strength", [1.0, -2.0], ids=["fires in the class", "fires elsewhere"])
def test_probes_are_those_of_their_definitions(strength: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are chosen on one half by the mean difference over the deviation, and chosen again for the permuted labels."""
    monkeypatch.setattr(module, "BLOCK", 64)
    sample, classes, rng = sample_of(strength, documents=12), token_classes(VOCABULARY), np.random.default_rng(0)
    axes = dictionary_of(torch.eye(WIDTH), b_enc=torch.ones(WIDTH))
    report = concepts(axes, sample, VOCABULARY, classes, draws=1)
    probes = {probe.probe: probe for concept in report.concepts if concept.name == "digits" for probe in concept.probes}
    assert report.fit_documents == report.test_documents == 6
    labels, _ = module._labels(sample.tokens, VOCABULARY, classes, 1, rng)
    fit = module._Halves.of(sample.documents, rng).fit
    place = 2 * classes.names.index("digits")
    x, f = sample.x.double().numpy(), axes.encode(sample.x).double().numpy()
    for truth, is_null in ((labels[place][sample.tokens], False), (labels[place + 1][sample.tokens], True)):
        ranked = [(c[truth[fit]].mean() - c[~truth[fit]].mean()) / c.std() if c.any() else 0.0 for c in f[fit].T]
        order = np.argsort(-np.abs(ranked))
        areas = {feature: auroc(np.sign(ranked[feature]) * f[fit][:, feature], truth[fit]) for feature in order[:16].tolist()}
        best = max(areas, key=lambda feature: areas[feature] or 0.0)
        expected = {"single": auroc(np.sign(ranked[best]) * f[~fit][:, best], truth[~fit])}
        for name, inputs in (("sparse-4", f[:, order[:4]]), ("sparse-16", f[:, order[:16]]), ("linear", x)):
            scaled = (inputs - inputs[fit].mean(0)) / inputs[fit].std(0)
            weights = Discriminant(scaled[fit]).weights(truth[fit]) if name == "linear" else fit_logistic(scaled[fit], truth[fit])
            expected[name] = auroc(scaled[~fit] @ weights, truth[~fit])
        if is_null:
            assert {name: probe.null.mean.value for name, probe in probes.items()} == pytest.approx(expected, abs=2e-3)
            continue
        assert {name: probe.auroc.value for name, probe in probes.items()} == pytest.approx(expected, abs=2e-3)
        assert all(probe.auroc.standard_error for probe in probes.values())
        assert [probe.features for probe in probes.values()] == [(best,), tuple(order[:4].tolist()), tuple(order[:16].tolist()), ()]
        assert best == PLANTED and np.sign(ranked[best]) == np.sign(strength)


def test_where_activations_know_nothing_of_the_class_no_probe_does() -> None:
    areas = []
    for seed in range(6):
        _, probes = measured(sample_of(0.0, seed=seed), draws=2)
        areas.append([(probe.auroc.value, probe.null.mean.value) for probe in probes.values()])
        for probe in probes.values():
            assert probe.auroc.value is not None and probe.auroc.standard_error is not None
            assert abs(probe.auroc.value - 0.5) < 4 * probe.auroc.standard_error
    assert np.mean(areas) == pytest.approx(0.5, abs=0.02)


def test_probes_are_tested_on_documents_they_were_not_fitted_on() -> None:
    """Each document has its own random labels' direction: what a fit learns of one document is of no use in another."""
    sample = sample_of(0.0, documents=20, length=20)
    x = torch.zeros(len(sample.tokens), 40)
    x[torch.arange(len(x)), torch.from_numpy(sample.documents // 7 * 2 + DIGITS[sample.tokens])] = 1
    wide = dictionary_of(torch.eye(40))
    report = concepts(wide, TokenActivations(x, sample.tokens, sample.documents), VOCABULARY, token_classes(VOCABULARY), draws=1)
    linear = next(concept for concept in report.concepts if concept.name == "digits").probes[-1]
    assert linear.probe == "linear" and linear.auroc.value == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize(
    ("documents", "name", "why"),
    [(1, "digits", "at least 5"), (8, "digits", "at least 5"), (24, "upper", "0 documents"), (24, "newline", "0 documents")],
)
def test_too_little_to_say_gives_a_reason(documents: int, name: str, why: str) -> None:
    report, probes = measured(sample_of(1.0, documents=documents), name, draws=1)
    found = next(concept for concept in report.concepts if concept.name == name)
    assert probes == {} and why in (found.why or "")
    assert bool(found.residual.aligned) == (documents > 1 and name == "digits") and bool(found.residual.why) != bool(found.residual.aligned)
    assert found.embedding.why == "The subject's embedding was not given."


def test_nothing_at_all_gives_reasons_too() -> None:
    report = concepts(
        dictionary(), TokenActivations(torch.zeros(0, WIDTH), *[np.zeros(0, dtype=np.int64)] * 2), VOCABULARY, token_classes(VOCABULARY)
    )
    assert report.tokens == 0 and all(concept.why and concept.residual.why and not concept.probes for concept in report.concepts)
    json.dumps(asdict(report), allow_nan=False)


def test_duplicated_features_warn_of_their_coefficients() -> None:
    directions = torch.cat([torch.eye(WIDTH), torch.eye(WIDTH)[[PLANTED]], normal(3, WIDTH)])
    twice = dictionary_of(directions, b_enc=torch.full((len(directions),), -0.5))
    found = concepts(twice, sample_of(2.0), VOCABULARY, token_classes(VOCABULARY), draws=1).concepts
    probes = {probe.probe: probe for concept in found if concept.name == "digits" for probe in concept.probes}
    assert set(probes["sparse-4"].features) >= {PLANTED, WIDTH}
    assert probes["sparse-4"].collinearity.condition.value is None and "arbitrary" in (probes["sparse-4"].collinearity.warning or "")
    assert probes["linear"].collinearity.warning is None and probes["single"].collinearity.warning is None


def test_transcoders_and_other_widths_have_no_direction() -> None:
    other = dictionary_of(normal(FEATURES, 5), normal(FEATURES, WIDTH), output_point="blocks.1.hook_mlp_out")
    report = concepts(other, sample_of(1.0), VOCABULARY, token_classes(VOCABULARY), normal(len(VOCABULARY), WIDTH), draws=1)
    digits = next(concept for concept in report.concepts if concept.name == "digits")
    assert "two spaces" in (digits.residual.why or "") and "12 dimensions and the decoder 5" in (digits.embedding.why or "") and digits.probes


def test_permuted_labels_keep_number_and_frequency_and_leave_special_tokens() -> None:
    tokens = np.repeat(np.arange(1, len(VOCABULARY)), np.arange(len(VOCABULARY) - 1, 0, -1) ** 2)
    classes = TokenClasses(("frequent", "digits"), np.stack([np.arange(len(VOCABULARY)) % 16 == 3, DIGITS]))
    labels, counts = module._labels(tokens, VOCABULARY, classes, 40, np.random.default_rng(0))
    assert labels.shape == (82, len(VOCABULARY)) and np.array_equal(labels[0], classes.mask[0]) and np.array_equal(labels[41], DIGITS)
    assert (labels[:41].sum(1) == classes.mask[0].sum()).all() and not labels[:, 0].any() and len(np.unique(labels[:41], axis=0)) > 30
    order = np.argsort(-counts, kind="stable")
    assert (labels[1:41, order[:16]].sum(1) == classes.mask[0][order[:16]].sum()).all()


def test_scripts_are_those_of_all_letters_of_a_token() -> None:
    texts = [" the", "Ünder", "42", " мир", "мiр", "日本", "ひ", "!", "<latin>"]
    vocabulary = Vocabulary((*(text.encode() for text in texts), "é".encode()[:1]), frozenset({8}))
    classes = script_classes(vocabulary, least=1)
    found = {name: [texts[token] for token in np.flatnonzero(classes[name])] for name in classes.names}
    assert found == {"latin": [" the", "Ünder"], "cyrillic": [" мир"], "cjk": ["日本"], "hiragana": ["ひ"]}
    assert script_classes(vocabulary, least=2).names == ("latin",)
    assert concept_classes(vocabulary).names == token_classes(vocabulary).names, "one script, or none with eight tokens, is no class"


def test_scripts_are_classes_of_a_vocabulary_of_several() -> None:
    vocabulary = Vocabulary(tuple(chr(first + step).encode() for first in (0x61, 0x430) for step in range(9)), frozenset())
    classes = concept_classes(vocabulary)
    assert classes.names[-2:] == ("cyrillic", "latin")
    assert classes["cyrillic"].tolist() == [False] * 9 + [True] * 9
