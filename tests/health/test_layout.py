"""A layout keeps who is near whom, on planted clusters and at the edges of what there may be."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from interp.health.layout import Points, _components, _Grid, layout, quality


def clusters(number: int, size: int, width: int = 32, spread: float = 0.5, seed: int = 0) -> Tensor:
    """Return directions around `number` random centres, `size` after one another for each."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(number, width, generator=draw).repeat_interleave(size, 0)
    return centres + spread * torch.randn(number * size, width, generator=draw)


def test_planted_clusters_stay_together() -> None:
    found = layout(clusters(40, 25))
    apart = np.square(found.places[:, None] - found.places[None]).sum(2)
    np.fill_diagonal(apart, np.inf)
    same = apart.argmin(1) // 25 == np.arange(1000) // 25
    assert same.mean() > 0.99
    kept = found.quality
    assert kept.layout is not None and kept.components is not None and kept.random is not None
    assert kept.layout > 0.95 and kept.components < 0.7
    assert kept.random == pytest.approx(50 / 999)


def test_random_places_keep_what_chance_says() -> None:
    directions = torch.nn.functional.normalize(clusters(20, 50), dim=1)
    nearest = (directions @ directions.T - 2 * torch.eye(1000)).topk(10).indices.numpy()
    random = np.random.default_rng(1).random((1000, 2)).astype(np.float32)
    found = quality(nearest, random, random)
    assert (found.sampled, found.layout) == (1000, found.components)
    assert found.layout == pytest.approx(50 / 999, abs=0.01)
    # Places that hold the neighbours themselves keep them all.
    at_centres = np.repeat(np.random.default_rng(2).random((20, 2)).astype(np.float32), 50, 0)
    assert quality(nearest, at_centres, random).layout == pytest.approx(1, abs=0.02)


def test_the_layout_is_the_same_again_and_of_angles_alone() -> None:
    directions = clusters(4, 30)
    first = layout(directions, seed=3)
    assert np.array_equal(first.places, layout(directions, seed=3).places)
    # Powers of two scale without rounding.
    lengths = 2.0 ** torch.randint(-3, 4, (120, 1), generator=torch.Generator().manual_seed(5))
    assert np.array_equal(first.places, layout(directions * lengths, seed=3).places)
    assert not np.array_equal(first.places, layout(directions, seed=4).places)


@pytest.mark.parametrize("half", [1e-4, 1.0, 12.0])
def test_the_grid_sums_over_all_pairs(half: float) -> None:
    places = np.random.default_rng(0).uniform(-half, half, (400, 2)).astype(np.float32)
    found, total = _Grid(half).forces(places)
    apart = places[:, None].astype(np.float64) - places[None]
    weights = 1 / (1 + np.square(apart).sum(2))
    exact = (apart * np.square(weights)[..., None]).sum(1)
    assert total == pytest.approx(weights.sum() - 400, rel=5e-3)
    # Nodes half a unit apart do not follow a single near pair to the last percents.
    assert np.abs(found - exact).max() < 0.08 * np.abs(exact).max() + 1e-5
    assert np.abs(found - exact).mean() < 0.05 * np.abs(exact).mean() + 1e-5


def test_components_are_those_of_a_singular_value_decomposition() -> None:
    unit = torch.nn.functional.normalize(clusters(5, 40, width=12), dim=1)
    centred = (unit - unit.mean(0)).numpy()
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    exact: Points = (left * sizes)[:, :2]
    found = _components(unit, seed=0)
    assert np.allclose(np.abs(found), np.abs(exact), atol=1e-3)
    assert all(found[np.abs(found[:, axis]).argmax(), axis] > 0 for axis in (0, 1))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 9), st.integers(1, 4), st.sets(st.integers(0, 8)), st.booleans())
def test_any_directions_have_places_within_the_square(count: int, width: int, zero: set[int], equal: bool) -> None:
    directions = torch.ones(count, width) if equal else torch.randn(count, width, generator=torch.Generator().manual_seed(count))
    missing = [row for row in zero if row < count]
    directions[missing] = 0
    found = layout(directions)
    assert found.places.shape == (count, 2) and found.places.dtype == np.float32
    assert np.flatnonzero(np.isnan(found.places).any(1)).tolist() == sorted(missing)
    placed = np.delete(found.places, missing, axis=0)
    assert ((placed >= 0) & (placed <= 1)).all()
    assert found.quality.layout is None and found.quality.sampled == 0


def test_opposed_pairs_and_infinite_rows() -> None:
    directions = clusters(3, 20)
    both = torch.cat([directions, -directions])
    both[7] = torch.inf
    found = layout(both)
    assert np.flatnonzero(np.isnan(found.places[:, 0])).tolist() == [7]


def test_progress_grows_to_the_end() -> None:
    shares: list[float] = []
    layout(clusters(3, 20), progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) > 100
