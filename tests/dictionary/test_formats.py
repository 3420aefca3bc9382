"""Every other family gives the activations and reconstructions of its own library, whose arithmetic is written out here."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from interp.dictionary import formats
from interp.dictionary.canonical import Positions
from interp.domain.errors import DictionaryError
from interp.domain.job_warnings import of_row_length
from interp.domain.spec import DictionarySpec
from tests.dictionary import files
from tests.dictionary.files import FEATURES, HOOK_POINT, WIDTH, assert_same, inputs, kept, randn, written


def linear_tensors(**names: str) -> dict[str, torch.Tensor]:
    """encoder [F, D], decoder [D, F] and their biases, as nn.Linear keeps them."""
    return {
        names.get("encoder", "encoder.weight"): randn(FEATURES, WIDTH),
        names.get("encoder_bias", "encoder.bias"): randn(FEATURES),
        names.get("decoder", "decoder.weight"): randn(WIDTH, FEATURES),
        names.get("bias", "b_dec"): randn(WIDTH),
    }


@pytest.mark.parametrize("transcode", [True, False])
def test_sparsify_topk(tmp_path: Path, transcode: bool) -> None:
    x = inputs()
    t = {"encoder.weight": randn(FEATURES, WIDTH), "encoder.bias": randn(FEATURES), "W_dec": randn(FEATURES, WIDTH), "b_dec": randn(WIDTH)}
    if transcode:
        t["W_skip"] = randn(WIDTH, WIDTH)
    config = {"activation": "topk", "k": 6, "num_latents": 0, "expansion_factor": 32, "d_in": WIDTH, "transcode": transcode}
    dictionary = files.opened(written(tmp_path / "layers.3.mlp", "cfg.json", config, "sae.safetensors", t))
    source = x if transcode else x - t["b_dec"]
    f = kept(torch.relu(functional.linear(source, t["encoder.weight"], t["encoder.bias"])), 6)
    out = f @ t["W_dec"] + t["b_dec"]
    assert dictionary.hook_point == ("blocks.3.mlp.hook_in" if transcode else "blocks.3.mlp.hook_out")
    assert dictionary.output_points == ("blocks.3.mlp.hook_out",)
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f, x), out + x @ t["W_skip"].mT if transcode else out)


def test_sparsify_groupmax(tmp_path: Path) -> None:
    x = inputs()
    t = {"encoder.weight": randn(FEATURES, WIDTH), "encoder.bias": randn(FEATURES), "W_dec": randn(FEATURES, WIDTH), "b_dec": randn(WIDTH)}
    config = {"activation": "groupmax", "k": 8, "num_latents": FEATURES, "d_in": WIDTH}
    dictionary = files.opened(written(tmp_path / "layers.3", "cfg.json", config, "sae.safetensors", t))
    pre = torch.relu(functional.linear(x - t["b_dec"], t["encoder.weight"], t["encoder.bias"]))
    f = torch.zeros_like(pre)
    for start in range(0, FEATURES, FEATURES // 8):
        group = pre[:, start : start + FEATURES // 8]
        best = group.argmax(dim=1)
        f[torch.arange(len(x)), start + best] = group.max(dim=1).values
    assert dictionary.hook_point == "blocks.3.hook_resid_post"
    assert_same(dictionary.encode(x), f)


def dictionary_learning(folder: Path, kind: str, tensors: dict[str, Any], buffer: Any = None, **trainer: Any) -> Path:
    config = {"trainer": {"dict_class": kind, "lm_name": "EleutherAI/pythia-70m", "layer": 1, "submodule_name": "resid_post_layer_1", **trainer}}
    if buffer is not None:
        config["buffer"] = buffer
    return written(folder, "config.json", config, "ae.pt", tensors)


def test_dictionary_learning_autoencoder(tmp_path: Path) -> None:
    """Loading makes the decoder's columns unit vectors: activations are multiplied by their norms."""
    x, t = inputs(), linear_tensors(bias="bias")
    dictionary = files.opened(dictionary_learning(tmp_path / "ae", "AutoEncoder", t))
    norms = t["decoder.weight"].norm(dim=0)
    f = torch.relu(functional.linear(x - t["bias"], t["encoder.weight"], t["encoder.bias"])) * norms
    assert (dictionary.hook_point, dictionary.name) == ("blocks.1.hook_resid_post", "pythia-70m@1-res")
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f), functional.linear(f / norms, t["decoder.weight"]) + t["bias"])


BUFFER = {"d_submodule": WIDTH, "io": "out", "n_ctxs": 244, "ctx_len": 32, "refresh_batch_size": 4, "out_batch_size": 2048, "device": "cuda:0"}


@pytest.mark.parametrize(
    ("said", "positions"),
    [
        ({}, Positions()),
        ({"remove_bos": True}, Positions(start=1)),
        ({"remove_bos": False, "add_special_tokens": True}, Positions()),
        ({"add_special_tokens": False, "remove_bos": True}, Positions(prepend_bos=False, start=1)),
    ],
)
def test_the_buffer_of_dictionary_learning_says_where_it_counts(tmp_path: Path, said: dict[str, Any], positions: Positions) -> None:
    folder = dictionary_learning(tmp_path / "ae", "AutoEncoder", linear_tensors(bias="bias"), BUFFER | said)
    header = formats.read(DictionarySpec(source=str(folder))).header
    assert (header.positions, header.context, header.warnings) == (positions, 32, ())
    assert of_row_length(32, header.context) == []
    (warning,) = of_row_length(33, header.context)
    assert "33 tokens, the dictionary was trained on 32" in warning.detail


def test_a_dictionary_of_a_submodules_input_is_not_read_at_its_output(tmp_path: Path) -> None:
    folder = dictionary_learning(tmp_path / "ae", "AutoEncoder", linear_tensors(bias="bias"), BUFFER | {"io": "in"})
    with pytest.raises(DictionaryError, match="io = 'in'"):
        formats.read(DictionarySpec(source=str(folder)))
    header = formats.read(DictionarySpec(source=str(folder), hook_point="blocks.1.hook_resid_pre")).header
    assert header.hook_point == "blocks.1.hook_resid_pre"
    assert "io = 'in'" in header.warnings[0]


def test_activations_that_training_left_out_for_their_length_are_told(tmp_path: Path) -> None:
    folder = dictionary_learning(tmp_path / "ae", "AutoEncoder", linear_tensors(bias="bias"), BUFFER | {"max_activation_norm_multiple": 10})
    assert "longer than 10 times" in formats.read(DictionarySpec(source=str(folder))).header.warnings[0]


@pytest.mark.parametrize("buffer", ["none", {"ctx_len": "128"}, {"ctx_len": 0}, {"remove_bos": "yes"}, {"add_special_tokens": 1}])
def test_a_buffer_that_cannot_be_read_is_refused(tmp_path: Path, buffer: Any) -> None:
    folder = dictionary_learning(tmp_path / "ae", "AutoEncoder", linear_tensors(bias="bias"), buffer)
    with pytest.raises(DictionaryError) as refused:
        formats.read(DictionarySpec(source=str(folder)))
    assert refused.value.cure


def test_dictionary_learning_autoencoder_new(tmp_path: Path) -> None:
    x, t = inputs(), linear_tensors(bias="decoder.bias")
    dictionary = files.opened(dictionary_learning(tmp_path / "ae", "AutoEncoderNew", t))
    f = torch.relu(functional.linear(x, t["encoder.weight"], t["encoder.bias"]))
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f), functional.linear(f, t["decoder.weight"], t["decoder.bias"]))


def test_dictionary_learning_gated(tmp_path: Path) -> None:
    x, t = inputs(), linear_tensors(bias="decoder_bias")
    del t["encoder.bias"]
    t |= {"r_mag": randn(FEATURES, seed=3, scale=0.5), "gate_bias": randn(FEATURES, seed=4, scale=3), "mag_bias": randn(FEATURES, seed=5, scale=3)}
    dictionary = files.opened(dictionary_learning(tmp_path / "ae", "GatedAutoEncoder", t))
    inner = functional.linear(x - t["decoder_bias"], t["encoder.weight"])
    f = (inner + t["gate_bias"] > 0) * torch.relu(t["r_mag"].exp() * inner + t["mag_bias"])
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f), functional.linear(f, t["decoder.weight"]) + t["decoder_bias"])


def test_dictionary_learning_jumprelu(tmp_path: Path) -> None:
    x, t = inputs(), files.standard_tensors()
    t["threshold"] = randn(FEATURES, seed=5).abs() * 3
    dictionary = files.opened(dictionary_learning(tmp_path / "ae", "JumpReluAutoEncoder", t))
    pre = x @ t["W_enc"] + t["b_enc"]
    f = torch.relu(pre * (pre > t["threshold"]))
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f), f @ t["W_dec"] + t["b_dec"])


def test_dictionary_learning_topk(tmp_path: Path) -> None:
    x, t = inputs(), linear_tensors()
    folder = dictionary_learning(tmp_path / "ae", "AutoEncoderTopK", {**t, "k": torch.tensor(7, dtype=torch.int), "threshold": torch.tensor(-1.0)})
    f = kept(torch.relu(functional.linear(x - t["b_dec"], t["encoder.weight"], t["encoder.bias"])), 7)
    dictionary = files.opened(folder)
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f), functional.linear(f, t["decoder.weight"]) + t["b_dec"])


@pytest.mark.parametrize("kind", ["BatchTopKSAE", "MatryoshkaBatchTopKSAE"])
def test_dictionary_learning_batchtopk_goes_by_its_threshold(tmp_path: Path, kind: str) -> None:
    x, t = inputs(), linear_tensors()
    if kind == "MatryoshkaBatchTopKSAE":
        stored = {"W_enc": t["encoder.weight"].T, "b_enc": t["encoder.bias"], "W_dec": t["decoder.weight"].T, "b_dec": t["b_dec"]}
    else:
        stored = dict(t)
    folder = dictionary_learning(tmp_path / "ae", kind, {**stored, "k": torch.tensor(7), "threshold": torch.tensor(2.5)})
    pre = torch.relu(functional.linear(x - t["b_dec"], t["encoder.weight"], t["encoder.bias"]))
    assert_same(files.opened(folder).encode(x), pre * (pre > 2.5))
    unset = dictionary_learning(tmp_path / "unset", kind, {**stored, "k": torch.tensor(7), "threshold": torch.tensor(-1.0)})
    with pytest.raises(DictionaryError, match="never set"):
        files.opened(unset)


@pytest.mark.parametrize("name", ["params.npz", "params.safetensors"])
def test_gemma_scope(tmp_path: Path, name: str) -> None:
    x, t = inputs(), files.standard_tensors()
    t["threshold"] = randn(FEATURES, seed=5).abs() * 3
    folder = tmp_path / "gemma-scope-2b-pt-res" / "layer_20" / "width_16k" / "average_l0_71"
    folder.mkdir(parents=True)
    if name == "params.npz":
        np.savez(folder / name, **{key: value.numpy() for key, value in t.items()})
    else:
        save_file({key.lower(): value for key, value in t.items()}, folder / name)
    dictionary = files.opened(folder)
    pre = x @ t["W_enc"] + t["b_enc"]
    f = (pre > t["threshold"]) * torch.relu(pre)
    assert dictionary.hook_point == "blocks.20.hook_resid_post"
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f), f @ t["W_dec"] + t["b_dec"])


@pytest.mark.parametrize("activation", ["TopK", "ReLU"])
def test_openai(tmp_path: Path, activation: str) -> None:
    x = inputs()
    t = linear_tensors(encoder_bias="latent_bias", bias="pre_bias")
    state: dict[str, Any] = {**t, "stats_last_nonzero": torch.zeros(FEATURES, dtype=torch.long), "activation": activation}
    if activation == "TopK":
        state["activation_state_dict"] = {"k": 5, "postact_fn": "ReLU"}
    folder = tmp_path / "v5_32k" / "autoencoders" / "resid_post_mlp"
    folder.mkdir(parents=True)
    torch.save(state, folder / "8.pt")
    mean, std = x.mean(-1, keepdim=True), (x - x.mean(-1, keepdim=True)).std(-1, keepdim=True)
    normed = (x - mean) / (std + 1e-5) if activation == "TopK" else x
    pre = functional.linear(normed - t["pre_bias"], t["encoder.weight"], t["latent_bias"])
    f = kept(pre, 5) if activation == "TopK" else torch.relu(pre)
    out = functional.linear(f, t["decoder.weight"]) + t["pre_bias"]
    dictionary = files.opened(folder / "8.pt")
    assert dictionary.name == "gpt2-small@8-res"
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f, x), out * std + mean if activation == "TopK" else out)


def test_apollo_normalises_the_decoder_when_run(tmp_path: Path) -> None:
    x = inputs()
    parts = {
        name: value * 2 for name, value in linear_tensors(encoder="encoder.0.weight", encoder_bias="encoder.0.bias", bias="decoder.bias").items()
    }
    state = {f"{place}.{name}": value for place in ("blocks-6-hook_resid_pre", "blocks-8-hook_resid_pre") for name, value in parts.items()}
    torch.save(state, tmp_path / "samples_400000.pt")
    with pytest.raises(DictionaryError, match=r"blocks\.6\.hook_resid_pre, blocks\.8\.hook_resid_pre"):
        files.opened(tmp_path / "samples_400000.pt")
    dictionary = files.opened(tmp_path / "samples_400000.pt", hook_point="blocks.6.hook_resid_pre")
    f = torch.relu(functional.linear(x, parts["encoder.0.weight"], parts["encoder.0.bias"]))
    assert_same(dictionary.encode(x), f)
    assert_same(dictionary.decode(f), functional.linear(f, functional.normalize(parts["decoder.weight"], dim=0), parts["decoder.bias"]))


@pytest.mark.parametrize("threshold", [None, 1.5])
def test_directions(tmp_path: Path, threshold: float | None) -> None:
    x, rows = inputs(), randn(5, WIDTH)
    if threshold is None:
        path = tmp_path / "probes.npy"
        np.save(path, rows.numpy())
    else:
        path = tmp_path / "probes.safetensors"
        save_file({"directions": rows, "threshold": torch.full((5,), threshold)}, path)
    dictionary = files.opened(path, hook_point=HOOK_POINT)
    projection = torch.stack([(x * row).sum(dim=1) for row in rows], dim=1)
    assert_same(dictionary.encode(x), projection.clamp_min(0) * (projection > (threshold or 0)))
    with pytest.raises(DictionaryError, match="which hook point"):
        files.opened(path)


def test_neurons(tmp_path: Path) -> None:
    config = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": WIDTH, "vocab_size": 9, "n_positions": 4}
    written(tmp_path / "model", "config.json", config, "unused.safetensors", {})
    dictionary = files.opened(tmp_path / "model", format="neurons", hook_point="blocks.1.mlp.hook_post")
    x = inputs()
    assert dictionary.n_features == dictionary.d_in == WIDTH
    assert_same(dictionary.encode(x), x.clamp_min(0))
    with pytest.raises(DictionaryError, match="Neurons of which layer"):
        files.opened(tmp_path / "model", format="neurons")
