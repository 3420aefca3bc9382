"""Encode the items of a score as MessagePack columns under zstandard, with a versioned header."""

import msgpack
import zstandard

from interp.domain.errors import BlobCorruptError
from interp.domain.score import Item

MAGIC = b"GLIT\x01"
LEVEL = 3
# A header that claims more is damaged. The bound keeps a damaged one from allocating that memory.
LARGEST = 1 << 28
COLUMNS = ("context", "kind", "truth", "prediction", "failure", "detail")


def encode_items(items: tuple[Item, ...]) -> bytes:
    """Encode column by column, which compresses better."""
    columns = [[getattr(item, column) for item in items] for column in COLUMNS]
    packed: bytes = msgpack.packb(columns)
    return MAGIC + zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(packed)


def decode_items(blob: bytes) -> tuple[Item, ...]:
    """Return the items. Raises BlobCorruptError on bytes that `encode_items` did not write."""
    if not blob.startswith(MAGIC):
        raise BlobCorruptError("Score items cannot be read.", why="The header is not that of a known version.")
    try:
        packed = blob[len(MAGIC) :]
        if zstandard.frame_content_size(packed) > LARGEST:
            raise ValueError("it claims to hold more than any score's items do")
        columns = msgpack.unpackb(zstandard.ZstdDecompressor().decompress(packed))
        return tuple(Item(*row) for row in zip(*columns, strict=True))
    except (zstandard.ZstdError, msgpack.UnpackException, ValueError, TypeError) as error:
        raise BlobCorruptError("Score items cannot be read.", why=repr(error)) from error
