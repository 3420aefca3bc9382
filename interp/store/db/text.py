"""Prepare texts for the database: remove what PostgreSQL refuses, and compress long ones."""

import threading
from typing import Any

import zstandard

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Tens of microseconds per text at this level; higher ones cost more than they save on a few kilobytes.
LEVEL = 3

# Compressors must not be shared between threads.
_local = threading.local()


def storable(value: Any) -> Any:
    """Return the value with NUL characters and lone surrogates replaced, at any depth."""
    if isinstance(value, str):
        if value.isascii() and "\0" not in value:
            return value
        return value.encode("utf-8", "replace").decode("utf-8").replace("\0", REPLACEMENT)
    if isinstance(value, dict):
        return {storable(name): storable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value


def pack(text: str) -> bytes:
    """Compress a text."""
    if not hasattr(_local, "compressor"):
        _local.compressor = zstandard.ZstdCompressor(level=LEVEL)
    packed: bytes = _local.compressor.compress(text.encode("utf-8", "surrogatepass"))
    return packed


def unpack(blob: bytes) -> str:
    """Return the text that `pack` was given."""
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    text: bytes = _local.decompressor.decompress(blob)
    return text.decode("utf-8", "surrogatepass")
