"""Dictionaries of Llama Scope (He et al. 2024): `hyperparams.json` and `checkpoints/final.safetensors`.

`encoder.weight` [F, D]  `encoder.bias` [F]  `decoder.weight` [D, F]  `decoder.bias` [D]

Training scaled inputs to a mean norm of sqrt(D) over the data set, and outputs likewise. The factors are folded into the weights as the release's own
library (OpenMOSS lm-saes) does for inference: biases and decoder first, then the decoder's norms, and only then does the threshold apply. It is one
number for all features. Transcoders (`LXTC`) read `ln2.hook_normalized`, before the norm's gain: their mean norm in is sqrt(D).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from interp.dictionary.canonical import (
    Activation,
    Canonical,
    DictionaryHeader,
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
from interp.security.foreign_config import Foreign, Name, brief, typed

CONFIG, WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
CURE = "Correct it in hyperparams.json, or fetch the dictionary again."


class Hyperparams(Foreign):
    """hyperparams.json of Llama Scope."""

    hook_point_in: Name
    hook_point_out: Name | None = None
    act_fn: Name = "jumprelu"
    jump_relu_threshold: float = 0
    top_k: int | None = None
    norm_activation: Name = "dataset-wise"
    dataset_average_activation_norm: dict[Name, float] | None = None
    sparsity_include_decoder_norm: bool = True
    use_decoder_bias: bool = True
    apply_decoder_bias_to_pre_encoder: bool = False
    use_glu_encoder: bool = False


def recognise(source: Path) -> bool:
    return has_files(source, CONFIG, WEIGHTS)


def read(source: Path, spec: DictionarySpec) -> StoredDictionary:
    weights = source / WEIGHTS
    raw = read_json(source / CONFIG, DictionaryError, DICTIONARY_CONFIG)
    config = typed(Hyperparams, raw, source / CONFIG, DictionaryError, CURE)
    tensors = read_safetensors(weights)
    n_features, d_in = matrix_shape(tensors, "encoder.weight", weights)
    require(tensors, ("encoder.bias", "decoder.weight", *(("decoder.bias",) if config.use_decoder_bias else ())), weights)
    activation = _activation(config, source)
    k = whole_number(config.top_k, "top_k", source) if activation == "topk" else None
    factors = _factors(config, d_in, source)
    is_transcoder = config.hook_point_out not in (None, config.hook_point_in)
    header = DictionaryHeader(
        format="llama_scope",
        architecture=f"{activation}_transcoder" if is_transcoder else activation,
        n_features=n_features,
        d_in=d_in,
        hook_point=spec.hook_point or config.hook_point_in,
        output_point=config.hook_point_out if is_transcoder else None,
        files=(weights, source / CONFIG),
        model="Llama-3.1-8B" if source.absolute().name.startswith("Llama3_1-8B-Base-") else None,
        config=raw,
    )
    return StoredDictionary(header, tensors, lambda arrays: _convert(arrays, config, activation, k, factors))


def _activation(config: Hyperparams, source: Path) -> Activation:
    if config.use_glu_encoder:
        raise DictionaryError(
            f"{source} has a gated linear unit as encoder.", why="It is not of the form act(x W + b).", cure="Use another dictionary."
        )
    # lm-saes turns TopK with a threshold into JumpReLU for inference.
    if config.act_fn == "jumprelu" or (config.act_fn == "topk" and config.jump_relu_threshold > 0):
        return "jumprelu"
    if config.act_fn == "relu":
        return "relu"
    if config.act_fn == "topk":
        return "topk"
    raise DictionaryError(f"{source}: the activation {brief(config.act_fn)} is not known.", cure="Known: jumprelu, topk, relu.")


def _factors(config: Hyperparams, d_in: int, source: Path) -> tuple[float, float]:
    """Return the factors by which training scaled inputs and outputs; raises DictionaryError."""
    if config.norm_activation == "inference":
        return 1.0, 1.0
    norms = config.dataset_average_activation_norm or {}
    found = norms.get("in", 0), norms.get("out", 0)
    if config.norm_activation != "dataset-wise" or not all(norm > 0 for norm in found):
        raise DictionaryError(
            f"{source}: norm_activation = {brief(config.norm_activation)} without positive mean norms `in` and `out`.",
            why="Activations and thresholds would be off by an unknown factor.",
            cure="Set dataset_average_activation_norm in hyperparams.json to the values of training.",
        )
    return d_in**0.5 / found[0], d_in**0.5 / found[1]


def _convert(arrays: Mapping[str, Floats], config: Hyperparams, activation: Activation, k: int | None, factors: tuple[float, float]) -> Canonical:
    scale_in, scale_out = np.float32(factors[0]), np.float32(factors[1])
    W_enc, b_enc = arrays["encoder.weight"].T, arrays["encoder.bias"] / scale_in
    W_dec = arrays["decoder.weight"].T * (scale_in / scale_out)
    b_dec = arrays["decoder.bias"] / scale_out if config.use_decoder_bias else np.zeros(W_dec.shape[1], dtype=np.float32)
    if config.sparsity_include_decoder_norm:
        norms: Floats = np.linalg.norm(W_dec, axis=1)
        W_enc, b_enc, W_dec = W_enc * norms, b_enc * norms, divided(W_dec, norms)
    return Canonical(
        W_enc,
        b_enc,
        W_dec,
        b_dec,
        activation=activation,
        threshold=np.full(len(b_enc), config.jump_relu_threshold, dtype=np.float32) if activation == "jumprelu" else None,
        k=k,
        pre_bias=b_dec if config.apply_decoder_bias_to_pre_encoder and config.use_decoder_bias else None,
    )
