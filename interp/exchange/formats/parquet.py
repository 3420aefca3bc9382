"""One Parquet file, with a row group per portion."""

from collections.abc import Iterator

from interp.domain.record import RunSource
from interp.exchange.formats.base import FormatFacts, FormatOptions, Piece, Portions, Spool
from interp.store.listings.records import EVERYTHING, Part


class Parquet:
    """Writes the columns of `interp.exchange.arrow`."""

    facts = FormatFacts(
        name="parquet",
        media_type="application/vnd.apache.parquet",
        suffix=".parquet",
        parts=EVERYTHING,
        readers="`glossator import`, pandas, Polars, DuckDB, datasets",
        lost=("the items of scores", "token ids: tokens are texts"),
    )

    def write(self, source: RunSource, portions: Portions, parts: frozenset[Part], options: FormatOptions) -> Iterator[Piece]:  # noqa: ARG002 - it has none
        # Imported here: pyarrow takes a third of a second, for some formats.
        from pyarrow import parquet

        from interp.exchange.arrow import ArrowRows

        rows, spool = ArrowRows(source, parts), Spool()
        with parquet.ParquetWriter(spool, rows.schema, compression="zstd") as writer:
            for portion in portions:
                writer.write_batch(rows.batch(portion))
                yield Piece(spool.take())
        yield Piece(spool.take())
