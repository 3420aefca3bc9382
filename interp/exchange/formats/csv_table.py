"""One CSV row per score, for spreadsheets.

An explanation without scores has one row without figures.
A text that a spreadsheet would run as a formula gets an apostrophe before it (`guarded`), which `glossator import` takes off again.
"""

import csv
import io
from collections.abc import Iterator
from typing import Any

from interp.domain.cleaning import guarded
from interp.domain.record import FeatureRecord, RunSource, ScoreRecord, judge_of
from interp.exchange.formats.base import FormatFacts, FormatOptions, Piece, Portions
from interp.store.listings.records import Part

OF_EXPLANATIONS = ("dictionary", "run", "corpus", "index", "explainer", "settings_digest", "job", "best", "firing_level", "text", "failure")
OF_SCORES = (
    "scorer",
    "judge",
    "metric",
    "value",
    "low",
    "high",
    "shrunken_score",
    "reason",
    "null_value",
    "lift",
    "lift_low",
    "lift_high",
    "lift_reason",
    "p_value",
    "p_method",
    "p_paired",
    "q_value",
    "lift_over_pattern",
    "answered",
    "failed",
    "abstained",
)
OF_CONTROLS = ("empty", "baseline", "repeat", "judge_swap", "gold")
COLUMNS = (*OF_EXPLANATIONS, *OF_SCORES, *OF_CONTROLS)


class CsvTable:
    """Writes explanations and their scores as one table."""

    facts = FormatFacts(
        name="csv",
        media_type="text/csv",
        suffix=".csv",
        parts=frozenset({Part.EXPLANATIONS, Part.SCORES}),
        readers="spreadsheets, `glossator import` (labels)",
        lost=("contexts", "statistics", "rules and provenance", "details of scores", "an apostrophe is added before texts that begin like a formula"),
    )

    def write(self, source: RunSource, portions: Portions, parts: frozenset[Part], options: FormatOptions) -> Iterator[Piece]:  # noqa: ARG002 - it has none
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        for portion in portions:
            for record in portion:
                writer.writerows({name: guarded(value) for name, value in row.items()} for row in _rows(source, record))
            yield Piece(text.getvalue().encode())
            text.seek(0)
            text.truncate()
        yield Piece(text.getvalue().encode())


def _rows(source: RunSource, record: FeatureRecord) -> Iterator[dict[str, Any]]:
    for made in record.explanations:
        common = {name: getattr(made, name) for name in ("explainer", "settings_digest", "job", "best", "text", "failure")}
        common |= {name: getattr(source, name) for name in ("dictionary", "run")} | {"corpus": source.corpus_name}
        common |= {"index": record.index, "firing_level": record.listed["firing_level"]}
        if not made.scores:
            yield common
        for score in made.scores:
            yield common | _score(score)


def _score(score: ScoreRecord) -> dict[str, Any]:
    controls = {control["name"]: control for control in score.controls or ()}
    row = {name: getattr(score, name) for name in OF_SCORES if hasattr(score, name)}
    return row | {
        "judge": judge_of(score.details),
        "shrunken_score": score.shrunken_value,
        "lift_over_pattern": controls.get("baseline", {}).get("lift"),
        **{name: controls.get(name, {}).get("value") for name in OF_CONTROLS},
    }
