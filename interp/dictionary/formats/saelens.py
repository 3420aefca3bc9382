"""Dictionaries of SAELens, before and since 6.0: `cfg.json` beside `sae_weights.safetensors`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from interp.dictionary.canonical import (
    Activation,
    Canonical,
    DictionaryHeader,
    InputNorm,
    Positions,
    StoredDictionary,
    divided,
    has_files,
    matrix_shape,
    require,
    whole_number,
)
from interp.dictionary.weights import Floats, read_safetensors
from interp.domain.errors import DictionaryError
from interp.domain.spec import DictionarySpec
from interp.security.bounded_json import DICTIONARY_CONFIG, read_json
from interp.security.foreign_config import FirstError, Foreign, Index, Name, brief, typed

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
# Models with LayerNorm, whose writing weights HookedTransformer centred by default, and the sites of their output.
LAYER_NORM_MODELS = ("gpt2", "pythia", "EleutherAI/pythia", "gpt-neo", "tiny-stories", "opt-", "gelu-", "attn-only")
WRITTEN_SITES = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_mlp_out", "hook_attn_out")

Bound = Annotated[int, Field(gt=-(2**31), lt=2**31)]
CURE = "Correct it in cfg.json, or save the dictionary again with SAELens."


class Loading(Foreign):
    """Settings of the subject in training."""

    center_writing_weights: bool | None = None


class Metadata(Foreign):
    """Settings of a dictionary's training."""

    model_name: Name | None = None
    hook_name: Name | None = None
    hook_name_out: Name | None = None
    hf_hook_name: Name | None = None
    hook_head_index: Index | None = None
    model_from_pretrained_kwargs: Loading | None = None
    norm_scaling_factor: float | None = None
    context_size: int | None = None
    prepend_bos: bool | None = None
    exclude_special_tokens: bool | Annotated[list[Index], FirstError()] | None = None
    seqpos_slice: Annotated[list[Bound | None], Field(max_length=3)] | None = None

    @property
    def hook_point(self) -> str:
        """Return the hook point; `hook_mlp_in` is the norm's input, or its output by `hf_hook_name`."""
        place, _, site = (self.hook_name or "").rpartition(".")
        if site != "hook_mlp_in":
            return self.hook_name or ""
        # SAELens names Gemma Scope 2's transcoders so, and adds the module of transformers that they were trained on.
        return f"{place}.mlp.hook_in" if (self.hf_hook_name or "").endswith("layernorm.output") else f"{place}.hook_resid_mid"

    @property
    def positions(self) -> Positions:
        """Return the counted positions, as `ActivationsStore` (training/activations_store.py) does; raises DictionaryError."""
        bounds = self.seqpos_slice or []
        # As in Python, a slice of one number is its stop.
        start, stop, step = (None, *bounds, None) if len(bounds) == 1 else (*bounds, None, None, None)[:3]
        if step is not None and step < 1:
            raise DictionaryError(f"The dictionary's seqpos_slice {bounds} has no positive step.", cure=CURE)
        excluded = self.exclude_special_tokens if isinstance(self.exclude_special_tokens, list) else []
        return Positions(self.prepend_bos is not False, tuple(sorted(set(excluded))), start, stop, step)


class SaeLensConfig(Foreign):
    """cfg.json since SAELens 6."""

    architecture: Name
    metadata: Metadata
    k: int | float | None = None
    apply_b_dec_to_input: bool | None = True
    normalize_activations: Name | bool | None = None
    norm_scaling_factor: float | None = None
    rescale_acts_by_decoder_norm: bool | None = None


class Activations(Foreign):
    """Settings of an older config's activation function."""

    k: int | None = None


class OldConfig(Foreign):
    """Settings of cfg.json before SAELens 6 that are translated."""

    architecture: Name | None = None
    activation_fn_str: Name | None = None
    activation_fn: Name | None = None
    activation_fn_kwargs: Activations | None = None
    normalize_activations: Name | bool | None = None
    hook_name: Name | None = None
    hook_point: Name | None = None
    model_name: Name | None = None


def recognise(source: Path) -> bool:
    return has_files(source, CONFIG, WEIGHTS)


def read(source: Path, spec: DictionarySpec) -> StoredDictionary:
    weights = source / WEIGHTS
    raw = read_json(source / CONFIG, DictionaryError, DICTIONARY_CONFIG)
    content = modern(raw, source)
    if spec.norm_scaling_factor is not None:
        content |= {"norm_scaling_factor": spec.norm_scaling_factor}
    config = typed(SaeLensConfig, content, source / CONFIG, DictionaryError, CURE)
    tensors = read_safetensors(weights)
    architecture, metadata = config.architecture, config.metadata
    if architecture in TRAINING_ONLY:
        raise DictionaryError(
            f"{source} is a training checkpoint ({architecture}).",
            why="Its threshold at inference is not in it.",
            cure="Export it with `save_inference_model`, which gives a JumpReLU dictionary.",
        )
    if architecture not in ACTIVATIONS:
        raise DictionaryError(
            f"{source}: the SAELens architecture {brief(architecture)} is not supported.",
            why="It is not of the form act(x W + b).",
            cure=f"Supported: {', '.join(ACTIVATIONS)}.",
        )
    d_in, n_features = matrix_shape(tensors, "W_enc", weights)
    needed = ("b_gate", "b_mag", "r_mag") if architecture == "gated" else ("b_enc", "threshold") if "jumprelu" in architecture else ("b_enc",)
    require(tensors, ("W_dec", "b_dec", *needed, *(("W_skip",) if "skip" in architecture else ())), weights)
    k = whole_number(config.k, "k", source) if ACTIVATIONS[architecture] == "topk" else None
    head = "" if metadata.hook_head_index is None else f"[{metadata.hook_head_index}]"
    header = DictionaryHeader(
        format="saelens",
        architecture=architecture,
        n_features=n_features,
        d_in=d_in,
        hook_point=f"{metadata.hook_point}{head}" if metadata.hook_name else "",
        output_point=metadata.hook_name_out if "transcoder" in architecture else None,
        files=(weights, source / CONFIG),
        model=metadata.model_name,
        config=content,
        positions=metadata.positions,
        context=metadata.context_size,
        warnings=_warnings(raw, metadata),
    )
    input_norm = _input_norm(config, source)
    return StoredDictionary(header, tensors, lambda arrays: _convert(arrays, config, input_norm, k))


def modern(config: dict[str, Any], source: Path) -> dict[str, Any]:
    """Return a config in SAELens 6's form, with its loader's defaults; raises DictionaryError."""
    if "metadata" in config:
        return {"architecture": "standard", **config}
    old = typed(OldConfig, config, source / CONFIG, DictionaryError, CURE)
    activation = old.activation_fn_str or old.activation_fn
    hook_name = old.hook_name or old.hook_point or ""
    model = old.model_name or ""
    # Before SAELens recorded how it loaded the model, it used HookedTransformer with its defaults.
    centred = model.startswith(LAYER_NORM_MODELS) and hook_name.endswith(WRITTEN_SITES)
    return {
        "architecture": "topk" if activation == "topk" else old.architecture or "standard",
        "d_in": config.get("d_in"),
        "d_sae": config.get("d_sae"),
        "k": old.activation_fn_kwargs.k if old.activation_fn_kwargs else None,
        "apply_b_dec_to_input": config.get("apply_b_dec_to_input", True),
        "normalize_activations": "expected_average_only_in" if old.normalize_activations is True else old.normalize_activations or "none",
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


def _warnings(raw: dict[str, Any], metadata: Metadata) -> tuple[str, ...]:
    is_unknown = "metadata" not in raw and not raw.get("model_from_pretrained_kwargs")
    if is_unknown and (metadata.hook_name or "").endswith("attn.hook_z"):
        return (
            "The dictionary's config is from before SAELens wrote down how it loaded the model. HookedTransformer's defaults of that time folded the "
            "value biases out of attn.hook_z; here, as in SAELens 6, they are in it. Where the subject has value biases (GPT-2, Pythia), "
            "activations may differ from those it was trained on.",
        )
    return ()


def _input_norm(config: SaeLensConfig, source: Path) -> InputNorm:
    norm = config.normalize_activations or "none"
    if norm == "expected_average_only_in" and _scaling(config):
        return "none"
    if norm not in NORMS:
        raise DictionaryError(
            f"{source}: its input is normalised by {brief(norm)}, which is not folded into the weights.",
            why="The factor that belongs to it is not in the files.",
            cure="Set `dictionary.norm_scaling_factor`; or fold it in SAELens (`sae.fold_activation_norm_scaling_factor(factor)`, or the whitening) "
            "and save the dictionary again.",
        )
    loaded = config.metadata.model_from_pretrained_kwargs
    if loaded is not None and loaded.center_writing_weights:
        if NORMS[norm] == "unit_scale":
            raise DictionaryError(f"{source}: a centred input with constant_norm_rescale is not supported.", cure="Save it without the rescaling.")
        return "centre" if norm == "none" else NORMS[norm]
    return NORMS[norm]


def _scaling(config: SaeLensConfig) -> float | None:
    return config.norm_scaling_factor or config.metadata.norm_scaling_factor or None


def _convert(arrays: Mapping[str, Floats], config: SaeLensConfig, input_norm: InputNorm, k: int | None) -> Canonical:
    W_enc, W_dec, b_dec = arrays["W_enc"], arrays["W_dec"], arrays["b_dec"]
    architecture = config.architecture
    activation = ACTIVATIONS[architecture]
    threshold = arrays.get("threshold") if "jumprelu" in architecture else None
    if architecture == "gated":
        # pi = x W + b_gate > 0 is the same as x W e^r + b_mag > b_mag - e^r b_gate.
        scale: Floats = np.exp(arrays["r_mag"])
        W_enc, b_enc, threshold = W_enc * scale, arrays["b_mag"], arrays["b_mag"] - scale * arrays["b_gate"]
    else:
        b_enc = arrays["b_enc"]
    if config.rescale_acts_by_decoder_norm:
        norms: Floats = np.linalg.norm(W_dec, axis=1)
        W_enc, b_enc, W_dec = W_enc * norms, b_enc * norms, divided(W_dec, norms)
    for name in ("scaling_factor", "finetuning_scaling_factor"):
        if name in arrays:
            W_dec = W_dec * arrays[name][:, None]
    factor = _scaling(config) if config.normalize_activations == "expected_average_only_in" else None
    if factor:
        W_enc, W_dec, b_dec = W_enc * np.float32(factor), W_dec / np.float32(factor), b_dec / np.float32(factor)
    return Canonical(
        W_enc=W_enc,
        b_enc=b_enc,
        W_dec=W_dec,
        b_dec=b_dec,
        activation=activation,
        threshold=threshold,
        k=k,
        pre_bias=b_dec if config.apply_b_dec_to_input and "transcoder" not in architecture else None,
        W_skip=arrays["W_skip"].T if "skip" in architecture else None,
        input_norm=input_norm,
    )
