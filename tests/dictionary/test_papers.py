"""Families whose source library is on no index give the arithmetic of their code or paper, which is written out here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from interp.domain.errors import DictionaryError
from tests.dictionary import files
from tests.dictionary.files import FEATURES, HOOK_POINT, WIDTH, assert_same, inputs, kept, randn, standard_tensors, written


def bussmann(folder: Path, kind: str, **changes: Any) -> Path:
    """As `save_checkpoint` of logs.py writes it: every value of the config that is no number or text is its `str`."""
    tensors = standard_tensors()
    if kind == "jumprelu":
        tensors["jumprelu.log_threshold"] = randn(FEATURES, seed=8, scale=0.5)
    config = {
        "sae_type": kind,
        "act_size": WIDTH,
        "dict_size": FEATURES,
        "top_k": 5,
        "input_unit_norm": True,
        "hook_point": "blocks.8.hook_resid_pre",
        "model_name": "gpt2-small",
        "seq_len": 128,
        "dtype": "torch.float32",
        "bandwidth": 0.001,
        **changes,
    }
    return written(folder, "config.json", config, "sae.pt", tensors)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("kind", ["vanilla", "topk", "jumprelu", "batchtopk"])
def test_bussmann(tmp_path: Path, kind: str, norm: bool) -> None:
    x, t = inputs(), standard_tensors()
    dictionary = files.opened(bussmann(tmp_path / "sae", kind, input_unit_norm=norm))
    centred = x - x.mean(-1, keepdim=True)
    std = centred.std(-1, keepdim=True)
    # Without the norm, HookedTransformer's centred weights took the mean out of what GPT-2 writes.
    normed = centred / (std + 1e-5) if norm else centred
    inner = normed if kind == "jumprelu" else normed - t["b_dec"]
    pre = inner @ t["W_enc"]
    if kind in ("vanilla", "jumprelu"):
        pre = pre + t["b_enc"]
    f = torch.relu(pre)
    if kind == "topk":
        f = kept(pre, 5)
    if kind == "jumprelu":
        f = f * (f > randn(FEATURES, seed=8, scale=0.5).exp())
    out = f @ t["W_dec"] + t["b_dec"]
    assert (dictionary.hook_point, dictionary.name, dictionary.architecture) == ("blocks.8.hook_resid_pre", "gpt2-small@8-res", kind)
    assert dictionary.batch_k == (5 if kind == "batchtopk" else None)
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f, x), out * std + x.mean(-1, keepdim=True) if norm else out)


def test_topk_and_batchtopk_of_bussmann_ignore_the_encoders_bias(tmp_path: Path) -> None:
    for kind in ("topk", "batchtopk"):
        assert not files.opened(bussmann(tmp_path / kind, kind)).b_enc.any()
    assert files.opened(bussmann(tmp_path / "vanilla", "vanilla")).b_enc.any()


@pytest.mark.parametrize("changes", [{"sae_type": "quantile"}, {"tied_weights": True}, {"activation": "gelu"}, {"top_k": 0}, {"sae_type": None}])
def test_bussmann_that_cannot_be_read(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(DictionaryError) as refused:
        files.opened(bussmann(tmp_path / "sae", **{"kind": "topk", **changes}))
    assert refused.value.cure


@pytest.mark.parametrize("suffix", ["safetensors", "npz", "pt"])
def test_prolu(tmp_path: Path, suffix: str) -> None:
    """The bias moves the threshold, and is not added: m where m > 0 and m + b > 0."""
    x, t = inputs(), standard_tensors()
    path = tmp_path / f"prolu.{suffix}"
    match suffix:
        case "safetensors":
            save_file(t, path)
        case "npz":
            np.savez(path, **{name: tensor.numpy() for name, tensor in t.items()})
        case _:
            torch.save(t, path)
    dictionary = files.opened(path, format="prolu", hook_point=HOOK_POINT)
    m = (x - t["b_dec"]) @ t["W_enc"]
    f = torch.where((m + t["b_enc"] > 0) & (m > 0), m, 0)
    assert ((m > 0) & (m + t["b_enc"] <= 0)).any()
    assert ((m <= 0) & (m + t["b_enc"] > 0)).any()
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f), f @ t["W_dec"] + t["b_dec"])


def test_gated_in_the_papers_own_names(tmp_path: Path) -> None:
    x, t = inputs(), standard_tensors()
    stored = {"W_gate": t["W_enc"], "W_dec": t["W_dec"], "b_dec": t["b_dec"]}
    stored |= {"b_gate": randn(FEATURES, seed=1, scale=3), "b_mag": randn(FEATURES, seed=2, scale=3), "r_mag": randn(FEATURES, seed=3, scale=0.5)}
    save_file(stored, tmp_path / "gated.safetensors")
    dictionary = files.opened(tmp_path / "gated.safetensors", hook_point=HOOK_POINT)
    inner = x - t["b_dec"]
    gate = inner @ stored["W_gate"] + stored["b_gate"] > 0
    magnitude = torch.relu(inner @ (stored["W_gate"] * stored["r_mag"].exp()) + stored["b_mag"])
    assert (gate & (magnitude == 0)).any(), "a negative threshold, below which the relu is left"
    assert dictionary.architecture == "gated"
    assert_same(dictionary.encode(x), gate * magnitude)


@pytest.mark.parametrize(("release", "site"), [("mlp_post_act", "mlp.hook_post"), ("resid_delta_mlp_v4", "hook_mlp_out")])
def test_openai_before_version_5(tmp_path: Path, release: str, site: str) -> None:
    """v1 and v4: no activation in the file, which is a ReLU then; no norm of the input."""
    x, t = inputs(), {"encoder.weight": randn(FEATURES, WIDTH), "decoder.weight": randn(WIDTH, FEATURES)}
    t |= {"latent_bias": randn(FEATURES), "pre_bias": randn(WIDTH)}
    folder = tmp_path / release / "autoencoders"
    folder.mkdir(parents=True)
    torch.save({**t, "stats_last_nonzero": torch.zeros(FEATURES, dtype=torch.long)}, folder / "6.pt")
    dictionary = files.opened(folder / "6.pt")
    f = torch.relu(functional.linear(x - t["pre_bias"], t["encoder.weight"], t["latent_bias"]))
    assert dictionary.hook_point == f"blocks.6.{site}"
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f), functional.linear(f, t["decoder.weight"]) + t["pre_bias"])


def test_openai_with_values_of_both_signs_is_refused(tmp_path: Path) -> None:
    t = {"encoder.weight": randn(FEATURES, WIDTH), "decoder.weight": randn(WIDTH, FEATURES), "latent_bias": randn(FEATURES), "pre_bias": randn(WIDTH)}
    torch.save({**t, "activation": "TopK", "activation_state_dict": {"k": 4, "postact_fn": "Identity"}}, tmp_path / "8.pt")
    with pytest.raises(DictionaryError, match="Identity"):
        files.opened(tmp_path / "8.pt", hook_point=HOOK_POINT)


def llama_scope(folder: Path, **changes: Any) -> Path:
    config = {
        "hook_point_in": "blocks.3.ln2.hook_normalized",
        "hook_point_out": "blocks.3.hook_mlp_out",
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.4,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": WIDTH**0.5, "out": 2},
        "sparsity_include_decoder_norm": True,
        "use_decoder_bias": True,
        "top_k": 5,
        **changes,
    }
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "hyperparams.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = {"encoder.weight": randn(FEATURES, WIDTH), "encoder.bias": randn(FEATURES), "decoder.weight": randn(WIDTH, FEATURES)}
    save_file({**tensors, "decoder.bias": randn(WIDTH)}, folder / "checkpoints" / "final.safetensors")
    return folder


@pytest.mark.parametrize("act_fn", ["jumprelu", "topk", "relu"])
@pytest.mark.parametrize("with_norms", [True, False])
@pytest.mark.parametrize("norm_in", [WIDTH**0.5, 7.5])
def test_llama_scope(tmp_path: Path, act_fn: str, with_norms: bool, norm_in: float) -> None:
    """lm-saes, for inference: biases and decoder are scaled, then the decoder's norms, then the activation function applies."""
    x, root = inputs(), WIDTH**0.5
    norms = {"in": norm_in, "out": 2}
    threshold = 0 if act_fn == "topk" else 0.4
    folder = llama_scope(
        tmp_path / "tc", act_fn=act_fn, sparsity_include_decoder_norm=with_norms, dataset_average_activation_norm=norms, jump_relu_threshold=threshold
    )
    dictionary = files.opened(folder)
    decoder, bias = randn(WIDTH, FEATURES) * (root / norm_in) / (root / 2), randn(WIDTH) / (root / 2)
    scale = decoder.norm(dim=0) if with_norms else torch.ones(FEATURES)
    pre = functional.linear(x, randn(FEATURES, WIDTH), randn(FEATURES) / (root / norm_in)) * scale
    f = {"jumprelu": pre * (pre > 0.4), "topk": kept(pre, 5), "relu": torch.relu(pre)}[act_fn]
    assert (dictionary.hook_point, dictionary.architecture) == ("blocks.3.ln2.hook_normalized", f"{act_fn}_transcoder")
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f), functional.linear(f / scale, decoder, bias))
    # The same, as training saw it: the outputs in units of their own mean norm.
    normed = functional.linear(f / scale, randn(WIDTH, FEATURES) * (root / norm_in), randn(WIDTH))
    assert_same(dictionary.decode(f) * (root / 2), normed)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dataset_average_activation_norm": None}, "without positive mean norms"),
        ({"dataset_average_activation_norm": {"in": 3.0}}, "without positive mean norms"),
        ({"dataset_average_activation_norm": {"in": 0.0, "out": 1.0}}, "without positive mean norms"),
        ({"norm_activation": "token-wise"}, "token-wise"),
        ({"use_glu_encoder": True}, "gated linear unit"),
        ({"act_fn": "tanh"}, "tanh"),
        ({"act_fn": "topk", "jump_relu_threshold": 0, "top_k": None}, "top_k = None"),
        ({"hook_point_in": 3}, "hook_point_in"),
    ],
)
def test_llama_scope_that_cannot_be_read(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DictionaryError, match=says) as refused:
        files.opened(llama_scope(tmp_path / "tc", **changes))
    assert refused.value.cure


def circuit_tracer(folder: Path, layers: tuple[int, ...] = (0, 1), config: str = 'feature_input_hook: "ln2.hook_normalized"\n') -> Path:
    folder.mkdir()
    t = {"W_enc": randn(FEATURES, WIDTH), "b_enc": randn(FEATURES), "W_dec": randn(FEATURES, WIDTH), "b_dec": randn(WIDTH)}
    for layer in layers:
        save_file({**t, "b_enc": t["b_enc"] + layer}, folder / f"layer_{layer}.safetensors")
    if config:
        (folder / "config.yaml").write_text(config, encoding="utf-8")
    return folder


def test_circuit_tracers_layers_are_chosen_by_file_or_hook_point(tmp_path: Path) -> None:
    folder = circuit_tracer(tmp_path / "set")
    with pytest.raises(DictionaryError, match=r"2 layers.*") as refused:
        files.opened(folder)
    assert "layer_0.safetensors" in refused.value.cure
    with pytest.raises(DictionaryError, match="no transcoder of layer 5"):
        files.opened(folder, hook_point="blocks.5.ln2.hook_normalized")
    by_file, by_point = files.opened(folder / "layer_1.safetensors"), files.opened(folder, hook_point="blocks.1.ln2.hook_normalized")
    assert by_file.hook_point == by_point.hook_point == "blocks.1.ln2.hook_normalized"
    torch.testing.assert_close(by_file.b_enc, randn(FEATURES) + 1)
    assert torch.equal(by_file.b_enc, by_point.b_enc)
    assert files.opened(circuit_tracer(tmp_path / "one", (3,))).hook_point == "blocks.3.ln2.hook_normalized"


@pytest.mark.parametrize("config", ["", "feature_input_hook: {a: b}\n", "feature_input_hook: &a [*a, *a]\n"])
def test_circuit_tracer_without_a_site_has_to_be_told(tmp_path: Path, config: str) -> None:
    with pytest.raises(DictionaryError, match="which hook point"):
        files.opened(circuit_tracer(tmp_path / "set", (0,), config))


def test_negative_thresholds_of_circuit_tracer_are_refused(tmp_path: Path) -> None:
    """Its JumpReLU has no ReLU: what lies between a negative threshold and 0 would pass with its sign."""
    folder = circuit_tracer(tmp_path / "set", ())
    t = {"W_enc": randn(FEATURES, WIDTH), "b_enc": randn(FEATURES), "W_dec": randn(FEATURES, WIDTH), "b_dec": randn(WIDTH)}
    save_file({**t, "activation_function.threshold": randn(FEATURES)}, folder / "layer_0.safetensors")
    with pytest.raises(DictionaryError, match="thresholds are negative"):
        files.opened(folder)


def test_goodfire_without_its_name_has_to_be_told_the_hook_point(tmp_path: Path) -> None:
    t = {"encoder_linear.weight": randn(FEATURES, WIDTH), "encoder_linear.bias": randn(FEATURES), "decoder_linear.weight": randn(WIDTH, FEATURES)}
    torch.save({**t, "decoder_linear.bias": randn(WIDTH)}, tmp_path / "mine.pth")
    with pytest.raises(DictionaryError, match="which hook point"):
        files.opened(tmp_path / "mine.pth")
    assert files.opened(tmp_path / "mine.pth", hook_point=HOOK_POINT).architecture == "relu"
