"""Error of reconstructions, added up by document."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.measure.ratio import Ratio
from interp.dictionary.module import Dictionary

# Numbers of feature activations that are held at once.
MOST_ACTIVATIONS = 1 << 25


class UnitErrors:
    """Sums of squares of U units (documents, or rows), for the fraction of variance unexplained.

    `centre` `[D]` is about the mean of the targets; by default the mean of the first that are added. The sums are about it, so that they need no
    vector a unit; of all units they are exact, of one unit up to the centre's distance from the mean, which standard errors alone see.
    """

    def __init__(self, units: int, centre: Tensor | None = None) -> None:
        self._counts, self._errors, self._squares, self._raw = (np.zeros(units) for _ in range(4))
        self._centre = None if centre is None else double(centre)
        self._sum: Tensor | None = None

    def add(self, units: NDArray[np.int64], target: Tensor, output: Tensor) -> None:
        """Add targets and reconstructions `[N, D]` of tokens of these units `[N]`."""
        x = double(target)
        if self._centre is None:
            self._centre = x.mean(0)
        offset = x - self._centre
        self._sum = offset.sum(0) if self._sum is None else self._sum + offset.sum(0)
        for sums, values in ((self._errors, x - double(output)), (self._squares, offset), (self._raw, x)):
            sums += np.bincount(units, values.square().sum(1).cpu().numpy(), len(sums))
        self._counts += np.bincount(units, minlength=len(self._counts))

    @property
    def seen(self) -> bool:
        """Return whether any token was added."""
        return bool(self._counts.any())

    def fvu(self) -> Ratio:
        """Return sum |x - x̂|² over sum |x - mean of all x|²."""
        shift = 0.0 if self._sum is None else float((self._sum / self._counts.sum()).square().sum())
        variances = self._squares - self._counts * shift
        # Of equal tokens rounding alone is left.
        return Ratio(self._errors, variances if variances.sum() > 1e-12 * self._raw.sum() else np.zeros_like(variances))


def double(tensor: Tensor) -> Tensor:
    """Return a tensor in float64, on its device where that has it."""
    return tensor.cpu().double() if tensor.device.type == "mps" else tensor.double()


def encoded(dictionary: Dictionary, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield parts `[n, D]` that fit into memory, with feature activations `[n, F]`."""
    for part in torch.split(x, max(1, MOST_ACTIVATIONS // dictionary.n_features)):
        yield part, dictionary.encode(part)


def reconstruct(dictionary: Dictionary, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return reconstructions `[N, D_out]` of `[N, D]`, and each feature's firing tokens `[F]`."""
    outputs, firing = [], torch.zeros(dictionary.n_features, dtype=torch.int64, device=x.device)
    for part, codes in encoded(dictionary, x):
        outputs.append(dictionary.decode(codes, part))
        firing += (codes > 0).sum(0)
    return torch.cat(outputs), firing


def target_of(dictionary: Dictionary, x: Tensor, y: Tensor | None) -> Tensor:
    """Return what is to be reconstructed: `y`, or `x` (centred where the input is)."""
    if y is not None:
        return y
    return x - x.mean(dim=1, keepdim=True) if dictionary.input_norm == "centre" else x
