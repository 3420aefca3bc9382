"""A data set folder: Parquet and a card, which the user's own tools push."""

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from interp.domain.cleaning import one_line
from interp.domain.record import FeatureRecord, RunSource
from interp.exchange.formats.base import FormatFacts, FormatOptions, Piece, Portions
from interp.exchange.formats.parquet import Parquet
from interp.store.listings.records import EVERYTHING, Part

TABLE, CARD = "data/features.parquet", "README.md"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))


class HfDataset:
    """Writes `data/features.parquet`, then the card with what passed through."""

    facts = FormatFacts(
        name="hf-dataset",
        media_type="application/zip",
        suffix="",
        parts=EVERYTHING,
        readers="`datasets.load_dataset`, `hf upload`, `glossator import` (the Parquet file)",
        lost=Parquet.facts.lost,
    )

    def write(self, source: RunSource, portions: Portions, parts: frozenset[Part], options: FormatOptions) -> Iterator[Piece]:
        figures = _Figures()
        for piece in Parquet().write(source, figures.seen(portions), parts, options):
            yield Piece(piece.content, TABLE)
        yield Piece(_card(source, figures, options).encode(), CARD)


class _Figures:
    """Figures of the card, added up as features pass."""

    def __init__(self) -> None:
        self.features = self.labelled = self.dead = 0
        self._sums = [0.0, 0.0]

    def seen(self, portions: Portions) -> Iterator[Sequence[FeatureRecord]]:
        for portion in portions:
            for record in portion:
                self.features += 1
                self.labelled += record.listed["label"] is not None
                self.dead += record.listed["state"] == "dead"
                if record.listed["score"] is not None:
                    self._sums = [self._sums[0] + 1, self._sums[1] + record.listed["score"]]
            yield portion

    @property
    def mean_score(self) -> str:
        return f"{self._sums[1] / self._sums[0]:.3f} over {int(self._sums[0]):,}" if self._sums[0] else "none"


def _card(source: RunSource, figures: _Figures, options: FormatOptions) -> str:
    front: dict[str, Any] = {
        "license": options.license,
        "pretty_name": f"Features of {source.dictionary}",
        "tags": ["interpretability", "sparse-autoencoder", "autointerp"],
        "size_categories": [next((name for most, name in SIZES if figures.features < most), "n>10M")],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": TABLE}]}],
    }
    rows = {
        "dictionary": source.dictionary,
        "subject": source.subject,
        "hook point": source.hook_point,
        "architecture": source.architecture,
        "features": f"{figures.features:,} of {source.n_features:,}",
        "features with a label": f"{figures.labelled:,}",
        "features that never fire": f"{figures.dead:,}",
        "mean score of the best explanations": figures.mean_score,
        "tokens of the corpus": f"{source.tokens:,}",
        "run": source.run_digest,
    }
    table = "\n".join(f"| {name} | {one_line(str(value)).replace('|', chr(92) + '|')} |" for name, value in rows.items())
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n# Features of {one_line(source.dictionary)}\n\n"
        "Evidence, explanations and scores of the features of a sparse dictionary, one row per feature, as Glossator wrote them.\n\n"
        f"| | |\n| --- | --- |\n{table}\n\n"
        "`contexts` quotes windows of the corpus: its license applies to them. The license above is what the exporter said of the whole.\n"
        "`manifest.json` names versions, digests and prompts.\n"
    )
