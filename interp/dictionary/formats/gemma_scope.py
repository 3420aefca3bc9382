"""Gemma Scope (Lieberum et al. 2024): `params.npz` or, second edition, `params.safetensors`; what they belong to stands in their path.

layer_20/width_16k/average_l0_71/params.npz     of google/gemma-scope-2b-pt-res
"""

import re
from collections.abc import Mapping
from pathlib import Path

from interp.dictionary.canonical import Canonical, Header, Reading, matrix_shape, require
from interp.dictionary.weights import Floats, Stored, read_npz, read_safetensors
from interp.errors import DictionaryError
from interp.spec import DictionarySpec

NAMES = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
# The set's name in the path, and where it reads. Transcoders read the MLP's input, after its norm.
SETS = (("transcoder", "mlp.hook_in"), ("att", "attn.hook_z"), ("mlp", "hook_mlp_out"), ("res", "hook_resid_post"))


def recognise(source: Path) -> bool:
    return _weights(source) is not None


def read(source: Path, spec: DictionarySpec) -> Reading:
    weights = _weights(source)
    if weights is None:
        raise DictionaryError(f"{source} holds no params.npz or params.safetensors.", cure="Give the folder that holds it.")
    stored = read_npz(weights) if weights.suffix == ".npz" else read_safetensors(weights)
    tensors = _usual_names(stored)
    require(tensors, NAMES, weights)
    width, features = matrix_shape(tensors, "W_enc", weights)
    header = Header(
        format="gemma_scope",
        architecture="jumprelu_transcoder" if "affine_skip_connection" in tensors else "jumprelu",
        features=features,
        width=width,
        hook_point=spec.hook_point or _hook_point(weights),
        files=(weights,),
        config={"path": "/".join(weights.resolve().parts[-4:])},
    )
    return Reading(header, tensors, _convert)


def _convert(arrays: Mapping[str, Floats]) -> Canonical:
    return Canonical(
        arrays["W_enc"],
        arrays["b_enc"],
        arrays["W_dec"],
        arrays["b_dec"],
        activation="jumprelu",
        threshold=arrays["threshold"],
        W_skip=arrays.get("affine_skip_connection"),
    )


def _weights(source: Path) -> Path | None:
    if source.is_file():
        return source if source.name in ("params.npz", "params.safetensors") else None
    return next((source / name for name in ("params.npz", "params.safetensors") if (source / name).is_file()), None)


def _usual_names(stored: Mapping[str, Stored]) -> dict[str, Stored]:
    """The second edition writes the names in lower case."""
    usual = {name.lower(): name for name in NAMES}
    return {usual.get(name.lower(), name): tensor for name, tensor in stored.items()}


def _hook_point(weights: Path) -> str:
    path = weights.resolve().as_posix()
    layer = re.search(r"layer_(\d+)", path)
    site = next((site for word, site in SETS if re.search(rf"(?:^|[-_/]){word}(?:s?[-_/]|$)", path)), None)
    return f"blocks.{layer[1]}.{site}" if layer and site else ""
