"""JSON lines of the text column of a Parquet file."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from interp.domain.errors import CorpusError
from interp.domain.spec import CorpusSpec
from interp.security.memory_limit import adding_at_most

ROWS_AT_ONCE, BYTES_AT_ONCE = 256, 32 << 20
# The bytes that a row group of a Parquet file may take in memory.
LARGEST_ROW_GROUP = 4 << 30
# Memory of reading: what a row group claims, several times over, and this.
READING_BYTES, COPIES = 1 << 30, 3


def lines_of(handle: BinaryIO, spec: CorpusSpec, most: int) -> Iterator[bytes]:
    """Yield the text column as JSON lines.

    A file is small for what it can unfold to: one text of many rows is stored once. So memory is limited by `most`, the bytes that a file of its
    size may hold. Raises CorpusError without the column, and for too much memory.
    """
    from pyarrow import parquet  # takes a third of a second, for one format

    try:
        with adding_at_most(READING_BYTES):
            file = parquet.ParquetFile(handle)
            _check_column(file.schema_arrow, spec)
            largest, rows = _sizes(file.metadata)
        batches = file.iter_batches(rows, columns=[spec.text_field], use_threads=False)
        while True:
            with adding_at_most(READING_BYTES + COPIES * min(largest, most)):
                batch = next(batches, None)
                part = None if batch is None else _lines(batch.column(0), spec.text_field)
            if part is None:
                return
            yield part
    except MemoryError as cause:
        raise CorpusError(
            "It takes more memory than its size allows.", why="Rows share a text, or claim too much.", cure="Write the texts as JSON lines."
        ) from cause


def _check_column(schema: Any, spec: CorpusSpec) -> None:
    """Raise CorpusError unless one column has the name, and a fitting type."""
    from pyarrow import types

    if schema.names.count(spec.text_field) != 1:
        many = "no" if spec.text_field not in schema.names else "more than one"
        raise CorpusError(f"There is {many} column {spec.text_field!r}.", why=f"It has {len(schema.names)} columns.", cure="Set `text_field`.")
    kind = schema.field(spec.text_field).type
    if spec.chat:
        fits, wanted = types.is_nested(kind), "lists of messages"
    else:
        fits, wanted = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind), "text"
    if not fits:
        raise CorpusError(f"The column {spec.text_field!r} holds no {wanted}.", why=f"Its type is {str(kind)[:100]}.", cure="Set `text_field`.")


def _sizes(metadata: Any) -> tuple[int, int]:
    """Return the largest row group in bytes, and rows to read at once.

    Raises CorpusError for a row group that is too large.
    """
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    largest = max((group.total_byte_size for group in groups), default=0)
    if largest > LARGEST_ROW_GROUP:
        raise CorpusError("A row group is larger than 4 GiB.", why="It is read into memory.", cure="Write the file with smaller row groups.")
    mean = sum(group.total_byte_size for group in groups) // max(metadata.num_rows, 1)
    return max(largest, 0), max(1, min(ROWS_AT_ONCE, BYTES_AT_ONCE // max(mean, 1)))


def _lines(column: Any, name: str) -> bytes:
    texts = column.to_pylist()
    return "".join(json.dumps({name: text}, ensure_ascii=False, default=_nothing) + "\n" for text in texts).encode("utf-8", "replace")


def _nothing(_value: object) -> None:
    """Write values that JSON lacks as null: dates and bytes beside a message's text."""
