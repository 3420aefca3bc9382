"""Size of a GGUF file's model by its header, read with limits.

The library's reader makes objects of every value of the header, whatever their number; so the header is walked here first, and only counted. The
format is described in ggml's own repository.
"""

import struct
from math import prod
from pathlib import Path
from typing import BinaryIO

from interp.domain.errors import SubjectError

# Limits, some ten times the largest known: the vocabulary of a model is four arrays of a quarter of a million values.
MOST_BYTES, MOST_VALUES, MOST_TENSORS, MOST_AXES = 1 << 28, 8_000_000, 200_000, 8
# Bytes of a value by the number of its type; strings and arrays have none of their own.
BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9
MAGIC = int.from_bytes(b"GGUF", "little")
# The smallest kinds of numbers have 1.5 bits: a file that claims more lets its tensors overlap.
MOST_PER_BYTE = 6


def numbers_in(file: Path) -> int:
    """Return how many numbers the tensors of a GGUF file hold; raises SubjectError."""
    with file.open("rb") as handle:
        numbers = _Header(handle).numbers()
    if numbers > MOST_PER_BYTE * file.stat().st_size:
        raise _damaged("Its tensors overlap.")
    return numbers


class _Header:
    """A header that is walked once, from the beginning."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle, self._left, self._values = handle, MOST_BYTES, MOST_VALUES

    def numbers(self) -> int:
        magic, version = self._take("<II")
        if magic != MAGIC or not 2 <= version <= 3:
            raise _damaged("It does not begin as a GGUF file of version 2 or 3, in the order of bytes of most machines.")
        tensors, pairs = self._take("<QQ")
        if tensors > MOST_TENSORS:
            raise _damaged(f"It claims {tensors} tensors.")
        self._count(pairs)
        for _ in range(pairs):
            self._skip_string()
            self._skip_values(self._take("<I")[0])
        return sum(self._tensor() for _ in range(tensors))

    def _tensor(self) -> int:
        self._skip_string()
        (axes,) = self._take("<I")
        if axes > MOST_AXES:
            raise _damaged(f"A tensor claims {axes} axes.")
        size = prod(self._take(f"<{axes}Q"))
        self._take("<IQ")
        return size

    def _skip_values(self, kind: int) -> None:
        count = 1
        if kind == ARRAY:
            kind, count = self._take("<IQ")
            self._count(count)
        if kind == STRING:
            for _ in range(count):
                self._skip_string()
        elif kind in BYTES:
            self._skip(count * BYTES[kind])
        else:
            raise _damaged(f"A value is of no known kind ({kind}).")

    def _skip_string(self) -> None:
        self._skip(self._take("<Q")[0])

    def _count(self, values: int) -> None:
        self._values -= values
        if self._values < 0:
            raise _damaged(f"Its header claims more than {MOST_VALUES} values.")

    def _skip(self, nbytes: int) -> None:
        self._charge(nbytes)
        self._handle.seek(nbytes, 1)

    def _take(self, form: str) -> tuple[int, ...]:
        nbytes = struct.calcsize(form)
        self._charge(nbytes)
        content = self._handle.read(nbytes)
        if len(content) < nbytes:
            raise _damaged("It ends within its header.")
        return struct.unpack(form, content)

    def _charge(self, nbytes: int) -> None:
        self._left -= nbytes
        if self._left < 0:
            raise _damaged(f"Its header is longer than {MOST_BYTES} bytes.")


def _damaged(why: str) -> SubjectError:
    return SubjectError("The GGUF file cannot be read.", why=why, cure="Fetch or write it again.")
