"""Neuronpedia's export layout: gzipped JSON Lines of features, activations and explanations, in batches.

The rows of models, sources and sets hold their names alone. Scores are not in Neuronpedia's files: ours lie beside them, in `scores`.
"""

import gzip
import json
from collections.abc import Iterator, Sequence
from typing import Any

from interp.domain.evidence import FeatureEvidence
from interp.domain.record import FeatureRecord, RunSource
from interp.exchange.formats.base import FormatFacts, FormatOptions, Piece, Portions, segment
from interp.exchange.formats.shown import bars, effects, method_of, model_of, windows
from interp.exchange.rows import score
from interp.store.listings.records import EVERYTHING, Part

Row = dict[str, Any]


class Neuronpedia:
    """Writes a batch of each kind per portion of features."""

    facts = FormatFacts(
        name="neuronpedia",
        media_type="application/zip",
        suffix="",
        parts=EVERYTHING,
        readers="Neuronpedia's import of exports, `glossator import`",
        lost=(
            "windows in which the feature is silent",
            "splits and left contexts",
            "histograms of logits, which are not collected",
            "rules, provenance and failures of explanations",
        ),
    )

    def write(self, source: RunSource, portions: Portions, parts: frozenset[Part], options: FormatOptions) -> Iterator[Piece]:  # noqa: ARG002 - it has none
        model, layer = source.subject_name, source.source_name
        top = segment(model)
        root = f"{top}/{segment(layer)}"
        release = layer.partition("-")[2] or layer
        yield _lines(f"{top}/model.jsonl", [{"id": model, "displayName": model}])
        yield _lines(f"{root}/release.jsonl", [{"name": release}])
        yield _lines(f"{root}/sourceset.jsonl", [{"modelId": model, "name": release, "releaseName": release}])
        yield _lines(f"{root}/source.jsonl", [{"id": layer, "modelId": model, "setName": release, "hookName": source.hook_point}])
        for number, portion in enumerate(portions):
            yield _lines(f"{root}/features/batch-{number}.jsonl.gz", [_feature(source, record) for record in portion])
            yield _lines(f"{root}/activations/batch-{number}.jsonl.gz", list(_activations(source, portion)))
            yield _lines(f"{root}/explanations/batch-{number}.jsonl.gz", list(_explanations(source, portion)))
            yield _lines(f"{root}/scores/batch-{number}.jsonl.gz", list(_scores(source, portion)))


def _lines(name: str, rows: Sequence[Row]) -> Piece:
    content = "".join([json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows]).encode()
    return Piece(gzip.compress(content, 6, mtime=0) if name.endswith(".gz") else content, name)


def _of(source: RunSource, index: int) -> Row:
    return {"modelId": source.subject_name, "layer": source.source_name, "index": str(index)}


def _feature(source: RunSource, record: FeatureRecord) -> Row:
    row = _of(source, record.index) | {
        "maxActApprox": record.listed["max_activation"],
        "frac_nonzero": record.listed["density"],
        "hookName": source.hook_point,
    }
    return row if record.evidence is None else row | _figures(source, record.evidence)


def _figures(source: RunSource, evidence: FeatureEvidence) -> Row:
    middles, heights = bars(evidence)
    found = effects(evidence, source.vocabulary)
    return {
        "pos_str": [token for token, _ in found["promoted"]],
        "pos_values": [value for _, value in found["promoted"]],
        "neg_str": [token for token, _ in found["suppressed"]],
        "neg_values": [value for _, value in found["suppressed"]],
        "freq_hist_data_bar_heights": heights,
        "freq_hist_data_bar_values": middles,
        "logits_hist_data_bar_heights": [],
        "logits_hist_data_bar_values": [],
        "topkCosSimIndices": [neighbour.feature for neighbour in evidence.nearest],
        "topkCosSimValues": [neighbour.cosine for neighbour in evidence.nearest],
    }


def _activations(source: RunSource, portion: Sequence[FeatureRecord]) -> Iterator[Row]:
    corpus = source.corpus_name
    for record in portion:
        for window in () if record.evidence is None else windows(record.evidence, source.vocabulary):
            yield {
                "id": f"{source.dictionary}:{record.index}:{window.id}",
                **_of(source, record.index),
                "tokens": window.tokens,
                "values": window.values,
                "maxValue": window.peak,
                "maxValueTokenIndex": window.peak_at,
                "minValue": min(window.values, default=0.0),
                "dataIndex": window.id,
                "dataSource": corpus,
                "binMin": window.low,
                "binMax": window.high,
                "binContains": window.share,
                "qualifyingTokenIndex": window.peak_at,
            }


def _explanations(source: RunSource, portion: Sequence[FeatureRecord]) -> Iterator[Row]:
    for record in portion:
        for made in record.explanations:
            if made.text is not None:
                yield {
                    "id": f"{source.dictionary}:{record.index}:{made.explainer}:{made.settings_digest[:12]}",
                    **_of(source, record.index),
                    "description": made.text,
                    "typeName": method_of(made),
                    "explanationModelName": model_of(made),
                }


def _scores(source: RunSource, portion: Sequence[FeatureRecord]) -> Iterator[Row]:
    for record in portion:
        for made in record.explanations:
            of = {"explanationId": f"{source.dictionary}:{record.index}:{made.explainer}:{made.settings_digest[:12]}"}
            yield from (_of(source, record.index) | of | score(one) for one in made.scores)
