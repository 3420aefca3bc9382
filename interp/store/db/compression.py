"""JSON texts as they are kept: compressed, since prompts of one feature say much the same and are read seldom."""

import threading

import zstandard

# Tens of microseconds a text at this level; higher ones cost more than they save on a few kilobytes.
LEVEL = 3

_local = threading.local()


def pack(text: str) -> bytes:
    """The text, compressed."""
    if not hasattr(_local, "compressor"):
        _local.compressor = zstandard.ZstdCompressor(level=LEVEL)
    packed: bytes = _local.compressor.compress(text.encode("utf-8", "surrogatepass"))
    return packed


def unpack(blob: bytes) -> str:
    """The text that `pack` was given."""
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    text: bytes = _local.decompressor.decompress(blob)
    return text.decode("utf-8", "surrogatepass")
