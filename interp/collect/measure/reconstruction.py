"""Error of reconstructions, added up by row."""

import numpy as np
import torch
from torch import Tensor

from interp.collect.measure.ratio import Ratio
from interp.dictionary.module import Dictionary

# Numbers of feature activations that are held at once.
MOST_ACTIVATIONS = 1 << 25


class RowErrors:
    """Sums of squares of R rows, for the fraction of variance unexplained."""

    def __init__(self, rows: int) -> None:
        self._counts, self._errors, self._squares = (np.zeros(rows) for _ in range(3))
        self._sums: np.ndarray[tuple[int, int], np.dtype[np.float64]] = np.zeros((rows, 0))

    def add(self, row: int, target: Tensor, output: Tensor) -> None:
        """Add targets and reconstructions `[N, D]` of one row's tokens."""
        if not self._sums.size:
            self._sums = np.zeros((len(self._counts), target.shape[1]))
        x = target.cpu().double()
        self._counts[row] += len(x)
        self._errors[row] += float((x - output.cpu().double()).square().sum())
        self._squares[row] += float(x.square().sum())
        self._sums[row] += x.sum(0).numpy()

    @property
    def seen(self) -> bool:
        """Return whether any token was added."""
        return bool(self._counts.any())

    def fvu(self) -> Ratio:
        """Return sum |x - x̂|² over sum |x - mean of all x|²."""
        mean = self._sums.sum(0) / max(self._counts.sum(), 1)
        variances = self._squares - 2 * self._sums @ mean + self._counts * (mean @ mean)
        # Of equal tokens rounding alone is left.
        return Ratio(self._errors, np.where(variances > 1e-12 * self._squares, variances, 0.0))


def reconstruct(dictionary: Dictionary, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return reconstructions `[N, D_out]` of `[N, D]`, and each feature's firing tokens `[F]`."""
    outputs, firing = [], torch.zeros(dictionary.n_features, dtype=torch.int64, device=x.device)
    for part in torch.split(x, max(1, MOST_ACTIVATIONS // dictionary.n_features)):
        codes = dictionary.encode(part)
        outputs.append(dictionary.decode(codes, part))
        firing += (codes > 0).sum(0)
    return torch.cat(outputs), firing


def target_of(dictionary: Dictionary, x: Tensor, y: Tensor | None) -> Tensor:
    """Return what is to be reconstructed: `y`, or `x` (centred where the input is)."""
    if y is not None:
        return y
    return x - x.mean(dim=1, keepdim=True) if dictionary.input_norm == "centre" else x
