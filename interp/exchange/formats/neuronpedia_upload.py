"""Bodies for Neuronpedia's `POST /api/feature/upload-batch`, a file each, within its limits."""

import json
from collections.abc import Iterator
from typing import Any

from interp.domain.record import FeatureRecord, RunSource
from interp.exchange.formats.base import FormatFacts, FormatOptions, Piece, Portions
from interp.exchange.formats.shown import effects, method_of, model_of, windows
from interp.store.listings.records import EVERYTHING, Part

# Limits of the endpoint.
FEATURES, LOGITS, CHARACTERS, TOKENS = 128, 20, 512, 1024


class NeuronpediaUpload:
    """Writes one request body per file, for the user to send."""

    facts = FormatFacts(
        name="neuronpedia-upload",
        media_type="application/zip",
        suffix="",
        parts=EVERYTHING - {Part.SCORES},
        readers="Neuronpedia's upload endpoint, the `neuronpedia` package",
        lost=(
            "scores, histograms and neighbours",
            "windows in which the feature is silent",
            f"what is beyond {CHARACTERS} characters of an explanation, {LOGITS} logits a side and {TOKENS} tokens of a window",
        ),
    )

    def write(self, source: RunSource, portions: Portions, parts: frozenset[Part], options: FormatOptions) -> Iterator[Piece]:  # noqa: ARG002 - it has none
        number = 0
        for portion in portions:
            for start in range(0, len(portion), FEATURES):
                features = [_feature(source, record) for record in portion[start : start + FEATURES]]
                body = {"modelId": source.subject_name, "source": source.source_name, "features": features}
                yield Piece(json.dumps(body, ensure_ascii=False).encode(), f"batch-{number}.json")
                number += 1


def _feature(source: RunSource, record: FeatureRecord) -> dict[str, Any]:
    evidence = record.evidence
    found = {"promoted": [], "suppressed": []} if evidence is None else effects(evidence, source.vocabulary, LOGITS)
    shown = [] if evidence is None else list(windows(evidence, source.vocabulary))
    return {
        "index": record.index,
        "density": record.listed["density"],
        "topLogits": [{"token": token, "value": value} for token, value in found["promoted"]],
        "bottomLogits": [{"token": token, "value": value} for token, value in found["suppressed"]],
        "explanations": [
            {"text": made.text[:CHARACTERS], "methodName": method_of(made), "modelName": model_of(made)}
            for made in record.explanations
            if made.text is not None
        ],
        "activations": [
            {
                "tokens": window.tokens[:TOKENS],
                "values": window.values[:TOKENS],
                "quantileMin": None if window.is_top else window.low,
                "quantileMax": None if window.is_top else window.high,
                "quantileFraction": None if window.is_top else window.share,
            }
            for window in shown
        ],
    }
