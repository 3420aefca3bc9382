"""Defaults of the classes of transformers, for processes that must not import it.

A config.json may leave out what its class has a default for, and a tokenizer's files its BOS. Importing transformers loads torch, so the defaults
are stored in `defaults.json`, written by `python -m tests.subject.generate_defaults`. A test compares them with the installed transformers.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")
# Sizes of a model, by the names of transformers.
SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "head_dim", "intermediate_size", "vocab_size", "max_position_embeddings")
# Tokenizer classes without defaults of their own: their BOS is that of the files.
GENERIC = frozenset({"TokenizersBackend", "PythonBackend", "PreTrainedTokenizer", "MistralCommonBackend"})


@cache
def table() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def sizes_of(model_type: str | None, text_type: str | None) -> dict[str, int | None]:
    """Return the default sizes of a class, by the model types of a config.json and of its text_config; empty where they are unknown."""
    kind = text_type or table()["text_types"].get(model_type, model_type)
    row = table()["sizes"].get(kind)
    return dict(zip(SIZES, row, strict=True)) if row else {}


def tokenizer_class(model_type: str | None, named: str | None) -> str | None:
    """Return AutoTokenizer's tokenizer class for a model type and the class named in the files, both optional."""
    registered: str | None = table()["tokenizers"].get(model_type)
    if named is None:
        return registered
    return registered if model_type in table()["misnamed"] or registered in GENERIC else named.removesuffix("Fast")


def class_bos(name: str | None) -> str | None:
    """Return the default BOS of a tokenizer class."""
    bos: str | None = table()["bos"].get(name)
    return bos
