"""One feature as a row: the same names in JSON, Arrow and Parquet.

A row holds what the product knows of a feature but the items of its scores. It names no run and no time, so that a row that was read back is
written as the same row again.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from interp.domain.evidence import HISTOGRAM_EDGES, FeatureEvidence, Statistics
from interp.domain.record import LISTED, ExplanationRecord, FeatureRecord, RunSource, ScoreRecord
from interp.exchange.text import decimal, json_text
from interp.store.listings.records import Part

SCORE_TEXTS = (
    "scorer",
    "settings_digest",
    "metric",
    "interval_method",
    "reason",
    "null_reason",
    "lift_method",
    "lift_reason",
    "p_method",
    "p_paired_reason",
)
SCORE_COUNTS = ("answered", "failed", "abstained")
SCORE_OBJECTS = ("null_values", "controls", "details")
SCORE_FIGURES = tuple(column.name for column in fields(ScoreRecord) if column.name not in {*SCORE_TEXTS, *SCORE_COUNTS, *SCORE_OBJECTS})
SCORE = tuple(column.name for column in fields(ScoreRecord))
COUNTS = tuple(column.name for column in fields(Statistics))
EDGES = tuple(decimal(edge) for edge in HISTOGRAM_EDGES)


def figures(record: FeatureRecord) -> dict[str, Any]:
    """Return the listed figures of a feature, by name."""
    return {name: _number(record.listed[name]) for name in LISTED}


def in_order(value: Any) -> Any:
    """Return JSON content with sorted keys: PostgreSQL has an order of its own."""
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [in_order(item) for item in value]
    return _number(value)


def explanation(made: ExplanationRecord, with_scores: bool, content: Callable[[Any], Any] = in_order) -> dict[str, Any]:
    """Return an explanation by the names of its members.

    `content` turns objects without fixed members into what a format holds.
    """
    found = {name: getattr(made, name) for name in ("explainer", "settings_digest", "best", "text", "failure")}
    found |= {"rule": content(made.rule), "provenance": content(made.provenance)}
    return found | ({"scores": [score(one, content) for one in made.scores]} if with_scores else {})


def score(made: ScoreRecord, content: Callable[[Any], Any] = in_order) -> dict[str, Any]:
    """Return a score by the names of its members."""
    # Not `asdict`, which copies every value of the details: half of the time of a dictionary's stream.
    return {name: content(getattr(made, name)) if name in SCORE_OBJECTS else _number(getattr(made, name)) for name in SCORE}


def statistics(evidence: FeatureEvidence, texts: Sequence[str]) -> dict[str, Any]:
    """Return counts, histogram, token effects and neighbours of a feature as JSON content."""
    return {
        "statistics": {name: _plain(getattr(evidence.statistics, name)) for name in COUNTS},
        "histogram": histogram(evidence),
        "promoted": [{"token": texts[effect.token], "logit": _number(effect.logit)} for effect in evidence.promoted],
        "suppressed": [{"token": texts[effect.token], "logit": _number(effect.logit)} for effect in evidence.suppressed],
        "nearest": [{"index": neighbour.feature, "cosine": _number(neighbour.cosine)} for neighbour in evidence.nearest],
    }


def histogram(evidence: FeatureEvidence) -> dict[str, Any]:
    """Return the bins between the first and last non-empty ones, with their edges."""
    filled = np.flatnonzero(evidence.histogram)
    if len(filled) == 0:
        return {"edges": [], "counts": []}
    first, last = int(filled[0]), int(filled[-1])
    return {"edges": list(EDGES[first : last + 2]), "counts": evidence.histogram[first : last + 1].tolist()}


class JsonRows:
    """Rows of one run as JSON texts in UTF-8."""

    def __init__(self, source: RunSource, parts: Collection[Part]) -> None:
        # Imported here: it imports pyarrow, which takes a third of a second.
        from interp.exchange.contexts import TokenTexts

        self._parts, self._source, self._texts = frozenset(parts), source, TokenTexts(source.vocabulary)

    def lines(self, records: Sequence[FeatureRecord]) -> bytes:
        """Return each feature as one JSON object on a line."""
        pieces: list[bytes] = []
        for record, parts in zip(records, self.parts(records), strict=True):
            pieces += [b"{", _members({"index": record.index} | figures(record))]
            # Joined once, with those of all features: contexts are large.
            for part in parts:
                pieces += [b",", part]
            pieces.append(b"}\n")
        return b"".join(pieces)

    def parts(self, records: Sequence[FeatureRecord]) -> list[list[bytes]]:
        """Return the members of each feature's row that were asked for, as JSON texts."""
        contexts = self._contexts(records) if Part.CONTEXTS in self._parts else {}
        return [[*self._small(record), *contexts.get(record.index, ()), *_unreadable(record)] for record in records]

    def _small(self, record: FeatureRecord) -> Iterator[bytes]:
        if Part.STATISTICS in self._parts and record.evidence is not None:
            yield _members(statistics(record.evidence, self._source.vocabulary.strings))
        if self._parts & {Part.EXPLANATIONS, Part.SCORES}:
            yield _members({"explanations": [explanation(one, Part.SCORES in self._parts) for one in record.explanations]})

    def _contexts(self, records: Sequence[FeatureRecord]) -> dict[int, list[bytes]]:
        from interp.exchange.contexts import Windows

        found = {record.index: record.evidence.contexts for record in records if record.evidence is not None}
        texts = Windows(list(found.values()), self._texts).json(self._texts)
        return {index: [b"".join([b'"contexts":[', text, b"]"])] for index, text in zip(found, texts, strict=True)}


def _unreadable(record: FeatureRecord) -> list[bytes]:
    return [] if record.unreadable is None else [_members({"unreadable": record.unreadable})]


def _members(value: Mapping[str, Any]) -> bytes:
    """Return an object's members as JSON, without its braces."""
    return json_text(value)[1:-1].encode()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else _number(value)


def _number(value: Any) -> Any:
    """Return a value as it is, and what JSON has no number for as None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
