"""EleutherAI's sparsify: TopK or group-max SAEs and transcoders, `<hookpoint>/sae.safetensors` beside `cfg.json`."""

import re
from collections.abc import Mapping
from pathlib import Path

from interp.dictionary.canonical import Activation, Canonical, DictionaryHeader, StoredDictionary, has_files, matrix_shape, require, whole_number
from interp.dictionary.weights import Floats, read_safetensors
from interp.domain.errors import DictionaryError
from interp.domain.spec import DictionarySpec
from interp.security.bounded_json import DICTIONARY_CONFIG, read_json
from interp.security.foreign_config import Foreign, Name, brief, typed

WEIGHTS, CONFIG = "sae.safetensors", "cfg.json"
ACTIVATIONS: dict[str, Activation] = {"topk": "topk", "groupmax": "groupmax"}
# The folder's name is the module of the transformers model whose output (of a transcoder: input) was read. In Gemma 2 and 3 and OLMo 2 and 3 a
# module's output is not yet what is added to the stream.
MODULES = (
    (re.compile(r"(?:.*\.)?(?:layers|h)\.(\d+)\.mlp"), "mlp.hook_out", "mlp.hook_in"),
    (re.compile(r"(?:.*\.)?(?:layers|h)\.(\d+)\.(?:attn|self_attn|attention)"), "attn.hook_out", None),
    (re.compile(r"(?:.*\.)?(?:layers|h)\.(\d+)"), "hook_resid_post", None),
)


class SparsifyConfig(Foreign):
    """cfg.json of sparsify, with the library's defaults."""

    activation: Name = "topk"
    k: int | None = None
    signed: bool | None = False
    transcode: bool | None = False


def recognise(source: Path) -> bool:
    return has_files(source, WEIGHTS, CONFIG)


def read(source: Path, spec: DictionarySpec) -> StoredDictionary:
    weights = source / WEIGHTS
    config = read_json(source / CONFIG, DictionaryError, DICTIONARY_CONFIG)
    parsed = typed(SparsifyConfig, config, source / CONFIG, DictionaryError, "Correct it, or name the format whose config this is.")
    tensors = read_safetensors(weights)
    n_features, d_in = matrix_shape(tensors, "encoder.weight", weights)
    require(tensors, ("encoder.bias", "W_dec", "b_dec"), weights)
    activation = parsed.activation
    if activation not in ACTIVATIONS:
        raise DictionaryError(f"{source}: sparsify's activation {brief(activation)} is not known.", cure=f"Known: {', '.join(ACTIVATIONS)}.")
    if parsed.signed:
        raise DictionaryError(
            f"{source} keeps the largest pre-activations by absolute value (signed: true).",
            why="Its features fire with both signs; a feature here fires with one.",
            cure="Use a dictionary that was trained with signed: false.",
        )
    k = whole_number(parsed.k, "k", source)
    transcode = bool(parsed.transcode)
    header = DictionaryHeader(
        format="sparsify",
        architecture=f"{activation}_transcoder" if transcode else activation,
        n_features=n_features,
        d_in=d_in,
        hook_point=spec.hook_point or _hook_point(source.absolute().name, transcode),
        output_point=_hook_point(source.absolute().name, transcode=False) or None if transcode else None,
        files=(weights, source / CONFIG),
        config=config,
    )

    def convert(arrays: Mapping[str, Floats]) -> Canonical:
        skip = arrays.get("W_skip")
        return Canonical(
            W_enc=arrays["encoder.weight"].T,
            b_enc=arrays["encoder.bias"],
            W_dec=arrays["W_dec"],
            b_dec=arrays["b_dec"],
            activation=ACTIVATIONS[activation],
            k=k,
            pre_bias=None if transcode else arrays["b_dec"],
            W_skip=None if skip is None else skip.T,
        )

    return StoredDictionary(header, tensors, convert)


def _hook_point(folder: str, transcode: bool) -> str:
    """Return a module's TransformerLens name, or "" without one."""
    if folder == "embed_tokens":
        return "blocks.0.hook_resid_pre"
    for pattern, output, read_in in MODULES:
        match = pattern.fullmatch(folder)
        if match:
            site = read_in if transcode else output
            return f"blocks.{match[1]}.{site}" if site else ""
    return ""
