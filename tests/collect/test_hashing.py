"""The samples are the ones that they claim to be: uniform over active windows, and weighted by activation."""

import numpy as np
import torch
from scipy import stats

from interp.collect.block import PRIORITIES, FeatureRange, Pairs
from interp.collect.hashing import exponential, feature_multipliers, window_hashes
from interp.collect.window_batches import Windows
from interp.domain.evidence import ContextKind

LEAST_P = 1e-4  # of a test with fixed seeds: below it, chance is no explanation
WINDOWS, FEATURES, KEEP = 64, 4096, 8


def documents(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**63, count).astype(np.uint64)


def chosen(kind: ContextKind, maxima: np.ndarray, keep: int = KEEP) -> np.ndarray:
    """How many of `FEATURES` features keep each window, when all features fire alike: float32 [W] maxima."""
    hashes = window_hashes(3, documents(WINDOWS), np.arange(WINDOWS))
    windows = Windows(torch.arange(WINDOWS), torch.from_numpy(hashes), torch.ones((WINDOWS, 1), dtype=torch.bool))
    nothing = torch.zeros(0)
    multipliers = torch.from_numpy(feature_multipliers(3, np.arange(FEATURES)))
    features = FeatureRange(0, FEATURES, multipliers, nothing, nothing, nothing)
    rows, columns = torch.arange(FEATURES).repeat_interleave(WINDOWS), torch.arange(WINDOWS).repeat(FEATURES)
    priorities = PRIORITIES[kind](Pairs(rows, columns, torch.from_numpy(maxima)[columns]), windows, features)
    kept = priorities.view(FEATURES, WINDOWS).topk(keep, dim=1).indices
    return np.bincount(kept.flatten().numpy(), minlength=WINDOWS)


def test_every_window_is_as_likely_in_a_uniform_sample() -> None:
    counts = chosen(ContextKind.UNIFORM, np.ones(WINDOWS, dtype=np.float32))
    # Without replacement: the counts vary by (1 - keep/W) of a multinomial's, hence the factor (Cochran 1977, 2.3).
    statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum() / (1 - KEEP / WINDOWS)
    assert stats.chi2.sf(statistic, WINDOWS - 1) > LEAST_P
    assert stats.chi2.cdf(statistic, WINDOWS - 1) > LEAST_P


def test_a_uniform_sample_does_not_see_activations() -> None:
    even, skewed = np.ones(WINDOWS, dtype=np.float32), np.linspace(0.1, 9, WINDOWS).astype(np.float32)
    np.testing.assert_array_equal(chosen(ContextKind.UNIFORM, even), chosen(ContextKind.UNIFORM, skewed))


def test_the_first_of_a_weighted_sample_is_drawn_by_activation() -> None:
    weights = np.linspace(0.5, 8, WINDOWS).astype(np.float32)
    counts = chosen(ContextKind.WEIGHTED, weights, keep=1)
    assert stats.chisquare(counts, weights / weights.sum() * FEATURES).pvalue > LEAST_P


def test_a_weighted_sample_follows_successive_draws_without_replacement() -> None:
    weights = np.linspace(0.5, 8, WINDOWS).astype(np.float32)
    generator = np.random.default_rng(1)
    draws = [generator.choice(WINDOWS, KEEP, replace=False, p=weights / weights.sum(dtype=np.float64)) for _ in range(FEATURES)]
    expected = np.bincount(np.concatenate(draws), minlength=WINDOWS)
    counts = chosen(ContextKind.WEIGHTED, weights)
    assert stats.chi2_contingency(np.stack([counts, expected])).pvalue > LEAST_P


def test_samples_of_two_features_are_unrelated() -> None:
    hashes = window_hashes(0, documents(20_000), np.zeros(20_000, dtype=np.int64))[0].astype(np.int64)
    multipliers = feature_multipliers(0, np.arange(40))[0].astype(np.int64)
    pairs = ((hashes[None, :] * multipliers[:, None] + 2**31) % 2**32) / 2**32
    correlations = np.corrcoef(pairs)[np.triu_indices(40, 1)]
    assert np.abs(correlations).max() < 0.05
    assert all(stats.kstest(row, "uniform").pvalue > LEAST_P for row in pairs)


def test_exponential_draws_have_their_distribution() -> None:
    hashes = torch.from_numpy(window_hashes(1, documents(20_000), np.zeros(20_000, dtype=np.int64))[1])
    assert stats.kstest(exponential(hashes).numpy(), "expon").pvalue > LEAST_P
    extremes = exponential(torch.tensor([0, -1, 2**31 - 1, -(2**31)], dtype=torch.int32))
    assert (extremes > 0).all()


def test_seeds_and_features_decide_the_hash() -> None:
    one = window_hashes(0, documents(100), np.arange(100))
    assert (one != window_hashes(1, documents(100), np.arange(100))).mean() > 0.99
    assert (one[0] != one[1]).mean() > 0.99
    assert (one != window_hashes(0, documents(100), np.arange(100) + 1)).mean() > 0.99
    assert len(set(feature_multipliers(0, np.arange(1000))[0].tolist())) == 1000
    assert (feature_multipliers(0, np.arange(1000)) % 2 == 1).all()
