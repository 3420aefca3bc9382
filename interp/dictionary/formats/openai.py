"""OpenAI's autoencoders for GPT-2 small (Gao et al. 2024): `.pt` files of one state dict."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interp.dictionary.canonical import Canonical, DictionaryHeader, StoredDictionary, matrix_shape, require, whole_number
from interp.dictionary.torchfile import read_torch, tensors_of
from interp.dictionary.weights import Floats
from interp.domain.errors import DictionaryError
from interp.domain.spec import DictionarySpec
from interp.security import allowed_files
from interp.security.foreign_config import Foreign, Name, brief, typed

NAMES = ("pre_bias", "latent_bias", "encoder.weight", "decoder.weight")
# Locations of the release, in the names of the nearest folders: `mlp_post_act/autoencoders/8.pt` (v1), `mlp_post_act_v4/autoencoders/8.pt`,
# `resid_post_mlp_v5_32k/autoencoders/8.pt`.
SITES = {
    "resid_post_mlp": "hook_resid_post",
    "resid_delta_mlp": "hook_mlp_out",
    "mlp_post_act": "mlp.hook_post",
    "resid_post_attn": "hook_resid_mid",
    "resid_delta_attn": "hook_attn_out",
}


class ActivationState(Foreign):
    """Settings of the activation."""

    k: int | None = None
    postact_fn: Name = "ReLU"


class OpenAISettings(Foreign):
    """Values beside the tensors in the state dict."""

    activation: Name = "ReLU"
    activation_state_dict: ActivationState | None = None


def recognise(source: Path) -> bool:
    return allowed_files.is_file(source) and source.suffix == ".pt" and _is_ours(read_torch(source))


def read(source: Path, spec: DictionarySpec) -> StoredDictionary:
    content = read_torch(source)
    if not _is_ours(content):
        raise DictionaryError(f"{source} is no OpenAI autoencoder.", why=f"It lacks {', '.join(NAMES)}.", cure="Name its format.")
    tensors = tensors_of(content)
    require(tensors, NAMES, source)
    n_features, d_in = matrix_shape(tensors, "encoder.weight", source)
    parsed = typed(OpenAISettings, content, source, DictionaryError, "Save the dictionary again as the release has it.")
    activation = parsed.activation
    if activation not in ("ReLU", "TopK"):
        raise DictionaryError(f"{source}: the activation {brief(activation)} is not known.", cure="Known: ReLU, TopK.")
    state = parsed.activation_state_dict or ActivationState()
    k = state.k
    if activation == "TopK":
        whole_number(k, "k", source)
        if state.postact_fn != "ReLU":
            raise DictionaryError(
                f"{source} keeps the largest values without a ReLU (postact_fn {brief(state.postact_fn)}).",
                why="Its features may fire with both signs; a feature here fires with one.",
                cure="Use a dictionary whose postact_fn is ReLU.",
            )
    # There is no flag for it: the release's own loader normalises the input for TopK.
    normalised = activation == "TopK"
    header = DictionaryHeader(
        format="openai",
        architecture=activation.lower(),
        n_features=n_features,
        d_in=d_in,
        hook_point=spec.hook_point or _hook_point(source),
        files=(source,),
        model="gpt2-small",
        config={"activation": activation, "k": k, "normalize": normalised},
    )

    def convert(arrays: Mapping[str, Floats]) -> Canonical:
        return Canonical(
            arrays["encoder.weight"].T,
            arrays["latent_bias"],
            arrays["decoder.weight"].T,
            arrays["pre_bias"],
            activation="topk" if activation == "TopK" else "relu",
            k=k if activation == "TopK" else None,
            pre_bias=arrays["pre_bias"],
            input_norm="layer_norm" if normalised else "none",
        )

    return StoredDictionary(header, tensors, convert)


def _is_ours(content: Any) -> bool:
    return isinstance(content, dict) and all(name in content for name in NAMES)


def _hook_point(source: Path) -> str:
    match = re.fullmatch(r"(?:layer_)?(\d+)", source.stem)
    nearest = [re.sub(r"_v\d+(?:_\d+k)?$", "", part) for part in reversed(source.absolute().parts[-3:-1])]
    site = next((SITES[part] for part in nearest if part in SITES), None)
    return f"blocks.{match[1]}.{site}" if match and site else ""
