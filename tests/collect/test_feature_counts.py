"""Histogram bins and sums are exact."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp.collect.feature_counts import SUM_SCALE, FeatureCounts, bins_of
from interp.domain.evidence import HISTOGRAM_BINS, HISTOGRAM_EDGES


def expected_bins(values: np.ndarray) -> np.ndarray:
    return np.clip(np.searchsorted(HISTOGRAM_EDGES, values.astype(np.float64), side="right") - 1, 0, HISTOGRAM_BINS - 1)


@given(st.lists(st.floats(2.0**-20, 2.0**20, width=32), min_size=1, max_size=100))
def test_bins_are_those_of_the_edges(values: list[float]) -> None:
    array = np.array(values, dtype=np.float32)
    np.testing.assert_array_equal(bins_of(torch.from_numpy(array)), expected_bins(array))


def test_bins_at_every_edge_and_beside_it() -> None:
    near = HISTOGRAM_EDGES.astype(np.float32)
    array = np.concatenate([near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(np.inf)), np.float32([1e-38, 3e38])])
    np.testing.assert_array_equal(bins_of(torch.from_numpy(array)), expected_bins(array))


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(2**-10, 2**14, width=32)), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_sums_do_not_depend_on_the_order(tokens: list[tuple[int, float]], random) -> None:
    def tally(items: list[tuple[int, float]], batch: int) -> FeatureCounts:
        counted = FeatureCounts(3, torch.device("cpu"))
        for first in range(0, len(items), batch):
            features, values = zip(*items[first : first + batch], strict=True)
            counted.add_tokens(torch.tensor(features), torch.tensor(values, dtype=torch.float32))
        return counted

    shuffled = random.sample(tokens, len(tokens))
    one, other = tally(tokens, len(tokens)), tally(shuffled, 7)
    assert torch.equal(one.sums, other.sums)
    assert torch.equal(one.histogram, other.histogram)
    for feature in range(3):
        own = [value for index, value in tokens if index == feature]
        assert abs(int(one.sums[feature]) / SUM_SCALE - sum(own)) <= len(own) / SUM_SCALE
        assert int(one.histogram[feature].sum()) == len(own)
