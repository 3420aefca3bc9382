"""Crosscoders (Lindsey et al. 2024), which read and write several hook points of one subject.

`encoder.weight` [L, D, F] `encoder.bias` [F] `decoder.weight` [L, F, D] `decoder.bias` [L, D], perhaps `threshold`   CrossCoder, BatchTopKCrossCoder
`W_enc` [L, D, F] `b_enc` [F] `W_dec` [F, L, D] `b_dec` [L, D]                                                         Nanda's, Kissane's

in `ae.pt`, `model.safetensors` or another file of these two kinds. The sum of L encoders is one encoder of the concatenated activations. No file
names the L hook points, and crosscoders that compare L models have the same shapes: the job names the hook points.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from interp.dictionary.canonical import Canonical, DictionaryHeader, StoredDictionary, require
from interp.dictionary.torchfile import read_torch, tensors_of
from interp.dictionary.weights import Floats, StoredTensor, read_safetensors
from interp.domain.errors import DictionaryError
from interp.domain.spec import DictionarySpec
from interp.security import allowed_files
from interp.security.bounded_json import DICTIONARY_CONFIG, read_json
from interp.security.foreign_config import Foreign, Name, typed
from interp.subject.hooks import points_of

WEIGHTS = ("ae.pt", "model.safetensors", "model.pt")
CONFIGS = ("config.json", "cfg.json")
NAMES = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
OTHER_NAMES = dict(zip(("W_enc", "b_enc", "W_dec", "b_dec"), NAMES, strict=True))
# The values of `code_normalization_id`: by which norm of a feature's decoders BatchTopKCrossCoder multiplies it before its threshold.
SUM_OF_NORMS, NORM_OF_ALL, NO_NORM = 1, 2, 4


class CrosscoderConfig(Foreign):
    """Settings that name the one hook point at which several models are compared."""

    hook_point: Name | None = None
    model_name: Name | None = None


def recognise(source: Path) -> bool:
    weights = _weights(source)
    # A file that cannot be read is another family's to tell.
    with suppress(DictionaryError, KeyError):
        return weights is not None and len(_tensors(weights)["encoder.weight"].shape) == 3
    return False


def read(source: Path, spec: DictionarySpec) -> StoredDictionary:
    weights = _weights(source)
    if weights is None:
        raise DictionaryError(f"{source} holds none of {', '.join(WEIGHTS)}.", cure="Give the crosscoder's folder, or its file of weights.")
    tensors = _tensors(weights)
    require(tensors, NAMES, weights)
    shape = tensors["encoder.weight"].shape
    if len(shape) != 3 or 0 in shape:
        raise DictionaryError(f"{weights}: the encoder is {list(shape)}, not [sites, width, features].", cure="Name the dictionary's own format.")
    sites, width, n_features = shape
    config = next((weights.parent / name for name in CONFIGS if allowed_files.is_file(weights.parent / name)), None)
    raw = read_json(config, DictionaryError, DICTIONARY_CONFIG) if config else {}
    settings = typed(CrosscoderConfig, raw, config or weights, DictionaryError, "Correct it, or name the format whose config this is.")
    _check_sites(source, spec.hook_point, settings.hook_point, sites)
    header = DictionaryHeader(
        format="crosscoder",
        architecture="batchtopk_crosscoder" if "threshold" in tensors else "crosscoder",
        n_features=n_features,
        d_in=sites * width,
        hook_point=spec.hook_point or "",
        files=(weights, *((config,) if config else ())),
        model=settings.model_name,
        config=raw,
    )
    return StoredDictionary(header, tensors, _convert)


def _check_sites(source: Path, named: str | None, compared: str | None, sites: int) -> None:
    """Raise DictionaryError unless the job names one hook point for each encoder."""
    if compared and sites > 1:
        raise DictionaryError(
            f"{source} compares {sites} models.",
            why=f"Its config names one hook point, {compared}, for {sites} encoders; a job has one subject.",
            cure="Use a crosscoder of several hook points of one model.",
        )
    if named is None or len(points_of(named)) != sites:
        raise DictionaryError(
            f"{source} reads {sites} hook points, the job names {len(points_of(named)) if named else 'none'}.",
            why="No file says which they are. A crosscoder that compares models, with an encoder for each, cannot be used: a job has one subject.",
            cure="Set `dictionary.hook_point` to all of them, joined by +: blocks.0.hook_resid_post+blocks.1.hook_resid_post.",
        )


def _convert(arrays: Mapping[str, Floats]) -> Canonical:
    encoder, decoder = arrays["encoder.weight"], arrays["decoder.weight"]
    sites, width, n_features = encoder.shape
    if decoder.shape == (sites, n_features, width):
        decoder = decoder.transpose(1, 0, 2)
    if decoder.shape != (n_features, sites, width):
        raise ValueError(f"the decoder is {list(decoder.shape)} for an encoder {list(encoder.shape)}")
    threshold = _threshold(arrays, decoder) if "threshold" in arrays else None
    return Canonical(
        encoder.reshape(sites * width, n_features),
        arrays["encoder.bias"],
        decoder.reshape(n_features, sites * width),
        arrays["decoder.bias"].reshape(-1),
        activation="relu" if threshold is None else "jumprelu",
        threshold=threshold,
    )


def _threshold(arrays: Mapping[str, Floats], decoder: Floats) -> Floats:
    """Return thresholds float32 [F]; the stored one is of features times decoder norms."""
    stored, kind = arrays["threshold"], arrays.get("code_normalization_id")
    code = SUM_OF_NORMS if kind is None else int(kind.reshape(-1)[0])
    if stored.size != 1 or code not in (SUM_OF_NORMS, NORM_OF_ALL, NO_NORM):
        raise ValueError("its features have a threshold at each hook point, or a mixed norm")
    if float(stored.reshape(-1)[0]) < 0:
        raise DictionaryError(
            "The crosscoder's threshold is negative: it was never set in training.",
            why="Without it a token's activations depend on the tokens beside it.",
            cure="Use a checkpoint from later in training.",
        )
    each = np.linalg.norm(decoder, axis=2)
    norm: Floats = (
        each.sum(axis=1) if code == SUM_OF_NORMS else np.linalg.norm(each, axis=1) if code == NORM_OF_ALL else np.ones(len(each), np.float32)
    )
    # A feature that writes nothing never passes.
    threshold: Floats = np.where(norm == 0, np.finfo(np.float32).max, stored.reshape(-1)[0] / np.where(norm == 0, 1, norm)).astype(np.float32)
    return threshold


def _weights(source: Path) -> Path | None:
    if allowed_files.is_file(source):
        return source if source.suffix in (".pt", ".safetensors") else None
    return next((source / name for name in WEIGHTS if allowed_files.is_file(source / name)), None)


def _tensors(weights: Path) -> dict[str, StoredTensor]:
    stored: Any = read_safetensors(weights) if weights.suffix == ".safetensors" else tensors_of(read_torch(weights))
    return {OTHER_NAMES.get(name, name): tensor for name, tensor in stored.items()}
