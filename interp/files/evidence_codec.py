"""Codec of evidence: one versioned, compressed blob per feature.

magic "GLEV" | version u8 | crc32 of the rest u32 | zstandard frame of: header length u32, header (msgpack), then the arrays in the header's order.
Version 1 has no crc32, and a frame with a checksum of its content: a damaged frame may still give the same content. Versions 1 and 2 have no left
context and no firing level: they are read as evidence without left context, of features that fire above 0.
Arrays of more than one byte per item are stored as byte planes (all first bytes, then all second bytes...): high bytes of token ids are nearly all 0
and those of activations alike, which makes blobs a third smaller.
"""

import struct
import zlib
from typing import Any

import msgpack
import numpy as np
import zstandard
from numpy.typing import NDArray

from interp.domain.errors import BlobCorruptError
from interp.domain.evidence import HISTOGRAM_BINS, Contexts, FeatureEvidence, Neighbour, Statistics, TokenEffect

MAGIC = b"GLEV"
VERSION = 3
READ_WITH_CRC = (2, VERSION)
LEVEL = 3
LARGEST = 1 << 30  # bytes of a decompressed blob, whatever its header claims
MATRICES = {"tokens": "<u4", "activations": "<f2"}
VECTORS = {"lengths": "<u2", "kinds": "<u1", "splits": "<u1", "documents": "<u8", "starts": "<u4", "positions": "<u2"}
COLUMNS = MATRICES | VECTORS
LEFT, LEFT_LENGTHS = "<u4", "<u1"


def encode_evidence(evidence: FeatureEvidence) -> bytes:
    """Encode one feature's evidence; equal evidence gives equal bytes."""
    contexts, statistics = evidence.contexts, evidence.statistics
    header = {
        "feature": evidence.feature,
        "contexts": len(contexts),
        "window": contexts.tokens.shape[1],
        "left": contexts.left.shape[1],
        "statistics": [getattr(statistics, name) for name in Statistics.__slots__],
        "promoted": [(effect.token, effect.logit) for effect in evidence.promoted],
        "suppressed": [(effect.token, effect.logit) for effect in evidence.suppressed],
        "nearest": [(neighbour.feature, neighbour.cosine) for neighbour in evidence.nearest],
    }
    packed = msgpack.packb(header)
    arrays = [_planes(getattr(contexts, name), dtype) for name, dtype in COLUMNS.items()]
    arrays += [_planes(contexts.left, LEFT), _planes(contexts.left_lengths, LEFT_LENGTHS)]
    body = b"".join([struct.pack("<I", len(packed)), packed, _planes(evidence.histogram, "<i8"), *arrays])
    compressed = zstandard.ZstdCompressor(level=LEVEL, write_checksum=False, write_content_size=True).compress(body)
    return MAGIC + bytes([VERSION]) + struct.pack("<I", zlib.crc32(compressed)) + compressed


def decode_evidence(blob: bytes) -> FeatureEvidence:
    """Decode evidence; raises BlobCorruptError for bytes that `encode_evidence` did not write."""
    body = _decompress(blob)
    try:
        (size,) = struct.unpack_from("<I", body)
        header = msgpack.unpackb(body[4 : 4 + size])
        reader = _Reader(body, 4 + size)
        count, window = int(header["contexts"]), int(header["window"])
        histogram = reader.take("<i8", (HISTOGRAM_BINS,))
        columns = {name: reader.take(dtype, (count, window) if name in MATRICES else (count,)) for name, dtype in COLUMNS.items()}
        if "left" in header:
            columns["left"] = reader.take(LEFT, (count, int(header["left"])))
            columns["left_lengths"] = reader.take(LEFT_LENGTHS, (count,))
        reader.finish()
        statistics = _statistics(header["statistics"])
        columns["levels"] = np.full(count, statistics.firing_level, np.float32)
        return FeatureEvidence(
            feature=header["feature"],
            statistics=statistics,
            histogram=histogram,
            contexts=Contexts(**columns),
            promoted=tuple(TokenEffect(token, logit) for token, logit in header["promoted"]),
            suppressed=tuple(TokenEffect(token, logit) for token, logit in header["suppressed"]),
            nearest=tuple(Neighbour(feature, cosine) for feature, cosine in header["nearest"]),
        )
    except (struct.error, ValueError, KeyError, TypeError, msgpack.UnpackException) as cause:
        raise _corrupt(f"its content does not fit together ({type(cause).__name__})") from cause


def _decompress(blob: bytes) -> bytes:
    if blob[:4] != MAGIC:
        raise _corrupt("it does not begin like evidence")
    frame = _frame(blob)
    try:
        parameters = zstandard.get_frame_parameters(frame)
        if parameters.content_size > LARGEST:
            raise _corrupt(f"it claims {parameters.content_size} bytes")
        return zstandard.ZstdDecompressor().decompress(frame, read_across_frames=False, allow_extra_data=False)
    except zstandard.ZstdError as cause:
        raise _corrupt("it cannot be decompressed") from cause


def _frame(blob: bytes) -> bytes:
    version = blob[4] if len(blob) > 4 else None
    if version == 1:
        return blob[5:]
    if version not in READ_WITH_CRC:
        raise _corrupt(f"it has format {version}, and this version reads up to {VERSION}")
    if blob[5:9] != struct.pack("<I", zlib.crc32(blob[9:])):
        raise _corrupt("its checksum is another")
    return blob[9:]


class _Reader:
    """Reader of successive arrays from a body."""

    def __init__(self, body: bytes, offset: int) -> None:
        self._body, self._offset = body, offset

    def take(self, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        kind = np.dtype(dtype)
        items = int(np.prod(shape))
        planes = np.frombuffer(self._body, np.uint8, items * kind.itemsize, self._offset)
        self._offset += len(planes)
        found = np.empty((items, kind.itemsize), np.uint8)
        # Plane by plane: a transposed copy goes item by item, which takes several times as long.
        for place, plane in enumerate(planes.reshape(kind.itemsize, items)):
            found[:, place] = plane
        return found.view(kind).reshape(shape)

    def finish(self) -> None:
        if self._offset != len(self._body):
            raise ValueError("something follows the last array")


def _planes(array: NDArray[Any], dtype: str) -> bytes:
    kind = np.dtype(dtype)
    items = np.ascontiguousarray(array, dtype=kind)
    return items.view(np.uint8).reshape(-1, kind.itemsize).T.tobytes()


def _statistics(values: list[Any]) -> Statistics:
    tokens_seen, tokens_active, windows_seen, windows_active, *rest = values
    return Statistics(tokens_seen, tokens_active, tuple(windows_seen), tuple(windows_active), *rest)


def _corrupt(why: str) -> BlobCorruptError:
    return BlobCorruptError("The evidence of a feature cannot be read.", why=f"Its blob is damaged: {why}.", cure="Collect the feature again.")
