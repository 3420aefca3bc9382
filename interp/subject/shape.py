"""Sizes of a model from its config.json, without loading it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator

from interp.domain.errors import SubjectError
from interp.security.foreign_config import FirstError, Foreign, Name, brief, typed
from interp.subject.defaults import sizes_of

# The names of each size in transformers' families.
WIDTH = ("hidden_size", "n_embd", "d_model")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads")
KEY_HEADS = ("num_key_value_heads", "n_head_kv", "num_kv_heads")
MLP = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
CONTEXT = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
HEAD = ("head_dim",)
VOCABULARY = ("vocab_size",)
SIZES = (*WIDTH, *LAYERS, *HEADS, *KEY_HEADS, *MLP, *CONTEXT, *HEAD, *VOCABULARY)

# A config may describe this many times the numbers in the files (packed and shared weights), and any small model.
MOST_DESCRIBED, SMALL = 8, 1 << 26

# Limits, some ten times the largest known: arrays of these sizes are allocated before weights are read.
MOST = {WIDTH: 1 << 18, LAYERS: 2000, HEADS: 1 << 14, KEY_HEADS: 1 << 14, MLP: 1 << 20, CONTEXT: 1 << 30, HEAD: 1 << 16, VOCABULARY: 1 << 22}


class ModelType(Foreign):
    """Model type of a config, at either of its levels."""

    model_type: str | None = None


class SubjectConfig(Foreign):
    """Fields of config.json; `text_config` has the sizes of a model of several parts."""

    text_config: Annotated[dict[str, Any] | None, BeforeValidator(lambda value: value or None)] = None
    model_type: Name | None = None
    architectures: Annotated[list[Name], FirstError()] | None = None


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a causal model: residual `d_model`, MLP `d_mlp`, all `heads` together `d_heads`.

    Keys and values have `kv_heads` heads of the same size.
    """

    architecture: str
    layers: int
    d_model: int
    d_mlp: int
    heads: int
    kv_heads: int
    d_heads: int
    vocabulary: int
    context: int

    @property
    def d_head(self) -> int:
        return self.d_heads // self.heads

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "ModelShape":
        """Read a config.json, completed by its class's defaults; raises SubjectError."""
        parsed = typed(SubjectConfig, config, "config.json", SubjectError, "Save the model again.")
        text = parsed.text_config or config
        kind = typed(ModelType, text, "config.json", SubjectError, "Save the model again.").model_type
        sizes = _completed(text, sizes_of(parsed.model_type, kind))
        d_model = _size(sizes, WIDTH)
        heads = _size(sizes, HEADS)
        return cls(
            architecture=(parsed.architectures or [parsed.model_type or "unknown"])[0],
            layers=_size(sizes, LAYERS),
            d_model=d_model,
            d_mlp=_size(sizes, MLP, default=4 * d_model),
            heads=heads,
            kv_heads=_size(sizes, KEY_HEADS, default=heads),
            d_heads=heads * _size(sizes, HEAD, default=d_model // heads),
            vocabulary=_size(sizes, VOCABULARY),
            context=_size(sizes, CONTEXT),
        )


def check_described(shape: ModelShape, held: int) -> None:
    """Raise SubjectError for weights of `held` numbers, far fewer than the config describes."""
    described = shape.vocabulary * shape.d_model + shape.layers * shape.d_model**2
    if described > MOST_DESCRIBED * held + SMALL:
        raise SubjectError(
            "config.json describes a larger model than the weights hold.",
            why=f"Embedding and attention alone have some {described} numbers, the files have {held}.",
            cure="Put the config.json beside the weights that was saved with them.",
        )


def _completed(config: Mapping[str, Any], defaults: Mapping[str, int | None]) -> dict[str, Any]:
    """Return the sizes of a config, with defaults for the missing ones."""
    given = {names[0] for names in (WIDTH, LAYERS, HEADS, KEY_HEADS, MLP, CONTEXT) if any(config.get(name) is not None for name in names)}
    return {name: value for name, value in defaults.items() if name not in given} | {
        name: config[name] for name in SIZES if config.get(name) is not None
    }


def _size(config: Mapping[str, Any], names: tuple[str, ...], default: int | None = None) -> int:
    value = next((config[name] for name in names if config.get(name) is not None), default)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise SubjectError(
            f"config.json gives no {names[0]}.",
            why=f"None of {', '.join(names)} is a positive number there.",
            cure="Use a causal language model of transformers.",
        )
    if value > MOST[names]:
        raise SubjectError(
            f"config.json: {names[0]} = {brief(value)} is of no model.",
            why=f"The most that is opened is {MOST[names]}.",
            cure="Correct config.json, or save the model again.",
        )
    return value
