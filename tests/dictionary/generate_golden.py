"""Writes tests/dictionary/golden: files as each library writes them, and what the library itself computes from them.

    python -m venv V
    V/bin/pip install torch==2.13.0 sae-lens==6.54.12 eai-sparsify==1.3.3 einops
    V/bin/pip install --no-deps dictionary-learning==0.1.0 circuit-tracer==0.5.0
    V/bin/python -m tests.dictionary.generate_golden

`write(folder, seed, libraries)` writes other random cases of the libraries that are installed: test_libraries.py reads these.

The last two pin versions of transformers and huggingface_hub that the service does not run with, so only their classes are used, without what their
packages import. Weights are random numbers; a folder per case holds its files and `expected.npz`: inputs `x`, `features`, `reconstruction`.
"""

import importlib
import json
import shutil
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

GOLDEN = Path(__file__).parent / "golden"
target = GOLDEN
WIDTH, OUT, FEATURES, TOKENS, LAYERS = 8, 6, 16, 12, 3


def randn(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(*shape) * scale


def record(folder: Path, features: Callable[[torch.Tensor], torch.Tensor], reconstruct: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    x = randn(TOKENS, WIDTH) * 2 + torch.linspace(-1, 2, WIDTH)
    with torch.no_grad():
        found = features(x)
        out = reconstruct(found, x)
    np.savez_compressed(folder / "expected.npz", x=x.numpy(), features=found.numpy(), reconstruction=out.numpy())


def randomise(module: torch.nn.Module, scale: float = 0.5) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(randn(*parameter.shape, scale=scale if parameter.ndim > 1 else 0.7))
            if "threshold" in name:
                parameter.abs_()


def saelens(name: str, architecture: str, **settings: Any) -> None:
    from sae_lens import SAE
    from sae_lens.registry import get_sae_class

    kind, config = get_sae_class(architecture)
    sizes = {"d_in": WIDTH, "d_sae": FEATURES} | ({"d_out": OUT, "apply_b_dec_to_input": False} if "transcoder" in architecture else {})
    made = kind(
        config.from_dict(
            {
                "architecture": architecture,
                **sizes,
                "dtype": "float32",
                "device": "cpu",
                **settings,
                "metadata": {"model_name": "tiny", "hook_name": "blocks.1.hook_resid_post"},
            }
        )
    )
    randomise(made)
    if "jumprelu" in architecture:  # some thresholds are negative: below them a ReLU is left
        with torch.no_grad():
            made.threshold[::5] *= -1
    folder = target / name
    made.save_model(folder)
    record_sae(folder, SAE.load_from_disk(folder))


def record_sae(folder: Path, sae: Any) -> None:
    # The normalisation keeps the input's norm from `encode` for `decode`.
    skip = hasattr(sae, "W_skip")
    record(folder, sae.encode, lambda f, x: sae(x) if skip else sae.decode(f))


def saelens_folded(name: str) -> None:
    """`expected_average_only_in` is folded into the weights by the factor of training, and saved as `none`."""
    from sae_lens import SAE
    from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig

    made = StandardSAE(StandardSAEConfig(d_in=WIDTH, d_sae=FEATURES, normalize_activations="expected_average_only_in"))
    randomise(made)
    folder = target / name
    made.save_model(folder)
    loaded = SAE.load_from_disk(folder)
    loaded.fold_activation_norm_scaling_factor(0.37)
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(
        json.dumps(config | {"metadata": config["metadata"] | {"hook_name": "blocks.1.hook_resid_post", "norm_scaling_factor": 0.37}})
    )
    record_sae(folder, loaded)


def saelens_old(name: str, **changes: Any) -> None:
    """A folder from before SAELens 6, read by today's SAELens."""
    from sae_lens import SAE

    folder = target / name
    folder.mkdir()
    config = {
        "model_name": "gemma-2b",
        "hook_point": "blocks.2.hook_resid_post",
        "hook_point_layer": 2,
        "hook_point_head_index": None,
        "d_in": WIDTH,
        "d_sae": FEATURES,
        "dtype": "torch.float32",
        "context_size": 128,
        "prepend_bos": True,
        "apply_b_dec_to_input": True,
        **changes,
    }
    (folder / "cfg.json").write_text(json.dumps(config))
    tensors = {"W_enc": randn(WIDTH, FEATURES, scale=0.5), "b_enc": randn(FEATURES), "W_dec": randn(FEATURES, WIDTH), "b_dec": randn(WIDTH)}
    if changes.get("architecture") == "gated":
        del tensors["b_enc"]
        tensors |= {"b_gate": randn(FEATURES), "b_mag": randn(FEATURES), "r_mag": randn(FEATURES, scale=0.4)}
    if changes.get("architecture") == "jumprelu":
        tensors["threshold"] = randn(FEATURES).abs()
    save_file(tensors, folder / "sae_weights.safetensors")
    record_sae(folder, SAE.load_from_disk(folder))


def hub_file(folder: Path, loader: Callable[..., Any], repository: str, name: str, **overrides: Any) -> Any:
    """The SAELens object that a loader of published files makes of a local folder."""
    from unittest.mock import patch

    from sae_lens.loading import pretrained_sae_loaders
    from sae_lens.registry import get_sae_class

    def local(repo_id: str = "", filename: str = "", subfolder: str | None = None, **_: Any) -> str:
        found = folder / (subfolder or "") / filename
        if not found.is_file():
            raise pretrained_sae_loaders.EntryNotFoundError(filename)
        return str(found)

    sizes = {"d_in": WIDTH, "d_sae": FEATURES, "dtype": "float32", **overrides}
    shapes = lambda *_: {"w_enc": [WIDTH, FEATURES], "w_dec": [FEATURES, WIDTH]}  # noqa: E731
    with (
        patch.object(pretrained_sae_loaders, "hf_hub_download", local),
        patch.object(pretrained_sae_loaders, "get_safetensors_tensor_shapes", shapes),
    ):
        config, state, _ = loader(repository, name, "cpu", False, sizes)
    if "metadata" not in config:
        config = pretrained_sae_loaders.handle_config_defaulting(config)
    kind, kind_config = get_sae_class(config["architecture"])
    sae = kind(kind_config.from_dict(config))
    sae.process_state_dict_for_loading(state)
    sae.load_state_dict(state)
    return sae


def published() -> None:
    from sae_lens.loading import pretrained_sae_loaders as loaders

    def arrays(lower: bool) -> dict[str, torch.Tensor]:
        made = {
            "W_enc": randn(WIDTH, FEATURES, scale=0.5),
            "b_enc": randn(FEATURES),
            "W_dec": randn(FEATURES, WIDTH),
            "b_dec": randn(WIDTH),
            "threshold": randn(FEATURES),
        }
        return {name.lower() if lower else name: tensor for name, tensor in made.items()}

    first = "layer_20/width_16k/average_l0_71"
    for suffix, loader in (("res", loaders.gemma_2_sae_huggingface_loader), ("transcoders", loaders.gemma_2_transcoder_huggingface_loader)):
        folder = target / f"gemma-scope-2b-pt-{suffix}"
        (folder / first).mkdir(parents=True)
        np.savez(folder / first / "params.npz", **{name: tensor.numpy() for name, tensor in arrays(lower=False).items()})
        record_sae(folder, hub_file(folder, loader, f"google/{folder.name}", first, **({"d_out": WIDTH} if suffix == "transcoders" else {})))

    for case, site in (
        ("gemma-scope-2-res", "resid_post"),
        ("gemma-scope-2-transcoder", "transcoder_all"),
        ("gemma-scope-2-affine", "transcoder_all"),
    ):
        place = f"{site}/layer_13_width_16k_l0_small{'_affine' if 'affine' in case else ''}"
        folder = target / case
        (folder / place).mkdir(parents=True)
        skip = {"affine_skip_connection": randn(WIDTH, WIDTH)} if "affine" in case else {}
        save_file(arrays(lower=True) | skip, folder / place / "params.safetensors")
        sae = hub_file(folder, loaders.gemma_3_sae_huggingface_loader, "google/gemma-scope-2-1b-pt", place)
        record_sae(folder, sae)

    folder = target / "llama-scope"
    name = "Llama3_1-8B-Base-L15R-8x"
    (folder / name / "checkpoints").mkdir(parents=True)
    decoder = randn(WIDTH, FEATURES)
    tensors = {
        "encoder.weight": randn(FEATURES, WIDTH, scale=0.5),
        "encoder.bias": randn(FEATURES),
        "decoder.weight": decoder / decoder.norm(dim=0),
        "decoder.bias": randn(WIDTH),
    }
    save_file(tensors, folder / name / "checkpoints/final.safetensors")
    settings = {
        "device": "cuda:0",
        "seed": 42,
        "dtype": "torch.bfloat16",
        "hook_point_in": "blocks.15.hook_resid_post",
        "hook_point_out": "blocks.15.hook_resid_post",
        "use_decoder_bias": True,
        "apply_decoder_bias_to_pre_encoder": False,
        "expansion_factor": 8,
        "d_model": WIDTH,
        "d_sae": FEATURES,
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.52734375,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": 17.125, "out": 17.125},
        "decoder_exactly_fixed_norm": False,
        "sparsity_include_decoder_norm": True,
        "use_glu_encoder": False,
        "top_k": 50,
    }
    (folder / name / "hyperparams.json").write_text(json.dumps(settings))
    sae = hub_file(folder, loaders.llama_scope_sae_huggingface_loader, "fnlp/Llama3_1-8B-Base-LXR-8x", name)
    factor = WIDTH**0.5 / 17.125
    sae.fold_activation_norm_scaling_factor(factor)
    # SAELens leaves the factor in the features, and lm-saes in the decoder: the reconstruction is the same.
    record(folder, lambda x: sae.encode(x) / factor, lambda _, x: sae(x))

    folder = target / "goodfire"
    folder.mkdir()
    name = "Llama-3.1-8B-Instruct-SAE-l19.pth"
    torch.save(
        {
            "encoder_linear.weight": randn(FEATURES, WIDTH),
            "encoder_linear.bias": randn(FEATURES),
            "decoder_linear.weight": randn(WIDTH, FEATURES),
            "decoder_linear.bias": randn(WIDTH),
        },
        folder / name,
    )
    record_sae(folder, hub_file(folder, loaders.get_goodfire_huggingface_loader, "Goodfire/Llama-3.1-8B-Instruct-SAE-l19", name))


def sparsify(name: str, hook: str, **settings: Any) -> None:
    from sparsify import SparseCoder, SparseCoderConfig

    made = SparseCoder(WIDTH, SparseCoderConfig(num_latents=FEATURES, k=4, **settings))
    randomise(made)
    folder = target / name
    made.save_to_disk(folder / hook)
    loaded = SparseCoder.load_from_disk(folder / hook)

    def dense(x: torch.Tensor) -> torch.Tensor:
        values, indices, _ = loaded.encode(x)
        return torch.zeros(len(x), FEATURES).scatter(1, indices, values)

    record(folder, dense, lambda _, x: loaded(x).sae_out)


def bare(package: str) -> None:
    """Make a package importable without running its `__init__`, which imports what is not installed."""
    parent, _, name = package.rpartition(".")
    paths = sys.modules[parent].__path__ if parent else sys.path
    place = next(Path(path, name) for path in paths if Path(path, name).is_dir())
    module = types.ModuleType(package)
    module.__path__ = [str(place)]
    sys.modules[package] = module


def dictionary_learning(name: str, kind: str, module: str, *arguments: Any) -> None:
    made = getattr(importlib.import_module(module), kind)(WIDTH, FEATURES, *arguments)
    randomise(made)
    if hasattr(made, "threshold") and not isinstance(made.threshold, torch.nn.Parameter):
        made.threshold.fill_(0.9)
    folder = target / name
    folder.mkdir()
    torch.save(made.state_dict(), folder / "ae.pt")
    trainer = {
        "dict_class": kind,
        "activation_dim": WIDTH,
        "dict_size": FEATURES,
        "k": 4,
        "layer": 1,
        "lm_name": "tiny",
        "submodule_name": "resid_post_layer_1",
    }
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}}))
    loaded = getattr(importlib.import_module(module), kind).from_pretrained(folder / "ae.pt")
    record(folder, loaded.encode, lambda f, _: loaded.decode(f))


def circuit_tracer(name: str, activation: Any, skip: bool) -> None:
    from circuit_tracer.transcoder.single_layer_transcoder import SingleLayerTranscoder, load_relu_transcoder

    made = SingleLayerTranscoder(WIDTH, FEATURES, activation, 2, skip_connection=skip, device=torch.device("cpu"), dtype=torch.float32)
    randomise(made)
    folder = target / name
    folder.mkdir()
    made.to_safetensors(str(folder / "layer_2.safetensors"))
    lines = (
        "model_name: meta-llama/Llama-3.2-1B",
        "model_kind: transcoder_set",
        'feature_input_hook: "mlp.hook_in"',
        'feature_output_hook: "hook_mlp_out"',
    )
    (folder / "config.yaml").write_text("\n".join(lines) + "\n")
    loaded = load_relu_transcoder(str(folder / "layer_2.safetensors"), 2, torch.device("cpu"), lazy_encoder=False, lazy_decoder=False)
    record(folder, loaded.encode, loaded.decode)


def circuit_tracer_cross_layer(name: str, activation: str) -> None:
    """One folder holds all layers; `x` and `features` have a first axis of layers, and `reconstruction` is what all write together."""
    from circuit_tracer.transcoder.cross_layer_transcoder import CrossLayerTranscoder, load_clt

    torch.manual_seed(1)
    plain: dict[str, Any] = {"device": torch.device("cpu"), "dtype": torch.float32, "lazy_decoder": False}
    made = CrossLayerTranscoder(LAYERS, FEATURES, WIDTH, activation, **plain)
    randomise(made)
    folder = target / name
    made.to_safetensors(str(folder))
    lines = (
        "model_name: google/gemma-2-2b",
        "model_kind: cross_layer_transcoder",
        'feature_input_hook: "hook_resid_mid"',
        'feature_output_hook: "hook_mlp_out"',
    )
    (folder / "config.yaml").write_text("\n".join(lines) + "\n")
    loaded = load_clt(str(folder), **plain)
    x = randn(LAYERS, TOKENS, WIDTH) * 2 + torch.linspace(-1, 2, WIDTH)
    with torch.no_grad():
        features = loaded.encode(x)
        np.savez_compressed(folder / "expected.npz", x=x.numpy(), features=features.numpy(), reconstruction=loaded.decode(features).numpy())


def of_sae_lens() -> None:
    for architecture in ("standard", "gated", "jumprelu", "transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"):
        saelens(f"saelens-{architecture}", architecture)
    for rescale in (True, False):
        saelens(f"saelens-topk{'-rescaled' if rescale else ''}", "topk", k=4, rescale_acts_by_decoder_norm=rescale)
    saelens("saelens-no-pre-bias", "standard", apply_b_dec_to_input=False)
    for norm in ("layer_norm", "constant_norm_rescale"):
        saelens(f"saelens-{norm}", "standard", normalize_activations=norm)
        saelens_old(f"saelens-5-{norm}", normalize_activations=norm)
    saelens_folded("saelens-expected_average_only_in")
    saelens_old("saelens-5-standard", normalize_activations=False)
    saelens_old("saelens-5-topk", activation_fn_str="topk", activation_fn_kwargs={"k": 4})
    saelens_old("saelens-5-gated", architecture="gated")
    saelens_old("saelens-5-jumprelu", architecture="jumprelu", apply_b_dec_to_input=False)
    published()


def of_sparsify() -> None:
    sparsify("sparsify-topk", "layers.3")
    sparsify("sparsify-groupmax", "layers.3", activation="groupmax")
    sparsify("sparsify-skip-transcoder", "layers.3.mlp", transcode=True, skip_connection=True)


def of_dictionary_learning() -> None:
    bare("dictionary_learning")
    bare("dictionary_learning.trainers")
    trainer = types.ModuleType("dictionary_learning.config")
    trainer.DEBUG = False  # type: ignore[attr-defined]
    sys.modules["dictionary_learning.config"] = trainer
    main_classes = "dictionary_learning.dictionary"
    for kind in ("AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", "JumpReluAutoEncoder"):
        dictionary_learning(f"dictionary_learning-{kind}", kind, main_classes)
    dictionary_learning("dictionary_learning-AutoEncoderTopK", "AutoEncoderTopK", "dictionary_learning.trainers.top_k", 4)
    dictionary_learning("dictionary_learning-BatchTopKSAE", "BatchTopKSAE", "dictionary_learning.trainers.batch_top_k", 4)
    matryoshka = "dictionary_learning.trainers.matryoshka_batch_top_k"
    dictionary_learning("dictionary_learning-MatryoshkaBatchTopKSAE", "MatryoshkaBatchTopKSAE", matryoshka, 4, [4, 12])


def of_circuit_tracer() -> None:
    bare("circuit_tracer")
    bare("circuit_tracer.utils")
    bare("circuit_tracer.transcoder")
    sys.modules["circuit_tracer.utils"].get_default_device = lambda: torch.device("cpu")  # type: ignore[attr-defined]
    from circuit_tracer.transcoder.activation_functions import JumpReLU

    circuit_tracer("circuit_tracer-skip", torch.nn.functional.relu, skip=True)
    circuit_tracer("circuit_tracer-jumprelu", JumpReLU(torch.zeros(FEATURES), 0.1), skip=False)
    for activation in ("relu", "jump_relu"):
        circuit_tracer_cross_layer(f"cross_layer_transcoder-{activation}", activation)


LIBRARIES = {"sae_lens": of_sae_lens, "sparsify": of_sparsify, "dictionary_learning": of_dictionary_learning, "circuit_tracer": of_circuit_tracer}


def write(folder: Path, seed: int, libraries: Sequence[str]) -> None:
    """Writes the cases of some libraries, with random weights of the seed."""
    global target
    target = folder
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    for name in libraries:
        LIBRARIES[name]()


def main() -> None:
    if GOLDEN.exists():
        shutil.rmtree(GOLDEN)
    write(GOLDEN, 0, tuple(LIBRARIES))


if __name__ == "__main__":
    main()
