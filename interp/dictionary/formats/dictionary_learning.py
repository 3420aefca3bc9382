"""Dictionaries of saprmarks' dictionary_learning: `ae.pt`, and `config.json`, which names the class."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from interp.dictionary.canonical import Canonical, DictionaryHeader, Positions, StoredDictionary, divided, has_files, matrix_shape, whole_number
from interp.dictionary.torchfile import read_torch, tensors_of
from interp.dictionary.weights import Floats
from interp.domain.errors import DictionaryError
from interp.domain.spec import DictionarySpec
from interp.security.bounded_json import DICTIONARY_CONFIG, read_json
from interp.security.foreign_config import Foreign, Name, brief, typed

WEIGHTS, CONFIG = "ae.pt", "config.json"
# Outputs of modules: in Gemma 2 and 3 and OLMo 2 and 3 not yet what is added to the stream.
SITES = {"resid_post": "hook_resid_post", "mlp_out": "mlp.hook_out", "attn_out": "attn.hook_out"}

Arrays = Mapping[str, Floats]


class Trainer(Foreign):
    """Settings of the trainer; later versions store `k` with the weights."""

    dict_class: Name | None = None
    k: int | None = None
    lm_name: Name | None = None
    submodule_name: Name | None = None


class Buffer(Foreign):
    """Settings of the activations in training: rows of `ctx_len` tokens."""

    ctx_len: int | None = None
    io: Name | None = None
    remove_bos: bool | None = None
    add_special_tokens: bool | None = None
    max_activation_norm_multiple: float | None = None

    @property
    def positions(self) -> Positions:
        """Return the counted positions, as in `ActivationBuffer` (buffer.py), which cuts `hidden_states[:, 1:]`."""
        return Positions(prepend_bos=self.add_special_tokens is not False, start=1 if self.remove_bos else None)

    @property
    def reads_output(self) -> bool:
        return self.io in (None, "out")


class DictionaryLearningConfig(Foreign):
    """config.json of dictionary_learning."""

    trainer: Trainer | None = None
    buffer: Buffer | None = None


def recognise(source: Path) -> bool:
    return has_files(source, WEIGHTS, CONFIG)


def read(source: Path, spec: DictionarySpec) -> StoredDictionary:
    weights = source / WEIGHTS
    config = read_json(source / CONFIG, DictionaryError, DICTIONARY_CONFIG)
    parsed = typed(DictionaryLearningConfig, config, source / CONFIG, DictionaryError, "Correct it, or name the format whose config this is.")
    trainer, buffer = parsed.trainer or Trainer(), parsed.buffer or Buffer()
    tensors = tensors_of(read_torch(weights))
    kind = trainer.dict_class or "AutoEncoder"
    if kind not in CLASSES:
        raise DictionaryError(f"{source}: the class {brief(kind)} is not supported.", cure=f"Supported: {', '.join(CLASSES)}.")
    if "W_enc" in tensors:
        d_in, n_features = matrix_shape(tensors, "W_enc", weights)
    else:
        n_features, d_in = matrix_shape(tensors, "encoder.weight", weights)
    if kind == "AutoEncoderTopK" and "k" not in tensors:
        whole_number(trainer.k, "k", source)
    header = DictionaryHeader(
        format="dictionary_learning",
        architecture=kind,
        n_features=n_features,
        d_in=d_in,
        hook_point=spec.hook_point or _hook_point(trainer, buffer),
        files=(weights, source / CONFIG),
        model=trainer.lm_name,
        config=config,
        positions=buffer.positions,
        context=None if buffer.ctx_len is None else whole_number(buffer.ctx_len, "ctx_len", source),
        warnings=_warnings(spec, buffer),
    )
    return StoredDictionary(header, tensors, lambda arrays: CLASSES[kind](arrays, trainer))


def _warnings(spec: DictionarySpec, buffer: Buffer) -> tuple[str, ...]:
    """Return warnings of training settings that a job does not follow."""
    found = []
    if not buffer.reads_output and spec.hook_point:
        found.append(
            f"The dictionary was trained on io = {brief(buffer.io)} of its submodule, and is read at {spec.hook_point}, as the job says: "
            "that has to be the tensor that goes in."
        )
    multiple = buffer.max_activation_norm_multiple
    if multiple is not None:
        found.append(f"Training left out activations longer than {multiple:g} times the median (max_activation_norm_multiple); here they count.")
    return tuple(found)


def _hook_point(trainer: Trainer, buffer: Buffer) -> str:
    """Return the hook point of `submodule_name`, as `resid_post_layer_8`; raises DictionaryError for inputs."""
    if not buffer.reads_output:
        raise DictionaryError(
            f"The dictionary was trained on io = {brief(buffer.io)} of its submodule.",
            why="submodule_name names the submodule's output.",
            cure="Set `dictionary.hook_point` to the tensor that goes in.",
        )
    match = re.fullmatch(r"(\w+?)_layer_(\d+)", trainer.submodule_name or "")
    if match and match[1] in SITES:
        return f"blocks.{match[2]}.{SITES[match[1]]}"
    return ""


def _auto_encoder(arrays: Arrays, _: Trainer) -> Canonical:
    """Convert relu((x - bias) W + b), with a unit-norm decoder as on loading."""
    W_enc, b_enc, W_dec = arrays["encoder.weight"].T, arrays["encoder.bias"], arrays["decoder.weight"].T
    norms: Floats = np.linalg.norm(W_dec, axis=1)
    if not np.allclose(norms, 1):
        W_enc, b_enc, W_dec = W_enc * norms, b_enc * norms, divided(W_dec, norms)
    return Canonical(W_enc, b_enc, W_dec, arrays["bias"], pre_bias=arrays["bias"])


def _auto_encoder_new(arrays: Arrays, _: Trainer) -> Canonical:
    """Convert relu(x W + b), decoded by W_dec and b_dec (Conerly et al. 2024)."""
    return Canonical(arrays["encoder.weight"].T, arrays["encoder.bias"], arrays["decoder.weight"].T, arrays["decoder.bias"])


def _gated(arrays: Arrays, _: Trainer) -> Canonical:
    """Convert to JumpReLU: the gate, (x - b)W + gate_bias > 0, becomes the threshold."""
    scale: Floats = np.exp(arrays["r_mag"])
    return Canonical(
        arrays["encoder.weight"].T * scale,
        arrays["mag_bias"],
        arrays["decoder.weight"].T,
        arrays["decoder_bias"],
        activation="jumprelu",
        threshold=arrays["mag_bias"] - scale * arrays["gate_bias"],
        pre_bias=arrays["decoder_bias"],
    )


def _jump_relu(arrays: Arrays, _: Trainer) -> Canonical:
    return Canonical(arrays["W_enc"], arrays["b_enc"], arrays["W_dec"], arrays["b_dec"], activation="jumprelu", threshold=arrays["threshold"])


def _top_k(arrays: Arrays, trainer: Trainer) -> Canonical:
    stored = arrays.get("k")
    return Canonical(
        arrays["encoder.weight"].T,
        arrays["encoder.bias"],
        arrays["decoder.weight"].T,
        arrays["b_dec"],
        activation="topk",
        k=trainer.k if stored is None else _whole(stored),
        pre_bias=arrays["b_dec"],
    )


def _whole(array: Floats) -> int:
    if array.size != 1 or not float(array.reshape(-1)[0]).is_integer():
        raise ValueError("k is no whole number")
    return int(array.reshape(-1)[0])


def _batch_top_k(arrays: Arrays, _: Trainer) -> Canonical:
    """Convert with one threshold for all features at inference, strictly above."""
    return _thresholded(arrays["encoder.weight"].T, arrays["encoder.bias"], arrays["decoder.weight"].T, arrays)


def _matryoshka(arrays: Arrays, _: Trainer) -> Canonical:
    return _thresholded(arrays["W_enc"], arrays["b_enc"], arrays["W_dec"], arrays)


def _thresholded(W_enc: Floats, b_enc: Floats, W_dec: Floats, arrays: Arrays) -> Canonical:
    threshold = np.broadcast_to(arrays["threshold"], b_enc.shape).astype(np.float32)
    if (threshold < 0).any():
        raise DictionaryError(
            "The BatchTopK threshold is negative: it was never set in training.",
            why="Without it a token's activations depend on the tokens beside it.",
            cure="Use a checkpoint from later in training.",
        )
    return Canonical(W_enc, b_enc, W_dec, arrays["b_dec"], activation="jumprelu", threshold=threshold, pre_bias=arrays["b_dec"])


CLASSES: dict[str, Callable[[Arrays, Trainer], Canonical]] = {
    "AutoEncoder": _auto_encoder,
    "AutoEncoderNew": _auto_encoder_new,
    "GatedAutoEncoder": _gated,
    "JumpReluAutoEncoder": _jump_relu,
    "AutoEncoderTopK": _top_k,
    "BatchTopKSAE": _batch_top_k,
    "MatryoshkaBatchTopKSAE": _matryoshka,
}
