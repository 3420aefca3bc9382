"""OpenAI's neuron records: what becomes evidence and labels, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interp.corpus import neuron_records, record_forms
from interp.corpus.feature_records import FeatureRecords
from interp.domain.errors import FileMissingError, InputError
from interp.domain.evidence import Split
from interp.security.allowed_files import Roots, within


def activation_record(word: str, number: int, peak: float, length: int = 64) -> dict[str, Any]:
    tokens = [f" {number}", " a", word, *[" and", " more"] * length][:length]
    # Neurons are a little above or below 0 everywhere.
    activations = [peak if token == word else (-0.125, 0.125)[place % 2] for place, token in enumerate(tokens)]
    return {"dataclass_name": "ActivationRecord", "tokens": tokens, "activations": activations}


def neuron(layer: int, number: int, word: str) -> dict[str, Any]:
    return {
        "dataclass_name": "NeuronRecord",
        "neuron_id": {"dataclass_name": "NeuronId", "layer_index": layer, "neuron_index": number},
        "most_positive_activation_records": [activation_record(word, place, 4.0 + place / 4) for place in range(12)],
        "random_sample": [activation_record(" none", 100 + place, 0.125) for place in range(10)],
        "random_sample_by_quantile": [[activation_record(word, 200, 1.0)], []],
        "quantile_boundaries": [0.5, 1.0],
        "mean": 0.01,
        "kurtosis": float("nan"),
    }


def explanations(layer: int, number: int, *texts: tuple[str, Any]) -> dict[str, Any]:
    made = [{"explanation": text, "scored_simulation": {"scored_sequence_simulations": [], "ev_correlation_score": score}} for text, score in texts]
    return {"neuron_id": {"layer_index": layer, "neuron_index": number}, "scored_explanations": made}


def written(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


def read(folder: Path) -> FeatureRecords:
    with within(Roots((str(folder.resolve()),))):
        return record_forms.read(folder.resolve())


@pytest.mark.parametrize("place", ["neurons/", "collated-activations/", ""])
def test_neurons_of_a_layer_are_a_dictionary(place: str, tmp_path: Path) -> None:
    files = {
        f"{place}5/9.json": neuron(5, 9, " cat"),
        f"{place}5/2.json": neuron(5, 2, " dog"),
        f"{place}0/7.json": neuron(0, 7, " emu"),
        "explanations/5/9.jsonl": explanations(5, 9, ("words", 0.25), (" the word\ncat ", 0.5), ("cats", float("nan"))),
        "explanations/5/3.jsonl": explanations(5, 3, ("of no record", None)),
        "explanations/0/8.jsonl": explanations(0, 8, (" ", 0.5)),
    }
    found = read(written(tmp_path, files))
    first, fifth = found.dictionaries
    assert [(one.short_name, one.hook_point, one.n_features) for one in (first, fifth)] == [
        ("0-neurons", "blocks.0.mlp.hook_post", 8),
        ("5-neurons", "blocks.5.mlp.hook_post", 10),
    ]
    assert (found.model, found.unread) == (None, 1)
    assert [(label.feature, label.text, label.notes) for label in fifth.labels] == [
        (3, "of no record", None),
        (9, "the word cat", "ev_correlation_score 0.5000"),
    ]
    assert [one.feature for one in fifth.evidence] == [2, 3, 9]
    cat = fifth.evidence[2]
    assert (cat.statistics.firing_level, cat.statistics.max_activation, cat.statistics.tokens_seen) == (0.125, 6.75, 0)
    text = ["".join(found.vocabulary.texts(row.tolist())) for row in cat.contexts.tokens]
    assert cat.contexts.fires().tolist() == [" cat" in one for one in text], "above its level alone, not above 0"
    assert sum(cat.statistics.windows_active) == 13
    assert cat.contexts.activations.min() == 0
    assert all(not cat.contexts.of(split).fires().all() for split in Split), "random texts are windows in which it is silent"


def test_without_a_random_sample_a_neuron_fires_above_zero(tmp_path: Path) -> None:
    content = neuron(1, 0, " cat") | {"random_sample": [], "random_sample_by_quantile": None}
    [made] = read(written(tmp_path, {"1/0.json": content})).dictionaries
    assert made.evidence[0].statistics.firing_level == 0.0
    np.testing.assert_array_equal(made.evidence[0].contexts.fires(), True)


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    content = neuron(1, 0, " cat")
    change(content)
    return content


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (changed(lambda item: item["neuron_id"].update(layer_index=-1)), "layer_index"),
        (changed(lambda item: item["neuron_id"].update(neuron_index="0")), "neuron_index"),
        (changed(lambda item: item.pop("neuron_id")), "neuron_id"),
        (changed(lambda item: item["random_sample"][0]["activations"].pop()), "64 tokens and 63 activations"),
        (changed(lambda item: item["random_sample"][0]["activations"].__setitem__(0, float("nan"))), "random_sample"),
        (changed(lambda item: item["random_sample"][0]["activations"].__setitem__(0, 1e6)), "random_sample"),
        (changed(lambda item: item["random_sample"][0]["tokens"].__setitem__(0, "x" * 401)), "random_sample"),
        ([], "no JSON object"),
    ],
)
def test_records_that_do_not_fit_are_refused(content: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read(written(tmp_path, {"1/0.json": content}))
    assert says in str(refused.value)
    assert refused.value.cure


def test_what_is_too_much_or_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileMissingError):
        neuron_records.read(tmp_path)
    written(tmp_path, {"1/0.json": neuron(1, 0, " cat"), "1/1.json": neuron(1, 1, " cat")})
    monkeypatch.setattr(neuron_records, "MOST_TOKENS", 1000)
    with pytest.raises(InputError, match="more than 1,000 tokens"):
        read(tmp_path)
    monkeypatch.setattr(neuron_records, "MOST_FILES", 1)
    with pytest.raises(InputError, match="more than 1 files"):
        read(tmp_path)
