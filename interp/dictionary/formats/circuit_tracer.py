"""Per-layer transcoders as circuit-tracer keeps them: `layer_3.safetensors` of every layer, beside `config.yaml`.

`W_enc` [F, D]  `W_dec` [F, D]  `b_enc` [F]  `b_dec` [D], perhaps `activation_function.threshold` [F] and `W_skip` [D, D]

config.yaml names the sites within a block: `feature_input_hook` (`mlp.hook_in` after the norm's gain, `ln2.hook_normalized` before it) and
`feature_output_hook`. circuit-tracer loads the subject with `fold_ln=False`, and puts its own `mlp.hook_in` at the MLP's input: after the gain.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from interp.dictionary.canonical import Canonical, DictionaryHeader, StoredDictionary, matrix_shape, require
from interp.dictionary.weights import Floats, read_safetensors
from interp.domain.errors import DictionaryError
from interp.domain.spec import DictionarySpec
from interp.security import allowed_files

CONFIG = "config.yaml"
LAYER = re.compile(r"layer_(\d{1,4})\.safetensors")
SETTING = re.compile(r"^(feature_input_hook|feature_output_hook|model_name)\s*:\s*[\"']?([A-Za-z0-9._/-]{1,200})[\"']?\s*$", re.MULTILINE)
LARGEST_CONFIG = 1 << 16
NAMES = ("W_enc", "W_dec", "b_enc", "b_dec")
THRESHOLD = "activation_function.threshold"


def recognise(source: Path) -> bool:
    if allowed_files.is_file(source):
        return LAYER.fullmatch(source.name) is not None
    return allowed_files.is_folder(source) and bool(_layers(source))


def read(source: Path, spec: DictionarySpec) -> StoredDictionary:
    folder = source.parent if allowed_files.is_file(source) else source
    settings = settings_of(folder / CONFIG)
    layer = _layer(source, spec)
    weights = folder / f"layer_{layer}.safetensors"
    tensors = read_safetensors(weights)
    require(tensors, NAMES, weights)
    n_features, d_in = matrix_shape(tensors, "W_enc", weights)
    site, written = settings.get("feature_input_hook"), settings.get("feature_output_hook")
    header = DictionaryHeader(
        format="circuit_tracer",
        architecture="jumprelu_transcoder" if THRESHOLD in tensors else "transcoder",
        n_features=n_features,
        d_in=d_in,
        hook_point=spec.hook_point or (f"blocks.{layer}.{site}" if site else ""),
        files=(weights, *((folder / CONFIG,) if settings else ())),
        output_point=f"blocks.{layer}.{written}" if written else None,
        model=settings.get("model_name"),
        config=dict(settings),
    )
    return StoredDictionary(header, tensors, _convert)


def _convert(arrays: Mapping[str, Floats]) -> Canonical:
    threshold, skip = arrays.get(THRESHOLD), arrays.get("W_skip")
    check_thresholds(threshold)
    return Canonical(
        arrays["W_enc"].T,
        arrays["b_enc"],
        arrays["W_dec"],
        arrays["b_dec"],
        activation="relu" if threshold is None else "jumprelu",
        threshold=threshold,
        W_skip=None if skip is None else skip.T,
    )


def _layer(source: Path, spec: DictionarySpec) -> int:
    """Return the layer to read; raises DictionaryError, which lists those that there are."""
    named = LAYER.fullmatch(source.name)
    if named and allowed_files.is_file(source):
        return int(named[1])
    layers = _layers(source) if allowed_files.is_folder(source) else []
    asked = re.match(r"blocks\.(\d{1,4})\.", spec.hook_point or "")
    layer = int(asked[1]) if asked else layers[0] if len(layers) == 1 else None
    if layer not in layers:
        raise DictionaryError(
            f"{source} holds transcoders of {len(layers)} layers." if layer is None else f"{source} has no transcoder of layer {layer}.",
            why=f"It has layers {', '.join(map(str, layers[:64])) or 'none'}.",
            cure="Name the file of one layer, such as layer_0.safetensors, or set `dictionary.hook_point`.",
        )
    return layer


def _layers(folder: Path) -> list[int]:
    return sorted(int(match[1]) for name in allowed_files.names_in(folder) if (match := LAYER.fullmatch(name)))


def check_thresholds(threshold: Floats | None) -> None:
    """Raise DictionaryError for negative thresholds."""
    if threshold is not None and (threshold < 0).any():
        raise DictionaryError(
            f"{int((threshold < 0).sum())} of the transcoder's thresholds are negative.",
            why="circuit-tracer lets negative activations pass above them; a feature here fires with one sign.",
            cure="Use a transcoder whose thresholds are positive.",
        )


def settings_of(config: Path) -> dict[str, str]:
    """Return the settings of config.yaml, read as lines of a name and a plain text."""
    if not allowed_files.is_file(config):
        return {}
    with allowed_files.open_file(config) as handle:
        return dict(SETTING.findall(handle.read(LARGEST_CONFIG).decode("utf-8", "replace")))
