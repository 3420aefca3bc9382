"""Scales and shifts of features by least squares: a baseline for shrinkage."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from interp.collect.measure.reconstruction import encoded
from interp.dictionary.module import DENORMS, Dictionary

# Activations of the fit's tokens that are held, at 12 bytes each, and numbers of a product with the decoder: about what a CPU's cache holds.
MOST_CODES, MOST_PRODUCTS = 1 << 23, 1 << 20
# Features that fire at fewer tokens of the fit keep their activations.
LEAST_FIRINGS = 10
# Conjugate gradients end at this share of the first residual's norm, or after this many steps.
TOLERANCE, STEPS = 1e-4, 50


@dataclass(frozen=True)
class Rescaling:
    """Scales and shifts, float32 `[F]`: a firing feature becomes scale · f + shift.

    `fitted`, bool `[F]`, says which were fitted, on `tokens` tokens; the others have 1 and 0.
    """

    scale: Tensor
    shift: Tensor
    fitted: Tensor
    tokens: int

    def reconstruct(self, dictionary: Dictionary, x: Tensor) -> Tensor:
        """Return reconstructions `[N, D_out]` of inputs `[N, D]` by rescaled activations."""
        return torch.cat([dictionary.decode((codes * self.scale + self.shift) * (codes > 0), part) for part, codes in encoded(dictionary, x)])


@dataclass(frozen=True)
class _Codes:
    """Firing features of some tokens, by token: int32 and float32 `[A]`; each token's first `[n]`."""

    features: Tensor
    values: Tensor
    tokens: Tensor
    starts: Tensor
    factors: Tensor  # what its decoder output is multiplied with, for each token `[n]`


class LeastSquares:
    """Scales and shifts that bring a dictionary's reconstructions nearest to their targets.

    Minimises sum |x - x̂(a, b)|² over the scales a and shifts b of the features, which of them fire being given: the rescale-and-shift baseline of
    Rajamanoharan et al. (arXiv 2404.16014, 5.2), who train both on pre-activations instead. The normal equations of 2F unknowns are solved by
    conjugate gradients from a = 1, b = 0, with 2 × 2 blocks as preconditioner, and are never written out: memory grows with firing features, of
    which at most `MOST_CODES` are held.
    """

    def __init__(self, dictionary: Dictionary) -> None:
        self._dictionary, self._parts, self._held, self._tokens = dictionary, list[_Codes](), 0, 0
        shape, device = (2, dictionary.n_features), dictionary.W_dec.device
        self._slopes = torch.zeros(shape, dtype=torch.float64, device=device)
        # Sums of f², f and 1 over the tokens at which a feature fires, with the factors' squares.
        self._moments = torch.zeros((3, dictionary.n_features), dtype=torch.float64, device=device)
        self._firing = torch.zeros(dictionary.n_features, dtype=torch.int64, device=device)

    @property
    def is_full(self) -> bool:
        return self._held >= MOST_CODES

    def add(self, x: Tensor, target: Tensor) -> None:
        """Add inputs `[N, D]` and targets `[N, D_out]`."""
        for part, activations in encoded(self._dictionary, x):
            if self.is_full:
                return
            wanted, target = target[: len(part)], target[len(part) :]
            codes = _codes(self._dictionary, part, activations)
            self._parts.append(codes)
            self._held += len(codes.features)
            self._tokens += len(part)
            self._slopes += self._transposed(codes, wanted - self._dictionary.decode(activations, part))
            factors = codes.factors[codes.tokens].double() ** 2
            values = codes.values.double()
            for place, moment in enumerate((factors * values**2, factors * values, factors)):
                self._moments[place].index_add_(0, codes.features, moment)
            self._firing += (activations > 0).sum(0)

    def solve(self) -> Rescaling:
        """Return the least squares' scales and shifts."""
        fitted = self._firing >= LEAST_FIRINGS
        change = self._conjugate_gradients(fitted)
        scale, shift = (1 + change[0]).float(), change[1].float()
        return Rescaling(scale, shift, fitted, self._tokens)

    def _conjugate_gradients(self, fitted: Tensor) -> Tensor:
        """Return the changes of scales and shifts, float64 `[2, F]` (Hestenes and Stiefel 1952)."""
        inverse = self._blocks(fitted)
        found = torch.zeros_like(self._slopes)
        residual = self._slopes * fitted
        direction = steepest = _apply(inverse, residual)
        size = first = float((residual * steepest).sum())
        for _ in range(STEPS):
            if size <= TOLERANCE**2 * first or size <= 0:
                break
            image = self._normal(direction) * fitted
            step = size / float((direction * image).sum())
            found, residual = found + step * direction, residual - step * image
            steepest = _apply(inverse, residual)
            size, before = float((residual * steepest).sum()), size
            direction = steepest + size / before * direction
        return found

    def _blocks(self, fitted: Tensor) -> Tensor:
        """Return the inverses `[F, 2, 2]` of the normal equations' blocks, one a feature."""
        squares, sums, counts = self._moments * self._dictionary.W_dec.double().square().sum(1) * fitted
        blocks = torch.stack([torch.stack([squares, sums], -1), torch.stack([sums, counts], -1)], -2)
        # A constant activation leaves open what is scale and what is shift.
        inverse: Tensor = torch.linalg.pinv(blocks.cpu(), rtol=1e-7, hermitian=True)
        return inverse.to(blocks.device)

    def _normal(self, change: Tensor) -> Tensor:
        """Return the normal equations' matrix times `[2, F]`."""
        found = torch.zeros_like(change)
        for codes in self._parts:
            found += self._transposed(codes, self._written(codes, change.float()))
        return found

    def _written(self, codes: _Codes, change: Tensor) -> Tensor:
        """Return what changes of scales and shifts `[2, F]` add to the reconstructions `[n, D]`."""
        weights = (change[0][codes.features] * codes.values + change[1][codes.features]) * codes.factors[codes.tokens]
        written: Tensor = functional.embedding_bag(codes.features, self._dictionary.W_dec, codes.starts, mode="sum", per_sample_weights=weights)
        return written

    def _transposed(self, codes: _Codes, vectors: Tensor) -> Tensor:
        """Return the derivatives `[2, F]` of the reconstructions along vectors `[n, D]`, summed."""
        found = torch.zeros_like(self._slopes)
        for part in torch.split(torch.arange(len(codes.features), device=vectors.device), max(1, MOST_PRODUCTS // vectors.shape[1])):
            features, tokens = codes.features[part], codes.tokens[part]
            along = ((self._dictionary.W_dec[features] * vectors[tokens]).sum(1) * codes.factors[tokens]).double()
            found[0].index_add_(0, features, along * codes.values[part])
            found[1].index_add_(0, features, along)
        return found


def _codes(dictionary: Dictionary, x: Tensor, activations: Tensor) -> _Codes:
    tokens, features = activations.nonzero(as_tuple=True)
    counts = (activations > 0).sum(1)
    denorm, width = DENORMS[dictionary.input_norm], dictionary.W_dec.shape[1]
    # What the norm's inverse multiplies with, which it may add to as well.
    factors = (denorm(x.new_ones(len(x), width), x) - denorm(x.new_zeros(len(x), width), x))[:, 0]
    starts = counts.cumsum(0) - counts
    return _Codes(features.int(), activations[tokens, features], tokens.int(), starts.int(), factors)


def _apply(blocks: Tensor, vector: Tensor) -> Tensor:
    return torch.einsum("fij,jf->if", blocks, vector)
