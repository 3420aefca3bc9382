"""circuit-tracer's file per feature, and the labels of graph nodes.

Its viewer asks for `features/<scan>/<number>.json`, where the number pairs layer and feature (Cantor).
"""

import json
import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np

from interp.domain.errors import InputError
from interp.domain.evidence import HISTOGRAM_EDGES
from interp.domain.record import FeatureRecord, RunSource
from interp.exchange.formats.base import FormatFacts, FormatOptions, Piece, Portions, segment
from interp.exchange.formats.shown import ShownWindow, effects, windows
from interp.store.listings.records import EVERYTHING, Part

LAYER = re.compile(r"(?:^|\.)(?:blocks|layers|h)\.(\d{1,5})(?:\.|$)")
LABELS = "labels.json"
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


class Graph:
    """Writes a file per feature, then the labels of all as `{"layer_feature": label}`."""

    facts = FormatFacts(
        name="graph",
        media_type="application/zip",
        suffix="",
        parts=EVERYTHING - {Part.SCORES},
        readers="circuit-tracer's viewer",
        lost=("scores", "windows in which the feature is silent", "all explanations but the best", "neighbours"),
    )

    def write(self, source: RunSource, portions: Portions, parts: frozenset[Part], options: FormatOptions) -> Iterator[Piece]:  # noqa: ARG002 - it has none
        layer = _layer_of(source)
        scan, labels = segment(source.dictionary), {}
        for portion in portions:
            for record in portion:
                name = f"features/{scan}/{paired(layer, record.index)}.json"
                yield Piece(json.dumps(_feature(source, scan, record), ensure_ascii=False).encode(), name)
                if record.listed["label"] is not None:
                    labels[f"{layer}_{record.index}"] = record.listed["label"]
        yield Piece(json.dumps(labels, ensure_ascii=False, indent=0).encode(), LABELS)


def paired(layer: int, feature: int) -> int:
    """Return the number of a layer's feature, by Cantor's pairing."""
    return (layer + feature) * (layer + feature + 1) // 2 + feature


def _layer_of(source: RunSource) -> int:
    found = LAYER.search(source.hook_point)
    if found is None:
        why = f"{source.hook_point} names no layer."
        raise InputError(f"The features of {source.dictionary} have no place in a graph.", why=why, cure="Choose another format.")
    return int(found[1])


def _feature(source: RunSource, scan: str, record: FeatureRecord) -> dict[str, Any]:
    row: dict[str, Any] = {"transcoder_id": scan, "index": record.index, "activation_frequency": record.listed["density"] or 0.0}
    row |= {"act_min": 0.0, "act_max": record.listed["max_activation"] or 0.0}
    if record.evidence is None:
        return row | {"examples_quantiles": [], "top_logits": [], "bottom_logits": [], "quantile_values": [], "histogram": []}
    found = effects(record.evidence, source.vocabulary)
    values = [record.evidence.quantile(share) for share in QUANTILES]
    filled = np.flatnonzero(record.evidence.histogram)
    heights = record.evidence.histogram[filled[0] : filled[-1] + 1].tolist() if len(filled) else []
    return row | {
        "examples_quantiles": list(_groups(windows(record.evidence, source.vocabulary))),
        "top_logits": [token for token, _ in found["promoted"]],
        "bottom_logits": [token for token, _ in found["suppressed"]],
        "quantile_values": [round(value, 6) for value in values if value is not None],
        "histogram": [float(height) for height in heights],
        "histogram_edges": [float(edge) for edge in HISTOGRAM_EDGES[filled[0] : filled[-1] + 2]] if len(filled) else [],
    }


def _groups(found: Iterator[ShownWindow]) -> Iterator[dict[str, Any]]:
    for (low, high), group in groupby(found, key=lambda window: (window.low, window.high)):
        name = "Top activations" if low < 0 else f"Activations from {low:.4g} to {high:.4g}"
        yield {
            "quantile_name": name,
            "examples": [
                {
                    "tokens_acts_list": window.values,
                    "train_token_ind": window.peak_at,
                    "is_repeated_datapoint": False,
                    "tokens": window.tokens,
                }
                for window in group
            ],
        }
