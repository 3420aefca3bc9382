"""SAEDashboard's `batch-N.json` for Neuronpedia: features with their figures and windows."""

import json
from collections.abc import Iterator
from typing import Any

from interp.domain.record import FeatureRecord, RunSource
from interp.exchange.formats.base import FormatFacts, FormatOptions, Piece, Portions
from interp.exchange.formats.shown import bars, effects, windows
from interp.store.listings.records import EVERYTHING, Part

# Figures of SAEDashboard that nothing here measures.
NOT_MEASURED = (
    "neuron_alignment_indices",
    "neuron_alignment_values",
    "neuron_alignment_l1",
    "correlated_neurons_indices",
    "correlated_neurons_l1",
    "correlated_neurons_pearson",
    "correlated_features_indices",
    "correlated_features_l1",
    "correlated_features_pearson",
    "logits_hist_data_bar_heights",
    "logits_hist_data_bar_values",
    "decoder_weights_dist",
)


class SaeDashboard:
    """Writes one batch per portion of features."""

    facts = FormatFacts(
        name="saedashboard",
        media_type="application/zip",
        suffix="",
        parts=EVERYTHING - {Part.EXPLANATIONS, Part.SCORES},
        readers="tools that read SAEDashboard's batches, `glossator import`",
        lost=(
            "explanations and scores",
            "windows in which the feature is silent, splits and left contexts",
            "neighbours; alignment and correlation of neurons and histograms of logits are not measured, and empty",
        ),
    )

    def write(self, source: RunSource, portions: Portions, parts: frozenset[Part], options: FormatOptions) -> Iterator[Piece]:  # noqa: ARG002 - it has none
        layer, _, of_set = source.source_name.partition("-")
        for number, portion in enumerate(portions):
            batch = {
                "model_id": source.subject_name,
                "layer": int(layer) if layer.isascii() and layer.isdecimal() else layer,
                "sae_set": of_set or source.source_name,
                "sae_id_suffix": None,
                "features": [_feature(source, record) for record in portion],
            }
            yield Piece(json.dumps(batch, ensure_ascii=False).encode(), f"batch-{number}.json")


def _feature(source: RunSource, record: FeatureRecord) -> dict[str, Any]:
    row: dict[str, Any] = {"feature_index": record.index} | {name: [] for name in NOT_MEASURED}
    row |= {"frac_nonzero": record.listed["density"] or 0.0, "dataset": source.corpus_name}
    if record.evidence is None:
        return row | {"activations": []}
    middles, heights = bars(record.evidence)
    found = effects(record.evidence, source.vocabulary)
    return row | {
        "pos_str": [token for token, _ in found["promoted"]],
        "pos_values": [value for _, value in found["promoted"]],
        "neg_str": [token for token, _ in found["suppressed"]],
        "neg_values": [value for _, value in found["suppressed"]],
        "freq_hist_data_bar_values": middles,
        "freq_hist_data_bar_heights": heights,
        "n_prompts_total": sum(record.evidence.statistics.windows_seen),
        "n_tokens_in_prompt": record.evidence.contexts.tokens.shape[1],
        "activations": [
            {
                "bin_min": window.low,
                "bin_max": window.high,
                "bin_contains": window.share,
                "tokens": window.tokens,
                "values": window.values,
                "qualifying_token_index": window.peak_at,
            }
            for window in windows(record.evidence, source.vocabulary)
        ],
    }
