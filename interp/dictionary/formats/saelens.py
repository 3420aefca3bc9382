"""SAELens: `cfg.json` beside `sae_weights.safetensors`; both the form since 6.0 and the one before."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from interp.dictionary.canonical import Activation, Canonical, Header, InputNorm, Reading, matrix_shape, require, whole_number
from interp.dictionary.positions import saelens_positions
from interp.dictionary.weights import Floats, read_safetensors
from interp.errors import DictionaryError
from interp.spec import DictionarySpec
from interp.subject.shape import read_json

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"

ACTIVATIONS: dict[str, Activation] = {
    "standard": "relu",
    "gated": "jumprelu",
    "jumprelu": "jumprelu",
    "topk": "topk",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
TRAINING_ONLY = ("batchtopk", "matryoshka_batchtopk", "matryoshka")
NORMS: dict[str, InputNorm] = {"none": "none", "layer_norm": "layer_norm", "constant_norm_rescale": "unit_scale"}
# Models with LayerNorm, whose writing weights HookedTransformer centred unless told otherwise; and the sites that they write to.
LAYER_NORM_MODELS = ("gpt2", "pythia", "EleutherAI/pythia", "gpt-neo", "tiny-stories", "opt-", "gelu-", "attn-only")
WRITTEN_SITES = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_mlp_out", "hook_attn_out")


def recognise(source: Path) -> bool:
    return source.is_dir() and (source / CONFIG).is_file() and (source / WEIGHTS).is_file()


def read(source: Path, spec: DictionarySpec) -> Reading:  # noqa: ARG001
    weights = source / WEIGHTS
    raw = read_json(source / CONFIG, DictionaryError)
    config = modern(raw)
    tensors = read_safetensors(weights)
    architecture = config["architecture"]
    if architecture in TRAINING_ONLY:
        raise DictionaryError(
            f"{source} is a training checkpoint ({architecture}).",
            why="Its threshold at inference is not in it.",
            cure="Export it with `save_inference_model`, which gives a JumpReLU dictionary.",
        )
    if architecture not in ACTIVATIONS:
        raise DictionaryError(
            f"{source}: the SAELens architecture {architecture!r} is not supported.",
            why="It is not of the form act(x W + b).",
            cure=f"Supported: {', '.join(ACTIVATIONS)}.",
        )
    width, features = matrix_shape(tensors, "W_enc", weights)
    needed = ("b_gate", "b_mag", "r_mag") if architecture == "gated" else ("b_enc", "threshold") if "jumprelu" in architecture else ("b_enc",)
    require(tensors, ("W_dec", "b_dec", *needed, *(("W_skip",) if "skip" in architecture else ())), weights)
    if ACTIVATIONS[architecture] == "topk":
        whole_number(config.get("k"), "k", source)
    metadata = config["metadata"]
    if not isinstance(metadata, dict):
        raise DictionaryError(f"{source}: metadata is no object.", cure="Save the dictionary again with SAELens.")
    if metadata.get("hook_head_index") is not None:
        raise DictionaryError(
            f"{source} reads one attention head.", why="Only all heads together can be read.", cure="Use a dictionary of attn.hook_z."
        )
    header = Header(
        format="saelens",
        architecture=architecture,
        features=features,
        width=width,
        hook_point=metadata.get("hook_name") or "",
        files=(weights, source / CONFIG),
        model=metadata.get("model_name"),
        config=config,
        positions=saelens_positions(metadata),
        warnings=_warnings(raw, metadata),
    )
    input_norm = _input_norm(config, source)
    return Reading(header, tensors, lambda arrays: _convert(arrays, config, input_norm))


def modern(config: dict[str, Any]) -> dict[str, Any]:
    """A config in the form since SAELens 6; the names and defaults of older ones are those that its own loader gives them."""
    if "metadata" in config:
        return {"architecture": "standard", **config}
    activation = config.get("activation_fn_str") or config.get("activation_fn")
    k = (config.get("activation_fn_kwargs") or {}).get("k")
    norm = config.get("normalize_activations")
    hook_name = config.get("hook_name") or config.get("hook_point") or ""
    model = config.get("model_name") or ""
    # Until SAELens wrote down how it loaded the model, that was HookedTransformer with its defaults.
    centred = model.startswith(LAYER_NORM_MODELS) and hook_name.endswith(WRITTEN_SITES)
    return {
        "architecture": "topk" if activation == "topk" else config.get("architecture") or "standard",
        "d_in": config.get("d_in"),
        "d_sae": config.get("d_sae"),
        "k": k,
        "apply_b_dec_to_input": config.get("apply_b_dec_to_input", True),
        "normalize_activations": {None: "none", False: "none", True: "expected_average_only_in"}.get(norm, norm),
        "norm_scaling_factor": config.get("norm_scaling_factor"),
        "metadata": {
            "model_name": model or None,
            "hook_name": hook_name,
            "hook_head_index": config.get("hook_head_index", config.get("hook_point_head_index")),
            "prepend_bos": config.get("prepend_bos", True),
            "context_size": config.get("context_size"),
            "exclude_special_tokens": config.get("exclude_special_tokens"),
            "seqpos_slice": config.get("seqpos_slice"),
            "model_from_pretrained_kwargs": config.get("model_from_pretrained_kwargs") or {"center_writing_weights": centred},
        },
    }


def _warnings(raw: dict[str, Any], metadata: dict[str, Any]) -> tuple[str, ...]:
    untold = "metadata" not in raw and not raw.get("model_from_pretrained_kwargs")
    if untold and str(metadata.get("hook_name")).endswith("attn.hook_z"):
        return (
            "The dictionary's config is from before SAELens wrote down how it loaded the model. HookedTransformer's defaults of that time folded the "
            "value biases out of attn.hook_z; here, as in SAELens 6, they are in it. Where the subject has value biases (GPT-2, Pythia), "
            "activations may differ from those it was trained on.",
        )
    return ()


def _input_norm(config: dict[str, Any], source: Path) -> InputNorm:
    norm = config.get("normalize_activations") or "none"
    if norm == "expected_average_only_in" and _scaling(config):
        return "none"
    if norm not in NORMS:
        raise DictionaryError(
            f"{source}: its input is normalised by {norm!r}, which is not folded into the weights.",
            why="The factor that belongs to it is not in the files.",
            cure="Call `sae.fold_activation_norm_scaling_factor(factor)` (or fold the whitening) in SAELens and save it again.",
        )
    if (config["metadata"].get("model_from_pretrained_kwargs") or {}).get("center_writing_weights"):
        if NORMS[norm] == "unit_scale":
            raise DictionaryError(f"{source}: a centred input with constant_norm_rescale is not supported.", cure="Save it without the rescaling.")
        return "centre" if norm == "none" else NORMS[norm]
    return NORMS[norm]


def _scaling(config: dict[str, Any]) -> float | None:
    factor = config.get("norm_scaling_factor") or config["metadata"].get("norm_scaling_factor")
    return float(factor) if factor else None


def _convert(arrays: Mapping[str, Floats], config: dict[str, Any], input_norm: InputNorm) -> Canonical:
    W_enc, W_dec, b_dec = arrays["W_enc"], arrays["W_dec"], arrays["b_dec"]
    architecture = config["architecture"]
    activation = ACTIVATIONS[architecture]
    threshold = arrays.get("threshold") if "jumprelu" in architecture else None
    if architecture == "gated":
        # pi = x W + b_gate > 0 is the same as x W e^r + b_mag > b_mag - e^r b_gate.
        scale: Floats = np.exp(arrays["r_mag"])
        W_enc, b_enc, threshold = W_enc * scale, arrays["b_mag"], arrays["b_mag"] - scale * arrays["b_gate"]
    else:
        b_enc = arrays["b_enc"]
    if config.get("rescale_acts_by_decoder_norm"):
        norms: Floats = np.linalg.norm(W_dec, axis=1)
        W_enc, b_enc, W_dec = W_enc * norms, b_enc * norms, W_dec / norms[:, None]
    for name in ("scaling_factor", "finetuning_scaling_factor"):
        if name in arrays:
            W_dec = W_dec * arrays[name][:, None]
    factor = _scaling(config) if config.get("normalize_activations") == "expected_average_only_in" else None
    if factor:
        W_enc, W_dec, b_dec = W_enc * np.float32(factor), W_dec / np.float32(factor), b_dec / np.float32(factor)
    return Canonical(
        W_enc=W_enc,
        b_enc=b_enc,
        W_dec=W_dec,
        b_dec=b_dec,
        activation=activation,
        threshold=threshold,
        k=config.get("k") if activation == "topk" else None,
        pre_bias=b_dec if config.get("apply_b_dec_to_input", True) and "transcoder" not in architecture else None,
        W_skip=arrays["W_skip"].T if "skip" in architecture else None,
        input_norm=input_norm,
    )
