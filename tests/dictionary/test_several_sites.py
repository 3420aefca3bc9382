"""Crosscoders and cross-layer transcoders: one dictionary at several hook points, with the arithmetic of their libraries written out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from interp.dictionary import formats
from interp.domain.errors import DictionaryError
from interp.domain.spec import DictionarySpec
from tests.dictionary import files
from tests.dictionary.files import FEATURES, TOKENS, WIDTH, assert_same, randn, written

SITES = 3
POINTS = "+".join(f"blocks.{layer}.hook_resid_post" for layer in range(SITES))


def at_sites() -> torch.Tensor:
    """Activations [tokens, sites, width], as crosscoders take them."""
    return randn(TOKENS, SITES, WIDTH, seed=7) * 2


def crosscoder_tensors() -> dict[str, torch.Tensor]:
    return {
        "encoder.weight": randn(SITES, WIDTH, FEATURES),
        "encoder.bias": randn(FEATURES),
        "decoder.weight": randn(SITES, FEATURES, WIDTH),
        "decoder.bias": randn(SITES, WIDTH),
    }


def pre_activations(t: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.einsum("bld,ldf->blf", at_sites(), t["encoder.weight"]).sum(dim=1) + t["encoder.bias"]


@pytest.mark.parametrize("name", ["ae.pt", "model.safetensors"])
def test_a_crosscoder_of_dictionary_learning_reads_the_concatenation(tmp_path: Path, name: str) -> None:
    t = crosscoder_tensors()
    folder = written(tmp_path / "cc", "config.json", {"activation_dim": WIDTH, "dict_size": FEATURES, "num_layers": SITES}, name, t)
    dictionary = files.opened(folder, hook_point=POINTS)
    f = torch.relu(pre_activations(t))
    out = torch.einsum("bf,lfd->bld", f, t["decoder.weight"]) + t["decoder.bias"]
    assert (dictionary.d_in, dictionary.hook_point, dictionary.output_points) == (SITES * WIDTH, POINTS, tuple(POINTS.split("+")))
    assert dictionary.name == "cc@0-res-2-res"
    assert_same(dictionary.encode(at_sites().flatten(1)), f)
    assert_same(dictionary.decode(f), out.flatten(1))


@pytest.mark.parametrize(("code", "norm"), [(None, "sum"), (1, "sum"), (2, "all"), (4, "none")])
def test_the_threshold_of_a_batchtopk_crosscoder_is_of_features_times_their_decoders_norm(tmp_path: Path, code: int | None, norm: str) -> None:
    t = crosscoder_tensors()
    t["decoder.weight"][:, 0] = 0
    each = t["decoder.weight"].norm(dim=2)
    norms = {"sum": each.sum(dim=0), "all": each.square().sum(dim=0).sqrt(), "none": torch.ones(FEATURES)}[norm]
    threshold = float((torch.relu(pre_activations(t)) * norms).quantile(0.8))
    buffers: dict[str, Any] = {"k": torch.tensor(5), "threshold": torch.tensor(threshold)}
    if code is not None:
        buffers["code_normalization_id"] = torch.tensor(code)
    folder = written(tmp_path / "cc", "config.json", {"trainer": {"dict_class": "BatchTopKCrossCoder"}}, "ae.pt", t | buffers)
    f = torch.relu(pre_activations(t))
    kept = f * (f * norms > threshold)
    found = files.opened(folder, hook_point=POINTS).encode(at_sites().flatten(1))
    assert_same(found, kept)
    assert torch.equal(found > 0, kept > 0)
    unset = written(tmp_path / "unset", "config.json", {}, "ae.pt", t | {"threshold": torch.tensor(-1.0)})
    with pytest.raises(DictionaryError, match="never set"):
        files.opened(unset, hook_point=POINTS)


def test_a_crosscoder_with_one_matrix_a_site_in_nandas_names(tmp_path: Path) -> None:
    t = crosscoder_tensors()
    stored = {"W_enc": t["encoder.weight"], "b_enc": t["encoder.bias"], "W_dec": t["decoder.weight"].permute(1, 0, 2), "b_dec": t["decoder.bias"]}
    torch.save(stored, tmp_path / "4.pt")
    dictionary = files.opened(tmp_path / "4.pt", hook_point=POINTS)
    f = torch.relu(pre_activations(t))
    assert_same(dictionary.encode(at_sites().flatten(1)), f)
    assert_same(dictionary.decode(f), (torch.einsum("bf,lfd->bld", f, t["decoder.weight"]) + t["decoder.bias"]).flatten(1))


def test_a_crosscoder_needs_a_hook_point_for_each_encoder_and_one_model(tmp_path: Path) -> None:
    folder = written(tmp_path / "cc", "config.json", {}, "ae.pt", crosscoder_tensors())
    for named in (None, "blocks.0.hook_resid_post"):
        with pytest.raises(DictionaryError, match="reads 3 hook points") as refused:
            formats.read(DictionarySpec(source=str(folder), hook_point=named))
        assert "joined by +" in refused.value.cure
    compared = written(tmp_path / "models", "cfg.json", {"hook_point": "blocks.14.hook_resid_pre"}, "model.safetensors", crosscoder_tensors())
    with pytest.raises(DictionaryError, match="compares 3 models"):
        formats.read(DictionarySpec(source=str(compared), hook_point=POINTS))


LAYERS = 3


def transcoder(folder: Path, threshold: bool = False, config: str | None = None) -> dict[str, torch.Tensor]:
    """Files as `CrossLayerTranscoder.to_safetensors` writes them."""
    folder.mkdir()
    t: dict[str, torch.Tensor] = {}
    for layer in range(LAYERS):
        encoder = {
            f"W_enc_{layer}": randn(FEATURES, WIDTH, seed=layer),
            f"b_enc_{layer}": randn(FEATURES, seed=layer),
            f"b_dec_{layer}": randn(WIDTH, seed=layer),
        }
        if threshold:
            encoder[f"threshold_{layer}"] = randn(FEATURES, seed=layer + 50).abs()
        decoder = {f"W_dec_{layer}": randn(FEATURES, LAYERS - layer, WIDTH, seed=layer)}
        save_file(encoder, folder / f"W_enc_{layer}.safetensors")
        save_file(decoder, folder / f"W_dec_{layer}.safetensors")
        t |= encoder | decoder
    if config is not None:
        (folder / "config.yaml").write_text(config, encoding="utf-8")
    return t


@pytest.mark.parametrize("threshold", [False, True])
def test_the_dictionaries_of_a_cross_layer_transcoder_sum_up_to_its_output(tmp_path: Path, threshold: bool) -> None:
    t = transcoder(
        tmp_path / "clt", threshold, 'model_kind: "cross_layer_transcoder"\nfeature_input_hook: "hook_resid_mid"\nfeature_output_hook: hook_mlp_out\n'
    )
    x = at_sites()
    theirs = torch.stack([t[f"b_dec_{layer}"] for layer in range(LAYERS)]).repeat(TOKENS, 1, 1)
    ours = torch.zeros(TOKENS, LAYERS, WIDTH)
    for layer in range(LAYERS):
        dictionary = files.opened(tmp_path / "clt", hook_point=f"blocks.{layer}.hook_resid_mid")
        pre = x[:, layer] @ t[f"W_enc_{layer}"].T + t[f"b_enc_{layer}"]
        f = pre * (pre > t[f"threshold_{layer}"]) if threshold else torch.relu(pre)
        assert_same(dictionary.encode(x[:, layer]), f)
        assert dictionary.output_points == tuple(f"blocks.{written}.hook_mlp_out" for written in range(layer, LAYERS))
        theirs[:, layer:] += torch.einsum("bf,fld->bld", f, t[f"W_dec_{layer}"])
        ours[:, layer:] += dictionary.decode(dictionary.encode(x[:, layer])).view(TOKENS, LAYERS - layer, WIDTH)
    assert_same(ours, theirs)


def test_the_layer_of_a_cross_layer_transcoder_is_asked_for(tmp_path: Path) -> None:
    transcoder(tmp_path / "clt", config="model_name: meta-llama/Llama-3.2-1B\nfeature_input_hook: mlp.hook_in\n")
    with pytest.raises(DictionaryError, match="features of 3 layers") as refused:
        files.opened(tmp_path / "clt")
    assert ("layers 0, 1, 2" in refused.value.why, "blocks.0.mlp.hook_in" in refused.value.cure) == (True, True)
    with pytest.raises(DictionaryError, match="no features of layer 7"):
        files.opened(tmp_path / "clt", hook_point="blocks.7.mlp.hook_in")
    found = files.opened(tmp_path / "clt" / "W_enc_1.safetensors")
    assert (found.hook_point, found.name) == ("blocks.1.mlp.hook_in", "Llama-3.2-1B@1-mlp_in")
    assert files.opened(tmp_path / "clt", hook_point="blocks.1.mlp.hook_in").digest == found.digest


def test_a_dictionary_of_one_attention_head_reads_its_part_of_hook_z(tmp_path: Path) -> None:
    metadata = {"hook_name": "blocks.1.attn.hook_z", "hook_head_index": 3}
    dictionary = files.opened(files.saelens(tmp_path / "sae", "standard", files.standard_tensors(), metadata=metadata))
    assert (dictionary.hook_point, dictionary.name) == ("blocks.1.attn.hook_z[3]", "tiny@1-att-h3")
