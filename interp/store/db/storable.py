"""Text as both databases take it: what a language model writes may hold anything."""

from typing import Any

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def storable(value: Any) -> Any:
    """The value with NUL characters and lone surrogates replaced, in texts at any depth of lists and dicts; PostgreSQL takes neither."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, dict):
        return {storable(name): storable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value


def storable_text(value: str) -> str:
    """The same of a text."""
    if value.isascii() and "\0" not in value:
        return value
    return value.encode("utf-8", "replace").decode("utf-8").replace("\0", REPLACEMENT)
