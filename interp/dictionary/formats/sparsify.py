"""EleutherAI's sparsify: `<hookpoint>/sae.safetensors` beside `cfg.json`; TopK or group-max, SAE or transcoder."""

import re
from collections.abc import Mapping
from pathlib import Path

from interp.dictionary.canonical import Activation, Canonical, Header, Reading, matrix_shape, require, whole_number
from interp.dictionary.weights import Floats, read_safetensors
from interp.errors import DictionaryError
from interp.spec import DictionarySpec
from interp.subject.shape import read_json

WEIGHTS, CONFIG = "sae.safetensors", "cfg.json"
ACTIVATIONS: dict[str, Activation] = {"topk": "topk", "groupmax": "groupmax"}
# The folder is named after the module of the transformers model whose output was read (for a transcoder: whose input).
MODULES = (
    (re.compile(r"(?:.*\.)?(?:layers|h)\.(\d+)\.mlp"), "hook_mlp_out", "mlp.hook_in"),
    (re.compile(r"(?:.*\.)?(?:layers|h)\.(\d+)\.(?:attn|self_attn|attention)"), "hook_attn_out", None),
    (re.compile(r"(?:.*\.)?(?:layers|h)\.(\d+)"), "hook_resid_post", None),
)


def recognise(source: Path) -> bool:
    return source.is_dir() and (source / WEIGHTS).is_file() and (source / CONFIG).is_file()


def read(source: Path, spec: DictionarySpec) -> Reading:
    weights = source / WEIGHTS
    config = read_json(source / CONFIG, DictionaryError)
    tensors = read_safetensors(weights)
    features, width = matrix_shape(tensors, "encoder.weight", weights)
    require(tensors, ("encoder.bias", "W_dec", "b_dec"), weights)
    activation = config.get("activation", "topk")
    if activation not in ACTIVATIONS:
        raise DictionaryError(f"{source}: sparsify's activation {activation!r} is not known.", cure=f"Known: {', '.join(ACTIVATIONS)}.")
    if config.get("signed"):
        raise DictionaryError(
            f"{source} keeps the largest pre-activations by absolute value (signed: true).",
            why="Its features fire with both signs; a feature here fires with one.",
            cure="Use a dictionary that was trained with signed: false.",
        )
    k = whole_number(config.get("k"), "k", source)
    transcode = bool(config.get("transcode"))
    header = Header(
        format="sparsify",
        architecture=f"{activation}_transcoder" if transcode else str(activation),
        features=features,
        width=width,
        hook_point=spec.hook_point or _hook_point(source.absolute().name, transcode),
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

    return Reading(header, tensors, convert)


def _hook_point(folder: str, transcode: bool) -> str:
    """The TransformerLens name of a module's name, or nothing where there is none."""
    if folder == "embed_tokens":
        return "blocks.0.hook_resid_pre"
    for pattern, output, read_in in MODULES:
        match = pattern.fullmatch(folder)
        if match:
            site = read_in if transcode else output
            return f"blocks.{match[1]}.{site}" if site else ""
    return ""
