"""What a model's config.json says of its sizes, read without loading the model."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interp.errors import FileMissing, InputError, SubjectError
from interp.subject.defaults import sizes_of

# One row a size: the names that the model families of transformers give to it.
WIDTH = ("hidden_size", "n_embd", "d_model")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads")
MLP = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
CONTEXT = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a causal language model: residual `width`, MLP hidden `mlp`, all heads together `heads_width`."""

    architecture: str
    layers: int
    width: int
    mlp: int
    heads_width: int
    vocabulary: int
    context: int

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ModelShape":
        """From the content of a Hugging Face config.json; what it leaves out is the default of its class in transformers.

        Raises SubjectError when a size is missing in both, or is no positive number.
        """
        written = config.get("text_config") or config
        if not isinstance(written, dict):
            raise SubjectError("config.json: text_config is no object.", cure="Save the model again.")
        text = _completed(written, sizes_of(config))
        width = _size(text, WIDTH)
        heads = _size(text, HEADS)
        return cls(
            architecture=_architecture(config),
            layers=_size(text, LAYERS),
            width=width,
            mlp=_size(text, MLP, default=4 * width),
            heads_width=heads * _size(text, ("head_dim",), default=width // heads),
            vocabulary=_size(text, ("vocab_size",)),
            context=_size(text, CONTEXT),
        )


def read_json(path: Path, error: type[InputError] = SubjectError) -> dict[str, Any]:
    """A JSON object from a file. Raises FileMissing, or `error` when it is not JSON."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileMissing(f"{path} does not exist.", cure="Give the folder that `save_pretrained` wrote.") from None
    except (ValueError, RecursionError, OSError) as cause:
        raise error(f"{path} cannot be read as JSON.", why=str(cause), cure="Save the model again.") from cause
    if not isinstance(content, dict):
        raise error(f"{path} holds no JSON object.", cure="Save the model again.")
    return content


def _architecture(config: dict[str, Any]) -> str:
    named = config.get("architectures")
    first = named[0] if isinstance(named, list) and named else config.get("model_type")
    return first if isinstance(first, str) else "unknown"


def _completed(config: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The config with a default for each size that it gives under none of its names."""
    given = {names[0] for names in (WIDTH, LAYERS, HEADS, MLP, CONTEXT) if any(config.get(name) is not None for name in names)}
    return {name: value for name, value in defaults.items() if name not in given} | {
        name: value for name, value in config.items() if value is not None
    }


def _size(config: dict[str, Any], names: tuple[str, ...], default: int | None = None) -> int:
    value = next((config[name] for name in names if config.get(name) is not None), default)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise SubjectError(
            f"config.json gives no {names[0]}.",
            why=f"None of {', '.join(names)} is a positive number there.",
            cure="Use a causal language model of transformers.",
        )
    return value
