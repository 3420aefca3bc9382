"""Lay out a dictionary's features in a plane by their directions.

Near directions lie near each other. The layout is t-SNE (van der Maaten and Hinton, JMLR 9, 2008) of the graph of nearest directions:

    p_ij  = 1/E for each of the E ordered pairs of which one is among the k nearest of the other by cosine, else 0
    q_ij  = w_ij / Z,  w_ij = 1 / (1 + |y_i - y_j|²),  Z = Σ_{k≠l} w_kl
    dC/dy_i = 4 Σ_j (a p_ij - q_ij) w_ij (y_i - y_j)         C = KL(p || q); a is the exaggeration, 12 in the first steps and then 1

with a step of F/12 (Belkina et al., Nature Communications 10, 2019), and the first two principal components as the start (Kobak and Berens, ibid.).
Equal p within the graph give much the same layout as those of a perplexity (Böhm, Berens and Kobak, JMLR 23, 2022). The sums over all pairs are
convolutions on a grid of nodes, by FFT, between which they are interpolated (Linderman et al., Nature Methods 16, 2019): each step takes O(F), and
memory is O(F (D + k)). A library would bring a compiler or scikit-learn for these lines.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.neighbours import nearest

Points = NDArray[np.float32]
Indices = NDArray[np.int64]

# Neighbours of the graph, and features whose neighbours are searched between two reports of progress.
NEIGHBOURS, PORTION = 15, 4096
# Steps with exaggeration, and after.
EARLY, LATE = 100, 300
EXAGGERATION = 12.0
# Momentum with exaggeration, and after (van der Maaten and Hinton).
MOMENTUM = (0.5, 0.8)
# Spread of the start, and of the noise that separates equal directions.
START, NOISE = 1e-4, 1e-6
# Nodes of the grid in each dimension, at least and at most; their distance where that many are not needed.
NODES, SPACING = (32, 512), 0.5
# No feature moves further in a step: those that are near to very many others would jump.
LONGEST = 5.0
# The sum of weights with others is at least this for each feature.
FLOOR = 0.01
# Nodes in each dimension of which a point has a weight (cubic interpolation).
CUBIC = 4
# What quality counts: so many nearest by direction, within so many in the plane, of so many features at most.
COUNTED, WITHIN, SAMPLED = 10, 50, 2000
# Shares of the progress: neighbours, then steps.
SEARCHED = 0.5


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a layout keeps the nearest features by direction.

    `layout` is the share of a feature's 10 nearest by direction that are among its 50 nearest in the plane, the mean over `sampled` features.
    `components` is that of the first two principal components, `random` what a random layout has on average, 50/(F - 1). All None for 50 features or
    fewer, of which all are among the 50 nearest.
    """

    layout: float | None
    components: float | None
    random: float | None
    sampled: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Places of features in a plane, float32 [F, 2].

    They are within [0, 1] in both dimensions, at one scale, and NaN for features without a direction.
    """

    places: Points
    quality: Quality


@torch.inference_mode()
def layout(directions: Tensor, seed: int = 0, progress: Callable[[float], None] = lambda _share: None) -> Layout:
    """Return the layout of directions, float32 [F, D], on any device.

    It depends on the directions' angles alone. The same on the same device and seed; elsewhere the last bits differ, and with them the places of
    features, but not who is near whom for the most part. Rows of length 0 have no place.
    """
    lengths = torch.linalg.vector_norm(directions, dim=1, dtype=torch.float64)
    features = torch.nonzero(torch.isfinite(lengths) & (lengths > 0))[:, 0]
    unit = torch.nn.functional.normalize(directions[features].to(torch.float32), dim=1)
    neighbours = _neighbours(unit, lambda share: progress(SEARCHED * share))
    components = _components(unit, seed)
    places = _descend(neighbours, components, seed, lambda share: progress(SEARCHED + (1 - SEARCHED) * share))
    every = np.full((len(directions), 2), np.nan, dtype=np.float32)
    every[features.cpu().numpy()] = _within_square(places)
    return Layout(every, quality(neighbours, places, components, seed))


def quality(neighbours: Indices, places: Points, components: Points, seed: int = 0) -> Quality:
    """Return how well places and components, float32 [P, 2], keep the nearest features.

    `neighbours` are the nearest by direction, int64 [P, 10 or more], nearest first.
    """
    count = len(places)
    if count <= WITHIN:
        return Quality(None, None, None, 0)
    rows = np.sort(np.random.default_rng(seed).choice(count, min(count, SAMPLED), replace=False))
    return Quality(_kept(neighbours, places, rows), _kept(neighbours, components, rows), WITHIN / (count - 1), len(rows))


def _kept(neighbours: Indices, places: Points, rows: Indices) -> float:
    # Imported here since it takes half a second, and few processes need it.
    from scipy.spatial import cKDTree

    # Points at one place are in any order: a feature itself is taken out by its number.
    found = cKDTree(places).query(places[rows], WITHIN + 1)[1]
    near = [others[others != row][:WITHIN] for row, others in zip(rows, found, strict=True)]
    return float(np.mean([np.isin(neighbours[row, :COUNTED], some).mean() for row, some in zip(rows, near, strict=True)]))


def _neighbours(unit: Tensor, progress: Callable[[float], None]) -> Indices:
    """Return the nearest rows of each row, int64 [P, at most 15], nearest first."""
    found = []
    for rows in torch.split(torch.arange(len(unit), device=unit.device), PORTION) if len(unit) > 1 else ():
        found.append(nearest(unit, rows, NEIGHBOURS)[0].cpu().numpy())
        progress(min(1.0, (int(rows[-1]) + 1) / len(unit)))
    return np.concatenate(found) if found else np.zeros((len(unit), 0), dtype=np.int64)


def _components(unit: Tensor, seed: int) -> Points:
    """Return the first two principal components, float32 [P, 2], by a randomised range finder.

    Halko, Martinsson and Tropp, SIAM Review 53, 2011, algorithm 4.4 with four passes. The sign of each is such that its largest entry is positive.
    """
    if len(unit) < 2:
        return np.zeros((len(unit), 2), dtype=np.float32)
    middle = unit.mean(0)
    drawn = torch.randn(unit.shape[1], min(10, *unit.shape), generator=torch.Generator().manual_seed(seed)).to(unit.device)
    basis = torch.linalg.qr(drawn)[0]
    for _ in range(4):
        image = unit @ basis - middle @ basis
        basis = torch.linalg.qr(unit.T @ image - torch.outer(middle, image.sum(0)))[0]
    left, sizes, _ = torch.linalg.svd(unit @ basis - middle @ basis, full_matrices=False)
    found = (left * sizes)[:, :2].cpu().numpy()
    found = np.pad(found, ((0, 0), (0, 2 - found.shape[1])))
    return found * np.where(found[np.abs(found).argmax(0), [0, 1]] < 0, np.float32(-1), np.float32(1))


def _descend(neighbours: Indices, components: Points, seed: int, progress: Callable[[float], None]) -> Points:
    """Return places float32 [P, 2] after the steps of gradient descent, around 0."""
    from scipy import sparse

    count = len(components)
    if not neighbours.size:
        return np.zeros_like(components)
    spread = float(components.std())
    places = START * (components / spread if spread > 0 else components)
    places = (places + np.random.default_rng(seed).normal(0, NOISE, places.shape)).astype(np.float32)
    rows = np.repeat(np.arange(count), neighbours.shape[1])
    pairs = np.unique(np.concatenate([rows * count + neighbours.ravel(), neighbours.ravel() * count + rows]))
    ends = np.searchsorted(pairs, np.arange(count + 1) * count)
    degrees, second = np.diff(ends), pairs % count
    grid = _Grid(0.0)
    moved = np.zeros_like(places)
    for step in range(EARLY + LATE):
        is_early = step < EARLY
        # Column by column, which is several times faster than rows of two.
        across, up = (np.repeat(column, degrees) - column[second] for column in np.ascontiguousarray(places.T))
        near = sparse.csr_array((1 / (1 + across * across + up * up), second, ends), shape=(count, count))
        drawn = near @ np.column_stack([places, np.ones(count, dtype=np.float32)])
        pull = drawn[:, :2] - places * drawn[:, 2:]
        half = float(np.abs(places).max())
        grid = grid if grid.holds(half) else _Grid(half)
        push, total = grid.forces(places)
        slope = 4 * ((EXAGGERATION if is_early else 1.0) / len(pairs) * pull + push / total)
        moved = np.float32(MOMENTUM[not is_early]) * moved + np.float32(count / EXAGGERATION) * slope.astype(np.float32)
        moved /= np.maximum(1, np.linalg.norm(moved, axis=1, keepdims=True) / LONGEST)
        places = places + moved
        places -= places.mean(0)
        progress((step + 1) / (EARLY + LATE))
    return places


class _Grid:
    """A grid of nodes around 0 on which the sums over all pairs are convolutions.

    It holds places within `half` and a quarter more, so that it is made anew only now and then.
    """

    def __init__(self, half: float) -> None:
        from scipy import fft

        self._half = 1.25 * half + START
        wanted = int(np.ceil(2 * self._half / SPACING)) + CUBIC
        self._nodes = fft.next_fast_len(min(max(wanted, NODES[0]), NODES[1]), real=True)
        self._spacing = 2 * self._half / (self._nodes - CUBIC)
        # Twice as many nodes, so that the convolution does not go around; distances in the order of the transform.
        steps = np.fft.fftfreq(2 * self._nodes, 1 / (2 * self._nodes)) * self._spacing
        along, across = steps[:, None], steps[None, :]
        weights = 1 / (1 + along**2 + across**2)
        kernels = np.stack([weights, along * weights**2, across * weights**2]).astype(np.float32)
        self._transformed = fft.rfft2(kernels)

    def holds(self, half: float) -> bool:
        """Return whether the grid holds places within `half`, and is not much too wide."""
        return half <= self._half <= 3 * half + 2 * START

    def forces(self, places: Points) -> tuple[Points, float]:
        """Return Σ_j w_ij² (y_i - y_j), float32 [P, 2], and Z."""
        from scipy import fft, sparse

        count, nodes = len(places), self._nodes
        at = (places + self._half) / self._spacing + 1
        low = np.clip(at.astype(np.int64), 1, nodes - CUBIC + 1)
        weights = _cubic(at - low)
        offsets = np.arange(CUBIC) - 1
        columns = (low[:, 0, None, None] + offsets[:, None]) * nodes + low[:, 1, None, None] + offsets
        values = weights[:, 0, :, None] * weights[:, 1, None, :]
        shape = (count, nodes * nodes)
        onto = sparse.csr_array((values.ravel(), columns.ravel(), np.arange(count + 1) * CUBIC**2), shape=shape)
        charge = np.asarray(onto.T @ np.ones(count, dtype=np.float32)).reshape(nodes, nodes)
        fields = fft.irfft2(fft.rfft2(charge, (2 * nodes, 2 * nodes)) * self._transformed, (2 * nodes, 2 * nodes))[:, :nodes, :nodes]
        found = onto @ np.ascontiguousarray(fields.reshape(3, -1).T)
        # Each feature's weight with itself is 1. Of few features far apart the rest is less than the error of interpolation.
        return found[:, 1:], max(float(found[:, 0].sum(dtype=np.float64)) - count, FLOOR * count)


def _cubic(share: Points) -> Points:
    """Return the weights of nodes -1, 0, 1 and 2, [P, 2, 4].

    `share` [P, 2] is the way from node 0 to 1. Lagrange polynomials (Abramowitz and Stegun 1964, 25.2.13).
    """
    t = share.astype(np.float32)
    return np.stack([-t * (t - 1) * (t - 2) / 6, (t + 1) * (t - 1) * (t - 2) / 2, -(t + 1) * t * (t - 2) / 2, (t + 1) * t * (t - 1) / 6], axis=-1)


def _within_square(places: Points) -> Points:
    """Return the places moved and scaled into [0, 1], around 1/2."""
    if not len(places):
        return places.reshape(0, 2)
    low, high = places.min(0), places.max(0)
    side = float((high - low).max())
    shown = (places - (low + high) / 2) / side + 0.5 if side > 0 else np.full_like(places, 0.5)
    return np.clip(shown, 0, 1).astype(np.float32)
