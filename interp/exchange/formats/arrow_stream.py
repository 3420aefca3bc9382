"""An Arrow stream of record batches, compressed with zstandard."""

from collections.abc import Iterator

from interp.domain.record import RunSource
from interp.exchange.formats.base import FormatFacts, FormatOptions, Piece, Portions, Spool
from interp.store.listings.records import EVERYTHING, Part


class ArrowStream:
    """Writes one record batch per portion."""

    facts = FormatFacts(
        name="arrow",
        media_type="application/vnd.apache.arrow.stream",
        suffix=".arrows",
        parts=EVERYTHING,
        readers="`pyarrow.ipc.open_stream`, pandas, Polars, DuckDB",
        lost=("the items of scores", "token ids: tokens are texts"),
    )

    def write(self, source: RunSource, portions: Portions, parts: frozenset[Part], options: FormatOptions) -> Iterator[Piece]:  # noqa: ARG002 - it has none
        # Imported here: pyarrow takes a third of a second, for some formats.
        import pyarrow as pa

        from interp.exchange.arrow import ArrowRows

        rows, spool = ArrowRows(source, parts), Spool()
        with pa.ipc.new_stream(spool, rows.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            for portion in portions:
                writer.write_batch(rows.batch(portion))
                yield Piece(spool.take())
        yield Piece(spool.take())
