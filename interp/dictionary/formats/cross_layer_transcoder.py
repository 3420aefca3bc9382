"""Cross-layer transcoders as circuit-tracer keeps them.

Features of one layer write to the output of its MLP, and of all later ones.

`W_enc_3.safetensors`  `W_enc_3` [F, D]  `b_enc_3` [F]  `b_dec_3` [D], perhaps `threshold_3` [F]
`W_dec_3.safetensors`  `W_dec_3` [F, layers - 3, D]
`config.yaml`          `feature_input_hook`, `feature_output_hook`, `model_name`

The layer is that of `dictionary.hook_point`, or of the `W_enc_3.safetensors` that is named as source. The bias of a layer's output belongs to the
features of that layer, so that the sum over all layers' dictionaries is the transcoder's output.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from interp.dictionary.canonical import Canonical, DictionaryHeader, StoredDictionary, has_files, matrix_shape, require
from interp.dictionary.formats.circuit_tracer import CONFIG, check_thresholds, settings_of
from interp.dictionary.weights import Floats, read_safetensors
from interp.domain.errors import DictionaryError
from interp.domain.spec import DictionarySpec
from interp.security import allowed_files
from interp.subject import hooks

# What circuit-tracer's `load_clt` takes by default.
READS, WRITES = "hook_resid_mid", "hook_mlp_out"


def recognise(source: Path) -> bool:
    return has_files(_folder(source), "W_enc_0.safetensors", "W_dec_0.safetensors")


def read(source: Path, spec: DictionarySpec) -> StoredDictionary:
    folder = _folder(source)
    settings = settings_of(folder / CONFIG)
    reads, writes = settings.get("feature_input_hook", READS), settings.get("feature_output_hook", WRITES)
    layer = _layer(source, folder, spec, reads)
    encoder, decoder = folder / f"W_enc_{layer}.safetensors", folder / f"W_dec_{layer}.safetensors"
    stored = read_safetensors(encoder) | read_safetensors(decoder)
    tensors = {re.sub(rf"_{layer}$", "", name): tensor for name, tensor in stored.items()}
    require(tensors, ("W_enc", "W_dec", "b_enc", "b_dec"), encoder)
    n_features, d_in = matrix_shape(tensors, "W_enc", encoder)
    shape = tensors["W_dec"].shape
    if len(shape) != 3 or shape[0] != n_features or not shape[1]:
        raise DictionaryError(f"{decoder}: W_dec is {list(shape)}, not [{n_features}, layers, width].", cure="Fetch the files again.")
    header = DictionaryHeader(
        format="cross_layer_transcoder",
        architecture="jumprelu_cross_layer_transcoder" if "threshold" in tensors else "cross_layer_transcoder",
        n_features=n_features,
        d_in=d_in,
        hook_point=spec.hook_point or f"blocks.{layer}.{reads}",
        output_point="+".join(f"blocks.{written}.{writes}" for written in range(layer, layer + shape[1])),
        files=(encoder, decoder, *((folder / CONFIG,) if settings else ())),
        model=settings.get("model_name"),
    )
    return StoredDictionary(header, tensors, _convert)


def _convert(arrays: Mapping[str, Floats]) -> Canonical:
    decoder, threshold = arrays["W_dec"], arrays.get("threshold")
    check_thresholds(threshold)
    n_features, layers, width = decoder.shape
    bias = np.zeros(layers * width, dtype=np.float32)
    bias[:width] = arrays["b_dec"]
    return Canonical(
        arrays["W_enc"].T,
        arrays["b_enc"],
        decoder.reshape(n_features, layers * width),
        bias,
        activation="relu" if threshold is None else "jumprelu",
        threshold=threshold,
    )


def _layer(source: Path, folder: Path, spec: DictionarySpec, reads: str) -> int:
    """Return the layer whose features are read; raises DictionaryError, which lists them all."""
    layers = sorted(int(match[1]) for name in allowed_files.names_in(folder) if (match := re.fullmatch(r"W_enc_(\d{1,4})\.safetensors", name)))
    named = re.fullmatch(r"W_enc_(\d{1,4})\.safetensors", source.name)
    asked = re.match(r"blocks\.(\d{1,4})\.", hooks.canonical(spec.hook_point or ""))
    layer = int(asked[1]) if asked else int(named[1]) if named else layers[0] if len(layers) == 1 else None
    if layer not in layers:
        raise DictionaryError(
            f"{source} holds the features of {len(layers)} layers." if layer is None else f"{source} has no features of layer {layer}.",
            why=f"It has layers {', '.join(map(str, layers[:64]))}.",
            cure=f"Set `dictionary.hook_point` to one of them, such as blocks.{layers[0] if layers else 0}.{reads}.",
        )
    return layer


def _folder(source: Path) -> Path:
    return source.parent if allowed_files.is_file(source) else source
