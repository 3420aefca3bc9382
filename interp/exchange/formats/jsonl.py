"""One JSON object per feature and line, with all parts."""

from collections.abc import Iterator

from interp.domain.record import RunSource
from interp.exchange.formats.base import FormatFacts, FormatOptions, Piece, Portions
from interp.exchange.rows import JsonRows
from interp.store.listings.records import EVERYTHING, Part


class JsonLines:
    """Writes `interp.exchange.rows` as lines."""

    facts = FormatFacts(
        name="jsonl",
        media_type="application/x-ndjson",
        suffix=".jsonl",
        parts=EVERYTHING,
        readers="`glossator import`, any JSON reader",
        lost=("the items of scores", "token ids: tokens are texts"),
    )

    def write(self, source: RunSource, portions: Portions, parts: frozenset[Part], options: FormatOptions) -> Iterator[Piece]:  # noqa: ARG002 - it has none
        rows = JsonRows(source, parts)
        for portion in portions:
            yield Piece(rows.lines(portion))
