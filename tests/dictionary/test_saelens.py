"""SAELens dictionaries give the activations and reconstructions of SAELens' own classes, whose arithmetic is written out here."""

from pathlib import Path
from typing import Any

import pytest
import torch

from interp.domain.errors import DictionaryError
from tests.dictionary import files
from tests.dictionary.files import FEATURES, WIDTH, assert_same, inputs, kept, randn, saelens, standard_tensors


@pytest.mark.parametrize("subtract", [True, False])
def test_standard(tmp_path: Path, subtract: bool) -> None:
    t, x = standard_tensors(), inputs()
    dictionary = files.opened(saelens(tmp_path / "sae", "standard", t, apply_b_dec_to_input=subtract))
    f = torch.relu((x - t["b_dec"] * subtract) @ t["W_enc"] + t["b_enc"])
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f), f @ t["W_dec"] + t["b_dec"])


def test_gated(tmp_path: Path) -> None:
    t, x = standard_tensors(), inputs()
    del t["b_enc"]
    t |= {"b_gate": randn(FEATURES, seed=1, scale=3), "b_mag": randn(FEATURES, seed=2, scale=3), "r_mag": randn(FEATURES, seed=3, scale=0.5)}
    dictionary = files.opened(saelens(tmp_path / "sae", "gated", t, apply_b_dec_to_input=True))
    inner = x - t["b_dec"]
    gate = (inner @ t["W_enc"] + t["b_gate"] > 0).float()
    magnitude = torch.relu(inner @ (t["W_enc"] * t["r_mag"].exp()) + t["b_mag"])
    assert ((gate == 1) & (magnitude == 0)).any(), "the case that needs the relu must occur"
    assert_same(dictionary.encode(x), gate * magnitude)


def test_jumprelu_passes_strictly_above_the_threshold(tmp_path: Path) -> None:
    t, x = standard_tensors(), inputs()
    t["threshold"] = randn(FEATURES, seed=5).abs() * 4
    dictionary = files.opened(saelens(tmp_path / "sae", "jumprelu", t, apply_b_dec_to_input=False))
    pre = x @ t["W_enc"] + t["b_enc"]
    assert_same(dictionary.encode(x), torch.relu(pre) * (pre > t["threshold"]))


@pytest.mark.parametrize("rescale", [True, False])
def test_topk(tmp_path: Path, rescale: bool) -> None:
    t, x = standard_tensors(), inputs()
    dictionary = files.opened(saelens(tmp_path / "sae", "topk", t, k=5, apply_b_dec_to_input=True, rescale_acts_by_decoder_norm=rescale))
    norms = t["W_dec"].norm(dim=-1) if rescale else torch.ones(FEATURES)
    f = kept(((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]) * norms, 5)
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f), (f / norms) @ t["W_dec"] + t["b_dec"])
    values, indices = dictionary.sparse_codes(x)
    assert values.shape == indices.shape == (len(x), 5)
    assert_same(torch.zeros_like(f).scatter(1, indices, values), f)


@pytest.mark.parametrize("norm", ["layer_norm", "constant_norm_rescale"])
def test_input_norms_are_undone_on_the_way_out(tmp_path: Path, norm: str) -> None:
    t, x = standard_tensors(), inputs()
    dictionary = files.opened(saelens(tmp_path / "sae", "standard", t, apply_b_dec_to_input=True, normalize_activations=norm))
    if norm == "layer_norm":
        centred = x - x.mean(-1, keepdim=True)
        scale, shift = centred.std(-1, keepdim=True), x.mean(-1, keepdim=True)
        normed = centred / (scale + 1e-5)
    else:
        scale, shift = x.norm(dim=-1, keepdim=True) / WIDTH**0.5, torch.zeros(len(x), 1)
        normed = x / scale
    f = torch.relu((normed - t["b_dec"]) @ t["W_enc"] + t["b_enc"])
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f, x), (f @ t["W_dec"] + t["b_dec"]) * scale + shift)


def test_folded_scaling_factor(tmp_path: Path) -> None:
    t, x = standard_tensors(), inputs()
    folder = saelens(
        tmp_path / "sae",
        "standard",
        t,
        apply_b_dec_to_input=True,
        normalize_activations="expected_average_only_in",
        metadata={"norm_scaling_factor": 0.25},
    )
    f = torch.relu((x * 0.25 - t["b_dec"]) @ t["W_enc"] + t["b_enc"])
    dictionary = files.opened(folder)
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f), (f @ t["W_dec"] + t["b_dec"]) / 0.25)


@pytest.mark.parametrize("architecture", ["transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"])
def test_transcoders(tmp_path: Path, architecture: str) -> None:
    out = WIDTH + 4
    x = inputs()
    t = {"W_enc": randn(WIDTH, FEATURES), "b_enc": randn(FEATURES), "W_dec": randn(FEATURES, out), "b_dec": randn(out)}
    pre = x @ t["W_enc"] + t["b_enc"]
    f = torch.relu(pre)
    if "jumprelu" in architecture:
        t["threshold"] = randn(FEATURES, seed=5).abs() * 4
        f = f * (pre > t["threshold"])
    reconstruction = f @ t["W_dec"] + t["b_dec"]
    if "skip" in architecture:
        t["W_skip"] = randn(out, WIDTH)
        reconstruction = reconstruction + x @ t["W_skip"].T
    dictionary = files.opened(saelens(tmp_path / "sae", architecture, t, d_out=out))
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f, x), reconstruction)


def old_config(**changes: Any) -> dict[str, Any]:
    return {
        "model_name": "gpt2-small",
        "hook_point": "blocks.8.hook_resid_pre",
        "hook_point_layer": 8,
        "hook_point_head_index": None,
        "d_in": WIDTH,
        "d_sae": FEATURES,
        "dtype": "torch.float32",
        **changes,
    }


def test_before_version_6_the_input_was_centred_for_gpt2(tmp_path: Path) -> None:
    """HookedTransformer centred what LayerNorm models write to the residual stream: the same as subtracting the mean over D."""
    t, x = standard_tensors(), inputs()
    t["scaling_factor"] = randn(FEATURES, seed=9).abs()
    dictionary = files.opened(files.written(tmp_path / "sae", "cfg.json", old_config(), "sae_weights.safetensors", t))
    centred = x - x.mean(-1, keepdim=True)
    f = torch.relu((centred - t["b_dec"]) @ t["W_enc"] + t["b_enc"])
    assert dictionary.hook_point == "blocks.8.hook_resid_pre"
    assert dictionary.name == "gpt2-small@8-res"
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f, x), (f * t["scaling_factor"]) @ t["W_dec"] + t["b_dec"])


@pytest.mark.parametrize(
    "changes",
    [
        {"model_from_pretrained_kwargs": {"center_writing_weights": False}},
        {"model_name": "gemma-2b"},
        {"hook_point": "blocks.8.mlp.hook_post"},
    ],
)
def test_before_version_6_not_centred_where_it_had_no_effect(tmp_path: Path, changes: dict[str, Any]) -> None:
    t, x = standard_tensors(), inputs()
    dictionary = files.opened(files.written(tmp_path / "sae", "cfg.json", old_config(**changes), "sae_weights.safetensors", t))
    assert_same(dictionary.encode(x), torch.relu((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]))


def test_before_version_6_topk_stands_in_the_activation_function(tmp_path: Path) -> None:
    t, x = standard_tensors(), inputs()
    config = old_config(model_name="pythia-70m", hook_point="blocks.1.mlp.hook_post", activation_fn_str="topk", activation_fn_kwargs={"k": 4})
    dictionary = files.opened(files.written(tmp_path / "sae", "cfg.json", config, "sae_weights.safetensors", t))
    assert_same(dictionary.encode(x), kept((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"], 4))


@pytest.mark.parametrize("norm", [True, "expected_average_only_in"])
def test_before_version_6_an_average_norm_needs_its_factor(tmp_path: Path, norm: Any) -> None:
    t, x = standard_tensors(), inputs()
    config = old_config(model_name="gemma-2b", normalize_activations=norm)
    with pytest.raises(DictionaryError, match="The factor that belongs to it is not in the files"):
        files.opened(files.written(tmp_path / "without", "cfg.json", config, "sae_weights.safetensors", t))
    dictionary = files.opened(files.written(tmp_path / "with", "cfg.json", config | {"norm_scaling_factor": 0.25}, "sae_weights.safetensors", t))
    # SAELens folds the factor into W_enc, W_dec and b_dec, and subtracts b_dec as it is then.
    f = torch.relu((x * 0.25 - t["b_dec"]) @ t["W_enc"] + t["b_enc"])
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f), (f @ t["W_dec"] + t["b_dec"]) / 0.25)


def test_float16_on_disk_is_float32_in_memory(tmp_path: Path) -> None:
    t = {name: tensor.half() for name, tensor in standard_tensors().items()}
    dictionary = files.opened(saelens(tmp_path / "sae", "standard", t))
    assert dictionary.W_enc.dtype == torch.float32
    assert torch.equal(dictionary.W_enc, t["W_enc"].float())


@pytest.mark.parametrize(
    ("architecture", "config", "says"),
    [
        ("batchtopk", {}, "save_inference_model"),
        ("matryoshka_batchtopk", {}, "save_inference_model"),
        ("temporal", {}, "not of the form"),
        ("standard", {"normalize_activations": "expected_average_only_in"}, "fold_activation_norm_scaling_factor"),
        ("standard", {"metadata": {"hook_head_index": -1}}, "hook_head_index = -1"),
        ("jumprelu", {}, "lacks threshold"),
        ("topk", {}, "k = None"),
    ],
)
def test_what_cannot_be_converted_says_why(tmp_path: Path, architecture: str, config: dict[str, Any], says: str) -> None:
    folder = saelens(tmp_path / "sae", architecture, standard_tensors(), **config)
    with pytest.raises(DictionaryError, match=says):
        files.opened(folder)


def test_names(tmp_path: Path) -> None:
    folder = saelens(tmp_path / "sae", "standard", standard_tensors(), metadata={"model_name": "org/pystdlib"})
    assert files.opened(folder).name == "pystdlib@1-res"
    assert files.opened(folder, name="mine@first").name == "mine@first"
    assert files.opened(folder, hook_point="blocks.3.hook_mlp_out").name == "pystdlib@3-mlp"
