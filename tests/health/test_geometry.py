"""Figures of a dictionary's weights: plain definitions, planted duplicates and hubs, families without some of them."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.health.directions import COUNTED, mean_figure, random_directions, sample_features
from interp.health.geometry import COSINES, NEVER, geometry
from tests.health.directions import dictionary_of, normal


def plain_nearest(directions: np.ndarray, rank: int) -> np.ndarray:
    """Return the rank-th largest cosine of each row to another, by the definition."""
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    cosines = unit @ unit.T
    return np.array([sorted(np.delete(row, place))[-rank] for place, row in enumerate(cosines)])


@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 3))
@settings(max_examples=15)
def test_nearest_cosines_are_those_of_the_definition(features: int, width: int, seed: int) -> None:
    decoder = normal(features, width, seed)
    report = geometry(dictionary_of(decoder), seed=seed)
    for rank, found in zip((1, 10, 100), report.nearest, strict=True):
        assert found.rank == rank
        if features <= rank:
            assert found.mean.value is None and str(features) in (found.mean.why or "")
            assert sum(found.histogram.counts) == 0
            continue
        expected = plain_nearest(decoder.double().numpy(), rank)
        assert found.mean.value == pytest.approx(expected.mean(), abs=1e-5)
        assert found.cosines.quantiles is not None and found.cosines.quantiles[0] == pytest.approx(expected.min(), abs=1e-5)
        assert sum(found.histogram.counts) == features
        chance = plain_nearest(random_directions(features, width, seed).double().numpy(), rank)
        assert found.random_mean.value == pytest.approx(chance.mean(), abs=1e-5)
    json.dumps(asdict(report), allow_nan=False)


def test_a_sample_has_the_same_figures_within_its_error_and_all_have_none() -> None:
    dictionary = dictionary_of(normal(600, 16))
    whole, part = geometry(dictionary), geometry(dictionary, sample=150)
    exact, found = whole.nearest[0].mean, part.nearest[0].mean
    assert (whole.sampled, part.sampled) == (600, 150)
    assert exact.standard_error is None and exact.why == COUNTED
    assert exact.value is not None and found.value is not None and found.standard_error is not None
    assert 0 < abs(found.value - exact.value) < 4 * found.standard_error


def test_the_standard_error_of_a_sample_is_that_of_repeated_draws() -> None:
    values = np.random.default_rng(0).exponential(size=60)
    draws = [values[sample_features(np.arange(60), 20, seed)] for seed in range(800)]
    figures = [mean_figure(drawn, 60, "") for drawn in draws]
    errors = [figure.standard_error or 0.0 for figure in figures]
    spread = float(np.std([figure.value for figure in figures]))
    assert spread == pytest.approx(float(np.sqrt(np.mean(np.square(errors)))), rel=0.1)
    assert mean_figure(values[:1], 60, "").standard_error is None and mean_figure(values[:0], 60, "none").why == "none"


def test_planted_duplicates_are_a_peak_near_1_without_a_hub() -> None:
    base = normal(400, 64)
    decoder = torch.cat([base, base[:40] * 3])
    report = geometry(dictionary_of(decoder))
    assert report.near_duplicates.value == pytest.approx(80 / 440) and report.random_near_duplicates.value == 0
    peak = next(peak for peak in report.peaks if peak.high > 0.99)
    assert peak.count == 80 and peak.features[:20] == tuple(range(20)) and peak.share <= 2 / 80
    assert len(report.peaks) == 2 and report.random_peaks == 1


def test_a_planted_hub_is_a_peak_whose_features_share_one_nearest() -> None:
    decoder = torch.nn.functional.normalize(normal(400, 64), dim=1)
    hub = decoder[7].clone()
    noise = torch.nn.functional.normalize(decoder[300:360] - (decoder[300:360] @ hub)[:, None] * hub, dim=1)
    decoder[300:360] = 0.65 * hub + (1 - 0.65**2) ** 0.5 * noise
    report = geometry(dictionary_of(decoder))
    peak = next(peak for peak in report.peaks if peak.low < 0.65 < peak.high)
    assert peak.shared == 7 and peak.count >= 50 and peak.share > 0.9 and {301, 305, 310} < set(peak.features)
    assert report.hubs[0].feature == 7 and report.hubs[0].count >= 50 > 3 * report.random_hub


def test_zero_rows_have_no_direction_and_are_counted() -> None:
    decoder = normal(12, 5)
    decoder[[2, 9]] = 0
    encoder = normal(12, 5, 1)
    encoder[3] = 0
    report = geometry(dictionary_of(decoder, encoder))
    rest = np.delete(decoder.double().numpy(), [2, 9], axis=0)
    assert (report.zero_decoders, report.zero_encoders, report.sampled) == (2, 1, 10)
    assert report.nearest[0].mean.value == pytest.approx(plain_nearest(rest, 1).mean(), abs=1e-5)
    assert {2, 9}.isdisjoint({feature for peak in report.peaks for feature in peak.features} | {hub.feature for hub in report.hubs})
    kept = [i for i in range(12) if i not in (2, 3, 9)]
    expected = torch.nn.functional.cosine_similarity(decoder[kept], encoder[kept], dim=1).mean()
    assert report.encoder_decoder.distribution is not None and report.encoder_decoder.distribution.count == 9
    assert report.encoder_decoder.distribution.mean == pytest.approx(float(expected), abs=1e-6)
    assert report.tied is False


@pytest.mark.parametrize("decoder", [torch.zeros(3, 4), torch.ones(1, 4)], ids=["all zero", "one feature"])
def test_what_has_no_nearest_feature_says_so(decoder: torch.Tensor) -> None:
    report = geometry(dictionary_of(decoder))
    assert [found.mean.value for found in report.nearest] == [None, None, None]
    assert all(found.mean.why for found in report.nearest) and report.near_duplicates.why
    assert report.peaks == report.hubs == () and report.random_hub == 0
    json.dumps(asdict(report), allow_nan=False)


@pytest.mark.parametrize("scale", [1.0, 1e18, 1e30])
def test_norms_that_are_hardly_apart_have_a_histogram(scale: float) -> None:
    turned = torch.tensor([[1.0, 0, 0, 0], [0, 0.6, 0.8, 0], [0, 0.8, 0, 0.6]]) * scale
    for decoder in (torch.full((3, 4), scale), turned):
        report = geometry(dictionary_of(decoder))
        histogram = report.decoder_norms.histogram
        assert histogram is not None and sum(histogram.counts) == 3 and histogram.edges[0] < histogram.edges[-1]
        json.dumps(asdict(report), allow_nan=False)


def test_neurons_are_tied_axes_without_biases() -> None:
    report = geometry(dictionary_of(torch.eye(8), architecture="neurons"))
    assert report.tied is True and report.encoder_biases.why and report.thresholds.why
    assert report.nearest[0].mean.value == 0 and (report.nearest[0].random_mean.value or 0) > 0.2
    assert report.decoder_norms.distribution is not None and report.decoder_norms.distribution.mean == 1


def test_both_polarities_are_compared_with_random_opposed_pairs() -> None:
    base = normal(30, 6)
    report = geometry(dictionary_of(torch.cat([base, -base]), polarity="both", architecture="directions"))
    chance = random_directions(60, 6, 0, "both").double().numpy()
    assert np.array_equal(chance[:30], -chance[30:])
    assert report.nearest[0].random_mean.value == pytest.approx(plain_nearest(chance, 1).mean(), abs=1e-5)
    unit = torch.nn.functional.normalize(base.double(), dim=1)
    sharp = (unit @ unit.T).abs().fill_diagonal_(0).max(1).values.mean()
    assert report.nearest[0].mean.value == pytest.approx(float(sharp), abs=1e-5), "the greatest cosine of either sign"


def test_a_transcoder_has_no_cosine_of_encoder_and_decoder() -> None:
    same_width = geometry(dictionary_of(normal(5, 4), normal(5, 4, 1), output_point="blocks.1.hook_mlp_out"))
    other_width = geometry(dictionary_of(normal(5, 4), normal(5, 7, 1), output_point="blocks.1.hook_mlp_out"))
    for report in (same_width, other_width):
        assert report.encoder_decoder.distribution is None and "two spaces" in (report.encoder_decoder.why or "") and report.tied is None
        assert report.encoder_norms.distribution is not None


def test_sites_of_a_crosscoder_share_the_norm() -> None:
    decoder = normal(6, 7)
    decoder[0, :3] = 0
    dictionary = dictionary_of(decoder, hook_point="blocks.0.hook_resid_post+blocks.1.hook_resid_post")
    report = geometry(dictionary, widths=(3, 4))
    assert [site.hook_point for site in report.sites] == ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    assert report.sites[0].norms.mean == pytest.approx(float(decoder[:, :3].norm(dim=1).mean()), rel=1e-6)
    assert report.sites[1].share.quantiles is not None and report.sites[1].share.quantiles[-1] == pytest.approx(1)
    assert report.sites[0].share.mean == pytest.approx(float((decoder[:, :3].norm(dim=1) / decoder.norm(dim=1)).square().mean()), rel=1e-6)
    for widths in (None, (3, 3), (7,)):
        refused = geometry(dictionary, widths=widths)
        assert refused.sites == () and refused.sites_why


def test_biases_and_thresholds_with_negative_ones_and_ones_that_nothing_exceeds() -> None:
    facts = {"activation": "jumprelu", "threshold": torch.tensor([-0.5, 0.25, NEVER, 1.0]), "b_enc": torch.tensor([-1.0, 0.0, 2.0, -3.0])}
    report = geometry(dictionary_of(normal(4, 3), **facts))
    assert report.encoder_biases.negative.value == 0.5
    assert (report.thresholds.negative.value, report.thresholds.infinite) == (0.25, 1)
    assert report.thresholds.distribution is not None and report.thresholds.distribution.mean == pytest.approx(0.25)
    assert report.thresholds.histogram is not None and sum(report.thresholds.histogram.counts) == 3
    prolu = geometry(dictionary_of(normal(4, 3), architecture="prolu", activation="jumprelu", threshold=torch.tensor([0.0, 0.0, 0.5, 1.0])))
    assert prolu.encoder_biases.distribution is None and "threshold" in (prolu.encoder_biases.why or "")
    assert prolu.thresholds.positive.value == 0.5


def test_bins_are_fixed_so_that_histograms_of_two_dictionaries_compare() -> None:
    one, other = (geometry(dictionary_of(normal(20, width))).nearest[0].histogram.edges for width in (3, 9))
    assert one == other == tuple(COSINES.tolist())
