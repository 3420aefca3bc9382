"""Whatever a config or a weight file holds, a dictionary is opened or refused with what to do: no other error comes out."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from interp.dictionary import formats
from interp.domain.errors import DictionaryError, InputError
from interp.domain.spec import DictionarySpec
from tests.dictionary import files
from tests.dictionary.files import FEATURES, HOOK_POINT, WIDTH, randn, written

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 50) | st.floats(allow_nan=True) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


def sparsify(folder: Path) -> Path:
    tensors = {
        "encoder.weight": randn(FEATURES, WIDTH),
        "encoder.bias": randn(FEATURES),
        "W_dec": randn(FEATURES, WIDTH),
        "b_dec": randn(WIDTH),
    }
    return written(folder / "layers.3", "cfg.json", {"activation": "topk", "k": 4, "signed": False}, "sae.safetensors", tensors)


def dictionary_learning(folder: Path) -> Path:
    tensors = {
        "encoder.weight": randn(FEATURES, WIDTH),
        "encoder.bias": randn(FEATURES),
        "decoder.weight": randn(WIDTH, FEATURES),
        "b_dec": randn(WIDTH),
    }
    trainer = {"dict_class": "AutoEncoderTopK", "k": 4, "lm_name": "tiny", "submodule_name": "resid_post_layer_1"}
    return written(folder, "config.json", {"trainer": trainer}, "ae.pt", tensors)


def saelens(folder: Path) -> Path:
    return files.saelens(folder, "topk", files.standard_tensors(), k=4, metadata={"prepend_bos": True})


def gemma_scope(folder: Path) -> Path:
    tensors = {name.lower(): value for name, value in (files.standard_tensors() | {"threshold": randn(FEATURES)}).items()}
    return written(folder, "config.json", {"hf_hook_point_in": "model.layers.1.output"}, "params.safetensors", tensors)


WITH_CONFIG: dict[str, tuple[Callable[[Path], Path], str]] = {
    "saelens": (saelens, "cfg.json"),
    "sparsify": (sparsify, "cfg.json"),
    "dictionary_learning": (dictionary_learning, "config.json"),
    "gemma_scope": (gemma_scope, "config.json"),
}


def opened_or_refused(source: Path, name: str) -> None:
    try:
        formats.read(DictionarySpec(source=str(source), format=name, hook_point=HOOK_POINT)).canonical()
    except InputError as refused:
        assert refused.what
        assert refused.cure


@pytest.fixture(scope="module", params=WITH_CONFIG)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    make, config = WITH_CONFIG[request.param]
    source = make(tmp_path_factory.mktemp(request.param))
    return request.param, source, source / config


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_config(whole: tuple[str, Path, Path], data: st.DataObject) -> None:
    name, source, path = whole
    original = path.read_text(encoding="utf-8")
    config = json.loads(original)
    places = [config, *(value for value in config.values() if isinstance(value, dict))]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(places))
        key = data.draw(st.sampled_from(sorted(place) or ["x"]))
        if data.draw(st.booleans()):
            place.pop(key, None)
        else:
            place[key] = data.draw(JSON)
    try:
        path.write_text(json.dumps(data.draw(st.sampled_from([config, config, config, [], "x", 3]))), encoding="utf-8")
        opened_or_refused(source, name)
    finally:
        path.write_text(original, encoding="utf-8")


@pytest.mark.parametrize("name", formats.FORMATS)
@pytest.mark.parametrize("wrong", ["file.pth", "file.npy", "sae.safetensors", "folder", "params.npz"])
def test_a_format_on_files_of_another(tmp_path: Path, name: str, wrong: str) -> None:
    source = tmp_path / wrong
    match wrong:
        case "file.pth":
            torch.save({"encoder_linear.weight": randn(4, 4)}, source)
        case "file.npy":
            np.save(source, np.zeros((2, 3, 4), "f4"))
        case "params.npz":
            np.savez(source, W_enc=np.zeros(3))
        case "folder":
            source.mkdir()
        case _:
            save_file({"x": randn(3)}, source)
    with pytest.raises(InputError) as refused:
        formats.read(DictionarySpec(source=str(source), format=name, hook_point=HOOK_POINT)).canonical()
    assert refused.value.cure


@pytest.mark.parametrize("name", WITH_CONFIG)
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.99])
def test_files_that_are_cut_short(tmp_path: Path, name: str, keep: float) -> None:
    source = WITH_CONFIG[name][0](tmp_path / "d")
    weights = next(path for path in source.iterdir() if path.suffix in {".safetensors", ".pt"})
    content = weights.read_bytes()
    weights.write_bytes(content[: math.floor(keep * len(content))])
    with pytest.raises(InputError) as refused:
        formats.read(DictionarySpec(source=str(source), format=name, hook_point=HOOK_POINT)).canonical()
    assert refused.value.cure


def without(folder: Path, make: Callable[[Path], Path], config: str, change: Callable[[dict[str, Any]], Any]) -> Path:
    source = make(folder)
    content = json.loads((source / config).read_text())
    change(content)
    (source / config).write_text(json.dumps(content))
    return source


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("saelens", lambda c: c.pop("k"), "k = None"),
        ("sparsify", lambda c: c.pop("k"), "k = None"),
        ("sparsify", lambda c: c.update(signed=True), "signed: true"),
        ("dictionary_learning", lambda c: c["trainer"].pop("k"), "k = None"),
        ("dictionary_learning", lambda c: c.update(trainer="standard"), "trainer is no object"),
        ("dictionary_learning", lambda c: c["trainer"].update(dict_class="CrossCoder"), "CrossCoder"),
        ("dictionary_learning", lambda c: c["trainer"].update(dict_class="GatedAutoEncoder"), "dictionary_learning"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, name: str, change: Callable[[dict[str, Any]], Any], says: str) -> None:
    source = without(tmp_path / "d", *WITH_CONFIG[name], change)
    with pytest.raises(DictionaryError, match=says):
        formats.read(DictionarySpec(source=str(source), format=name, hook_point=HOOK_POINT)).canonical()
