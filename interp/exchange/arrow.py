"""Features of one run as Arrow record batches, with the columns of `interp.exchange.rows`.

Objects that have no fixed members (rules, provenance, details of scores) are JSON texts.
"""

from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa

from interp.domain.record import FeatureRecord, RunSource
from interp.exchange import rows
from interp.exchange.contexts import CONTEXT, TokenTexts, Windows, offsets
from interp.exchange.text import json_text
from interp.store.listings.records import Part

FIGURES = {
    "state": pa.string(),
    "label": pa.string(),
    "explainer": pa.string(),
    "scorer": pa.string(),
    "score": pa.float64(),
    "shrunken_score": pa.float64(),
    "lift": pa.float64(),
    "p_value": pa.float64(),
    "q_value": pa.float64(),
    "density": pa.float64(),
    "tokens_active": pa.int64(),
    "max_activation": pa.float64(),
    "mean_active": pa.float64(),
    "firing_level": pa.float64(),
}
PAIR = pa.list_(pa.int64())
EFFECTS = pa.list_(pa.struct({"token": pa.string(), "logit": pa.float64()}))
STATISTICS = {
    "statistics": pa.struct(
        {
            "tokens_seen": pa.int64(),
            "tokens_active": pa.int64(),
            "windows_seen": PAIR,
            "windows_active": PAIR,
            "max_activation": pa.float64(),
            "mean_active": pa.float64(),
            "firing_level": pa.float64(),
        }
    ),
    "histogram": pa.struct({"edges": pa.list_(pa.float64()), "counts": pa.list_(pa.int64())}),
    "promoted": EFFECTS,
    "suppressed": EFFECTS,
    "nearest": pa.list_(pa.struct({"index": pa.int32(), "cosine": pa.float64()})),
}
SCORE = pa.struct(
    {name: pa.string() for name in rows.SCORE_TEXTS}
    | {name: pa.float64() for name in rows.SCORE_FIGURES}
    | {name: pa.int64() for name in rows.SCORE_COUNTS}
    | {name: pa.string() for name in rows.SCORE_OBJECTS}
)
EXPLANATION = {
    "explainer": pa.string(),
    "settings_digest": pa.string(),
    "best": pa.bool_(),
    "text": pa.string(),
    "failure": pa.string(),
    "rule": pa.string(),
    "provenance": pa.string(),
}


def schema(source: RunSource, parts: Collection[Part]) -> pa.Schema:
    """Return the columns of the parts; the metadata names dictionary and run."""
    columns: dict[str, pa.DataType] = {"index": pa.int32()} | FIGURES
    if Part.STATISTICS in parts:
        columns |= STATISTICS
    if {Part.EXPLANATIONS, Part.SCORES} & set(parts):
        columns["explanations"] = pa.list_(pa.struct(EXPLANATION | ({"scores": pa.list_(SCORE)} if Part.SCORES in parts else {})))
    if Part.CONTEXTS in parts:
        columns["contexts"] = pa.list_(CONTEXT)
    columns["unreadable"] = pa.string()
    return pa.schema(columns, metadata={"dictionary": source.dictionary, "run": source.run, "run_digest": source.run_digest})


class ArrowRows:
    """Record batches of one run."""

    def __init__(self, source: RunSource, parts: Collection[Part]) -> None:
        self._parts, self.schema = frozenset(parts), schema(source, parts)
        self._texts, self._strings = TokenTexts(source.vocabulary), source.vocabulary.strings

    def batch(self, records: Sequence[FeatureRecord]) -> pa.RecordBatch:
        """Return some features as one batch."""
        listed = [rows.figures(record) for record in records]
        columns: dict[str, Any] = {"index": [record.index for record in records]}
        columns |= {name: [row[name] for row in listed] for name in FIGURES}
        if Part.STATISTICS in self._parts:
            found = [{} if one.evidence is None else rows.statistics(one.evidence, self._strings) for one in records]
            columns |= {name: [one.get(name) for one in found] for name in STATISTICS}
        if "explanations" in self.schema.names:
            columns["explanations"] = [self._explanations(record) for record in records]
        if Part.CONTEXTS in self._parts:
            columns["contexts"] = self._contexts(records)
        columns["unreadable"] = [record.unreadable for record in records]
        arrays = [columns[of.name] if isinstance(columns[of.name], pa.Array) else pa.array(columns[of.name], of.type) for of in self.schema]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _explanations(self, record: FeatureRecord) -> list[dict[str, Any]]:
        return [rows.explanation(made, Part.SCORES in self._parts, _text) for made in record.explanations]

    def _contexts(self, records: Sequence[FeatureRecord]) -> pa.Array:
        """Return the contexts of each feature, null where its evidence cannot be read."""
        found = [None if record.evidence is None else record.evidence.contexts for record in records]
        windows = Windows([one for one in found if one is not None], self._texts)
        counts = [0 if one is None else len(one) for one in found]
        missing = pa.array([one is None for one in found], pa.bool_())
        return pa.ListArray.from_arrays(offsets(counts), windows.struct(self._texts), type=pa.list_(CONTEXT), mask=missing)


def _text(value: Any) -> str | None:
    return None if value is None else json_text(rows.in_order(value))
