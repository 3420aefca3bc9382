"""Dictionaries of Gemma Scope (Lieberum et al. 2024), whose path names their hook point.

layer_20/width_16k/average_l0_71/params.npz                     of google/gemma-scope-2b-pt-res
resid_post/layer_13_width_16k_l0_medium/params.safetensors      of google/gemma-scope-2-1b-pt (second edition), perhaps with a config.json

Only the names of the repository and the folders below it are used, and never the target of a link: the Hub's cache keeps files as links to blobs.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from interp.dictionary.canonical import Canonical, DictionaryHeader, StoredDictionary, matrix_shape, require
from interp.dictionary.weights import Floats, StoredTensor, read_npz, read_safetensors
from interp.domain.errors import DictionaryError
from interp.domain.spec import DictionarySpec
from interp.security import allowed_files
from interp.security.bounded_json import DICTIONARY_CONFIG, read_json
from interp.security.foreign_config import Foreign, Name, typed

NAMES = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
# Endings of the first edition's repositories and their sites. For its transcoders the gain of the norm before the MLP was folded into the
# MLP's matrices, so that they read the normed stream without it (Lieberum et al. 2024, appendix; SAELens' `gemma_2_transcoder` says the same).
FIRST = {"res": "hook_resid_post", "att": "attn.hook_z", "mlp": "hook_mlp_out", "transcoders": "ln2.hook_normalized"}
# The folders of the second edition. Its transcoders read the output of Gemma's pre_feedforward_layernorm, with the gain.
SECOND = {"resid_post": "hook_resid_post", "attn_out": "attn.hook_z", "mlp_out": "hook_mlp_out", "transcoder": "mlp.hook_in"}
# The second edition's config.json names modules of transformers.
MODULES = {
    "output": "hook_resid_post",
    "self_attn.o_proj.input": "attn.hook_z",
    "post_feedforward_layernorm.output": "hook_mlp_out",
    "pre_feedforward_layernorm.output": "mlp.hook_in",
}


class GemmaScopeConfig(Foreign):
    """config.json of the second edition."""

    hf_hook_point_in: Name | None = None


def recognise(source: Path) -> bool:
    return _weights(source) is not None


def read(source: Path, spec: DictionarySpec) -> StoredDictionary:
    weights = _weights(source)
    if weights is None:
        raise DictionaryError(f"{source} holds no params.npz or params.safetensors.", cure="Give the folder that holds it.")
    stored = read_npz(weights) if weights.suffix == ".npz" else read_safetensors(weights)
    tensors = _usual_names(stored)
    require(tensors, NAMES, weights)
    d_in, n_features = matrix_shape(tensors, "W_enc", weights)
    hook_point = spec.hook_point or _hook_point(weights)
    header = DictionaryHeader(
        format="gemma_scope",
        architecture="jumprelu_transcoder" if "affine_skip_connection" in tensors else "jumprelu",
        n_features=n_features,
        d_in=d_in,
        hook_point=hook_point,
        # Transcoders write what the MLP adds to the stream: the output of post_feedforward_layernorm.
        output_point=re.sub(r"\.(?:ln2\.hook_normalized|mlp\.hook_in)$", ".hook_mlp_out", hook_point),
        files=(weights,),
        model=_model(weights.absolute().parts[:-1]),
        config={"path": "/".join(weights.parts[-4:])},
    )
    return StoredDictionary(header, tensors, _convert)


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
    if allowed_files.is_file(source):
        return source if source.name in ("params.npz", "params.safetensors") else None
    return next((source / name for name in ("params.npz", "params.safetensors") if allowed_files.is_file(source / name)), None)


def _usual_names(stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Return the tensors by the first edition's names; the second has lower case."""
    usual = {name.lower(): name for name in NAMES}
    return {usual.get(name.lower(), name): tensor for name, tensor in stored.items()}


def _hook_point(weights: Path) -> str:
    """Return the hook point of config.json beside the weights, else of the folders, else ""."""
    return _configured(weights.parent / "config.json") or _from_folders(weights.absolute().parts[:-1])


def _model(parts: tuple[str, ...]) -> str | None:
    """Return the subject of the repository: gemma-2-2b of gemma-scope-2b-pt-res, gemma-3-1b-pt of gemma-scope-2-1b-pt."""
    # The repository is at most four folders above that of the layer: models--google--NAME/snapshots/COMMIT/resid_post.
    place = _layer_place(parts) or 0
    near = reversed(parts[max(place - 4, 0) : place])
    named = (re.fullmatch(r"(?:models--google--)?gemma-scope-(2-)?(\d{1,3}[bm])-(pt|it)(?:-.+)?", part) for part in near)
    match = next(filter(None, named), None)
    if match is None:
        return None
    second, size, kind = match.groups()
    if second:
        return f"gemma-3-{size}-{kind}"
    return f"gemma-2-{size}" + ("-it" if kind == "it" else "")


def _configured(config: Path) -> str:
    if not allowed_files.is_file(config):
        return ""
    content = read_json(config, DictionaryError, DICTIONARY_CONFIG)
    parsed = typed(GemmaScopeConfig, content, config, DictionaryError, "Correct it, or set `dictionary.hook_point`.")
    match = re.fullmatch(r"model\.(?:language_model\.)?layers\.(\d+)\.(.+)", parsed.hf_hook_point_in or "")
    site = MODULES.get(match[2]) if match else None
    return f"blocks.{match[1]}.{site}" if match and site else ""


def _layer_place(parts: tuple[str, ...]) -> int | None:
    """Return the place of the nearest layer's folder, as `layer_20`."""
    return next((place for place in reversed(range(1, len(parts))) if re.match(r"layer_\d+(?:_|$)", parts[place])), None)


def _from_folders(parts: tuple[str, ...]) -> str:
    """Return the hook point of the nearest layer's folder and its parent's site."""
    place = _layer_place(parts)
    if place is None:
        return ""
    layer = parts[place].split("_")[1]
    above = parts[place - 1]
    if re.fullmatch(r"[0-9a-f]{40}", above) and place >= 3 and parts[place - 2] == "snapshots":
        above = parts[place - 3]  # the Hub's cache: models--google--NAME/snapshots/COMMIT
    first = re.search(r"(?:^|-)(res|att|mlp|transcoders)(?:-canonical)?$", above)
    second = re.fullmatch(r"(resid_post|attn_out|mlp_out|transcoder)(?:_all)?", above)
    site = FIRST[first[1]] if first else SECOND[second[1]] if second else None
    return f"blocks.{layer}.{site}" if site else ""
