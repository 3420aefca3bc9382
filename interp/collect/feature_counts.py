"""Exact integer counts of features, whose sums do not depend on order."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from interp.domain.evidence import HISTOGRAM_BINS, HISTOGRAM_EDGES

# Activations are summed as multiples of 2^-20: exact in any order, up to 2^43, which is 5 * 10^8 active tokens at the histogram's last edge.
SUM_SCALE = 2.0**20
_QUARTER_BITS = 21  # bits of a float32 below its exponent and the first two bits of its fraction
_QUARTERS = 255 * 4  # of the exponents of finite numbers


class FeatureCounts:
    """Counts of F features.

    histogram       int64   [F, HISTOGRAM_BINS]  active tokens by activation
    sums            int64   [F]                  of activations, in units of 1 / SUM_SCALE
    windows_active  int64   [2, F]               by split
    maxima          float32 [F]
    """

    def __init__(self, features: int, device: torch.device) -> None:
        self.histogram = torch.zeros((features, HISTOGRAM_BINS), dtype=torch.int64, device=device)
        self.sums = torch.zeros(features, dtype=torch.int64, device=device)
        self.windows_active = torch.zeros((2, features), dtype=torch.int64, device=device)
        self.maxima = torch.zeros(features, dtype=torch.float32, device=device)

    def add_tokens(self, features: Tensor, activations: Tensor) -> None:
        """Count active tokens: features int64 [N], positive activations float32 [N]."""
        spots = features * HISTOGRAM_BINS + bins_of(activations)
        self.histogram.view(-1).scatter_add_(0, spots, torch.ones_like(spots))
        self.sums.scatter_add_(0, features, activations.to(torch.float64).mul_(SUM_SCALE).round_().to(torch.int64))

    def add_windows(self, split: int, features: Tensor, maxima: Tensor) -> None:
        """Count active windows of one split by features int64 [P], and maxima float32 [F, W]."""
        self.windows_active[split] += torch.bincount(features, minlength=len(self.maxima))
        torch.maximum(self.maxima, maxima.amax(1), out=self.maxima)


def bins_of(activations: Tensor) -> Tensor:
    """Return the bins int64 [N] in HISTOGRAM_EDGES of positive activations float32 [N].

    A quarter of an octave (exponent and two bits) holds at most one edge, so a bin takes one table look-up and one comparison of bits.
    """
    first, edge = _tables(activations.device)
    bits = activations.view(torch.int32)
    quarters = bits >> _QUARTER_BITS
    return first.index_select(0, quarters) + (bits >= edge.index_select(0, quarters))


@cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return each quarter's first bin, int64, and the bits of its inner edge, int32."""
    begins = (np.arange(_QUARTERS, dtype=np.uint32) << _QUARTER_BITS).view(np.float32).astype(np.float64)
    inner = HISTOGRAM_EDGES[1:-1]
    first = np.searchsorted(inner, begins, side="right")
    above = np.append(inner, np.inf)[first]
    edges = above.astype(np.float32)
    edges = np.where(edges < above, np.nextafter(edges, np.float32(np.inf)), edges)
    return torch.from_numpy(first.astype(np.int64)).to(device), torch.from_numpy(edges.view(np.int32).copy()).to(device)
