"""Defaults of transformers' classes, for processes that must not import it.

A config.json may leave out fields for which its class has a default, and a tokenizer's files may leave out the BOS. Importing transformers loads
torch, so `defaults.json` has the defaults, written by `python -m tests.subject.generate_defaults` and tested against the installed transformers.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")
# Sizes of a model, by the names of transformers.
SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
)
# Tokenizer classes without defaults of their own: the files decide their BOS.
GENERIC = frozenset({"TokenizersBackend", "PythonBackend", "PreTrainedTokenizer", "MistralCommonBackend"})


@cache
def table() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def sizes_of(model_type: str | None, text_type: str | None) -> dict[str, int | None]:
    """Return default sizes by the model types of config.json and text_config; empty if unknown."""
    kind = text_type or table()["text_types"].get(model_type, model_type)
    row = table()["sizes"].get(kind)
    return dict(zip(SIZES, row, strict=True)) if row else {}


def tokenizer_class(model_type: str | None, named: str | None) -> str | None:
    """Return AutoTokenizer's class for a model type and the files' class, both optional."""
    registered: str | None = table()["tokenizers"].get(model_type)
    if named is None:
        return registered
    return registered if model_type in table()["misnamed"] or registered in GENERIC else named.removesuffix("Fast")


def class_bos(name: str | None) -> str | None:
    """Return the default BOS of a tokenizer class."""
    bos: str | None = table()["bos"].get(name)
    return bos
