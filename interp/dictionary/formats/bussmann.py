"""Dictionaries of Bussmann's BatchTopK repository: `sae.pt` beside `config.json`, which names `sae_type`.

`W_enc` [D, F]  `W_dec` [F, D]  `b_dec` [D]  `b_enc` [F], which TopK and BatchTopK ignore  `jumprelu.log_threshold` [F]

BatchTopK keeps the k largest activations a token on average over a batch, and stores no threshold: it is found on the job's corpus (see
`interp.collect.levels`).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from interp.dictionary.canonical import Canonical, DictionaryHeader, InputNorm, StoredDictionary, has_files, matrix_shape, require, whole_number
from interp.dictionary.formats.saelens import LAYER_NORM_MODELS, WRITTEN_SITES
from interp.dictionary.torchfile import read_torch, tensors_of
from interp.dictionary.weights import Floats
from interp.domain.errors import DictionaryError
from interp.domain.spec import DictionarySpec
from interp.security.bounded_json import DICTIONARY_CONFIG, read_json
from interp.security.foreign_config import Foreign, Name, brief, typed

CONFIG, WEIGHTS = "config.json", "sae.pt"
TYPES = ("vanilla", "topk", "batchtopk", "jumprelu")


class BussmannConfig(Foreign):
    """config.json; the last three settings are of the repository's first versions."""

    sae_type: Name
    top_k: int | None = None
    input_unit_norm: bool = False
    hook_point: Name | None = None
    model_name: Name | None = None
    seq_len: int | None = None
    activation: Name = "relu"
    tied_weights: bool = False
    use_encoder_bias: bool = False


def recognise(source: Path) -> bool:
    return has_files(source, WEIGHTS, CONFIG)


def read(source: Path, spec: DictionarySpec) -> StoredDictionary:
    weights = source / WEIGHTS
    raw = read_json(source / CONFIG, DictionaryError, DICTIONARY_CONFIG)
    config = typed(BussmannConfig, raw, source / CONFIG, DictionaryError, "Correct it, or name the format whose config this is.")
    if config.sae_type not in TYPES:
        raise DictionaryError(f"{source}: sae_type {brief(config.sae_type)} is not supported.", cure=f"Supported: {', '.join(TYPES)}.")
    if config.activation != "relu" or config.tied_weights or config.use_encoder_bias:
        raise DictionaryError(
            f"{source} is of the repository's first versions (activation, tied_weights or use_encoder_bias).",
            why="Their arithmetic is another one, and changed from version to version.",
            cure="Train it again with a later version, or save what it computes as a SAELens dictionary.",
        )
    tensors = tensors_of(read_torch(weights))
    d_in, n_features = matrix_shape(tensors, "W_enc", weights)
    require(tensors, ("W_dec", "b_dec", *_needed(config.sae_type)), weights)
    k = whole_number(config.top_k, "top_k", source) if config.sae_type in ("topk", "batchtopk") else None
    header = DictionaryHeader(
        format="bussmann",
        architecture=config.sae_type,
        n_features=n_features,
        d_in=d_in,
        hook_point=spec.hook_point or config.hook_point or "",
        files=(weights, source / CONFIG),
        model=config.model_name,
        config=raw,
        context=None if config.seq_len is None else whole_number(config.seq_len, "seq_len", source),
    )
    return StoredDictionary(header, tensors, lambda arrays: _convert(arrays, config, k))


def _needed(kind: str) -> tuple[str, ...]:
    return {"vanilla": ("b_enc",), "jumprelu": ("b_enc", "jumprelu.log_threshold")}.get(kind, ())


def _convert(arrays: Mapping[str, Floats], config: BussmannConfig, k: int | None) -> Canonical:
    kind, W_enc = config.sae_type, arrays["W_enc"]
    return Canonical(
        W_enc,
        arrays["b_enc"] if _needed(kind) else np.zeros(W_enc.shape[1], dtype=np.float32),
        arrays["W_dec"],
        arrays["b_dec"],
        activation="relu" if kind in ("vanilla", "batchtopk") else "topk" if kind == "topk" else "jumprelu",
        threshold=np.exp(arrays["jumprelu.log_threshold"]) if kind == "jumprelu" else None,
        k=k if kind == "topk" else None,
        batch_k=k if kind == "batchtopk" else None,
        # JumpReLU has no pre-encoder bias: `use_pre_enc_bias` is False by default.
        pre_bias=None if kind == "jumprelu" else arrays["b_dec"],
        input_norm=_input_norm(config),
    )


def _input_norm(config: BussmannConfig) -> InputNorm:
    """Return the norm of the input; HookedTransformer centred the weights of LayerNorm models."""
    if config.input_unit_norm:
        return "layer_norm"
    is_centred = (config.model_name or "").startswith(LAYER_NORM_MODELS) and (config.hook_point or "").endswith(WRITTEN_SITES)
    return "centre" if is_centred else "none"
