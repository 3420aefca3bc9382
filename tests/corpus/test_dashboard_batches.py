"""Batches of SAEDashboard: what becomes evidence, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interp.corpus import dashboard_batches, record_forms
from interp.corpus.feature_records import FeatureRecords
from interp.domain.errors import FileMissingError, InputError
from interp.domain.evidence import FeatureEvidence
from interp.domain.vocabulary import Vocabulary
from interp.security.allowed_files import Roots, within

REAL = Path(__file__).parents[2] / ".." / "shared" / "real" / "saedashboard"
Window = tuple[tuple[str, ...], tuple[float, ...]]


def window(word: str, number: int, peak: float, length: int = 40) -> dict[str, Any]:
    tokens = [f" {number}", " a", word, *[" and"] * length][:length]
    values = [peak if token == word else 0.0 for token in tokens]
    return {"bin_min": -1, "bin_max": 2.5, "bin_contains": -1, "tokens": tokens, "values": values, "qualifying_token_index": 2, "dfa_values": []}


def feature(index: int, word: str, windows: int = 12) -> dict[str, Any]:
    shown = [window(word, number, 1.0 + number / 8) for number in range(windows)]
    figures = {"pos_str": [word, " of"], "pos_values": [1.5, 1.25], "neg_str": [" no"], "neg_values": [-0.5], "frac_nonzero": 0.01}
    return {"feature_index": index, "activations": shown, "neuron_alignment_indices": [1]} | figures


def batch(*features: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {"model_id": "toy", "layer": 3, "sae_set": "res-jb", "sae_id_suffix": None, "features": list(features)} | changed


def written(folder: Path, *batches: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for number, content in enumerate(batches):
        (folder / f"batch-{number}.json").write_text(json.dumps(content))
    return folder


def read(folder: Path) -> FeatureRecords:
    with within(Roots((str(folder.resolve()),))):
        return record_forms.read(folder.resolve())


def firing(evidence: FeatureEvidence, vocabulary: Vocabulary) -> set[Window]:
    """Texts of tokens and activations of the windows in which the feature fires."""
    contexts = evidence.contexts
    rows = np.flatnonzero(contexts.fires()).tolist()
    lengths = contexts.lengths
    return {
        (tuple(vocabulary.texts(contexts.tokens[row, : lengths[row]].tolist())), tuple(contexts.activations[row, : lengths[row]].tolist()))
        for row in rows
    }


def test_batches_of_one_dictionary_are_one(tmp_path: Path) -> None:
    found = read(written(tmp_path, batch(feature(7, " cat")), batch(feature(2, " dog"), feature(4, " emu", 0))))
    [made] = found.dictionaries
    assert (found.model, made.short_name, made.hook_point, made.n_features) == ("toy", "3-res-jb", "blocks.3", 8)
    assert [one.feature for one in made.evidence] == [2, 4, 7]
    dog, emu, _ = made.evidence
    assert len(firing(dog, found.vocabulary)) == 12
    assert (dog.statistics.tokens_seen, dog.statistics.max_activation) == (0, 2.375)
    assert not dog.contexts.fires().all(), "the second part of a window is silent"
    assert [(found.vocabulary.text(effect.token), effect.logit) for effect in dog.promoted + dog.suppressed] == [
        (" dog", 1.5),
        (" of", 1.25),
        (" no", -0.5),
    ]
    assert (len(emu.contexts), emu.statistics.is_dead) == (0, False)


@pytest.mark.parametrize(
    ("changed", "name", "hook_point"),
    [
        ({"sae_id_suffix": "L0-20"}, "3-res-jb__L0-20", "blocks.3"),
        ({"layer": "pystdlib", "sae_set": "pystdlib"}, "pystdlib", "pystdlib"),
        ({"layer": "encoder", "sae_set": "res"}, "encoder-res", "encoder-res"),
    ],
)
def test_names_of_a_dictionary(changed: dict[str, Any], name: str, hook_point: str, tmp_path: Path) -> None:
    [made] = read(written(tmp_path, batch(feature(0, " cat"), **changed))).dictionaries
    assert (made.short_name, made.hook_point) == (name, hook_point)


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["It", "âĢ", "Ļ", "s", " caf", "Ã©"], "It’s café"),
        (["Ļ", "s", " caf", "Ã©", "\n", "âĢ"], "\ufffds café\n\ufffd"),
        (["It", "’", "s", " café"], "It’s café"),
        (["Ã©", " café", " au"], "Ã© café au"),
        ([" —", " café"], " — café"),
        ([" —", "Ã©"], " —é"),
        ([" plain"], " plain"),
    ],
    ids=["bytes", "cut characters", "texts", "both, hence texts", "a letter at the end", "a dash and bytes", "ASCII"],
)
def test_letters_that_are_bytes_are_read_as_bytes(pieces: list[str], text: str, tmp_path: Path) -> None:
    shown = {"tokens": pieces, "values": [1.0] * len(pieces)}
    found = read(written(tmp_path, batch({"feature_index": 0, "activations": [shown]})))
    [one] = {"".join(tokens) for tokens, _ in firing(found.dictionaries[0].evidence[0], found.vocabulary)}
    assert one == text


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    item = feature(3, " cat")
    change(item)
    return batch(item)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (batch(layer=-1), "layer"),
        (batch(layer=True), "layer"),
        (batch(sae_set="a\nb"), "sae_set"),
        (batch(model_id=""), "model_id"),
        (batch(features={}), "features"),
        ([batch()], "no JSON object"),
        (changed(lambda item: item.update(feature_index=-1)), "feature_index"),
        (changed(lambda item: item.update(feature_index=2**31)), "feature_index"),
        (changed(lambda item: item["activations"][0]["values"].pop()), "feature 3 has 40 tokens and 39 values"),
        (changed(lambda item: item["activations"][0]["values"].__setitem__(0, -1.0)), "values"),
        (changed(lambda item: item["activations"][0]["values"].__setitem__(0, float("nan"))), "NaN"),
        (changed(lambda item: item["activations"][0]["tokens"].__setitem__(0, "x" * 401)), "tokens"),
        (changed(lambda item: item["activations"][0]["tokens"].__setitem__(0, "\x00")), "NUL"),
        (changed(lambda item: item["activations"][0]["tokens"].__setitem__(0, "\ud800")), "surrogates"),
        (changed(lambda item: item.update(pos_values=[float("inf")])), "Infinity"),
    ],
)
def test_batches_that_do_not_fit_are_refused(content: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read(written(tmp_path, content))
    assert says in f"{refused.value} {refused.value.why}"
    assert refused.value.cure


def test_what_is_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="several models"):
        read(written(tmp_path / "models", batch(feature(0, " cat")), batch(model_id="other")))
    monkeypatch.setattr(dashboard_batches, "MOST_TOKENS", 900)
    with pytest.raises(InputError, match="more than 900 tokens"):
        read(written(tmp_path / "many", batch(feature(0, " cat")), batch(feature(1, " dog"))))
    with pytest.raises(FileMissingError):
        dashboard_batches.read(tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real batches are not here")
def test_real_batches() -> None:
    found = read(REAL)
    [made] = found.dictionaries
    assert (found.model, made.short_name) == ("gpt2-small", "0-res-jb")
    assert [one.feature for one in made.evidence] == [0, 1, 2, 3]
    assert [round(one.statistics.max_activation, 2) for one in made.evidence][::2] == [2.21, 0.8]
    texts = ["".join(tokens) for tokens, _ in firing(made.evidence[0], found.vocabulary)]
    assert any("’" in text for text in texts)
    assert not any("âĢ" in text for text in texts)
    assert all(" Brig" in found.vocabulary.text(effect.token).title() for effect in made.evidence[0].promoted[:4])
