"""Size and direction of a dictionary's reconstruction error."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.measure.figures import NO_TOKENS, SAME_ACTIVATIONS
from interp.collect.measure.ratio import Ratio
from interp.collect.measure.reconstruction import UnitErrors, double, reconstruct
from interp.collect.measure.sample import TokenSample
from interp.dictionary.module import Dictionary
from interp.domain.check_report import Figure
from interp.health.reconstruction.batches import Batch
from interp.health.reconstruction.token_sums import TokenSums

NO_BOS = "The sample's rows begin with no BOS that the dictionary leaves out."
ALL_ZERO = "The targets are all zero."


@dataclass(frozen=True, slots=True)
class PositionError:
    """Relative error at the positions `first` to `last` of a row, both counted from 0."""

    first: int
    last: int
    tokens: int
    relative_error: Figure


@dataclass(frozen=True, slots=True)
class ReconstructionError:
    """Error of reconstructions x̂ of targets x, over the counted tokens of a sample.

    fvu             sum |x - x̂|² / sum |x - m|², m the mean of all targets: the fraction of variance unexplained. Trap: with the mean of the squares
                    in place of the squared mean (SAELens before 6.5x: E|x|² - E[x²]²), any value comes out, above 1 for explained variances too; with
                    each batch's own mean, or a ratio a token averaged, the figure depends on batches and on tokens near the mean
    relative_error  sum |x - x̂|² / sum |x|². Trap: where the activations have a large mean, which a bias alone reconstructs, it is far below fvu
    cosine          mean of x·x̂ / (|x| |x̂|)
    norm_ratio      mean of |x̂| / |x|. Trap: below 1 without any shrinkage; see `interp.health.reconstruction.shrinkage`
    by_position     relative_error by place in the row, in bins of powers of 2
    bos             relative_error at the BOS alone, whose activation is often tens of times as long as others, and which a dictionary that never
                    saw it does not reconstruct; None where it is counted as a token like others, or not there
    """

    fvu: Figure
    relative_error: Figure
    cosine: Figure
    norm_ratio: Figure
    by_position: tuple[PositionError, ...]
    bos: Figure


class ErrorSums:
    """Sums for the error by unit; `sums` are those of all counted tokens."""

    def __init__(self, sample: TokenSample, centre: Tensor, bos: int | None) -> None:
        units, length = sample.n_units, sample.tokens.shape[1]
        self.sums, self.variance = TokenSums(units, centre), UnitErrors(units, centre)
        bins = int(bin_of(np.array([length - 1]))[0]) + 1
        self._errors, self._squares, self._tokens = (np.zeros((bins, units)) for _ in range(3))
        self._bos_error, self._bos_square = np.zeros(units), np.zeros(units)
        self._has_bos = bos is not None and bool((sample.tokens[:, 0] == bos).all()) and not bool(sample.counted[:, 0].any())
        self._row_units = sample.units

    def add(self, dictionary: Dictionary, batch: Batch, output: Tensor) -> None:
        """Add a batch with its reconstructions `[N, D_out]`."""
        self.sums.add(batch.units, batch.target, output)
        self.variance.add(batch.units, batch.target, output)
        x = double(batch.target)
        places = bin_of(batch.positions) * self._errors.shape[1] + batch.units
        for sums, values in ((self._errors, (x - double(output)).square().sum(1)), (self._squares, x.square().sum(1)), (self._tokens, None)):
            weights = None if values is None else values.cpu().numpy()
            sums += np.bincount(places, weights, sums.size).reshape(sums.shape)
        if self._has_bos:
            inputs, target = batch.first
            found, _ = reconstruct(dictionary, inputs)
            np.add.at(self._bos_error, self._row_units[batch.rows], double(target - found).square().sum(1).cpu().numpy())
            np.add.at(self._bos_square, self._row_units[batch.rows], double(target).square().sum(1).cpu().numpy())

    def figures(self) -> ReconstructionError:
        """Return the figures of what was added."""
        sums = self.sums
        return ReconstructionError(
            fvu=self.variance.fvu().figure(SAME_ACTIVATIONS if self.variance.seen else NO_TOKENS),
            relative_error=Ratio(sums["error"], sums["target"]).figure(ALL_ZERO if self.variance.seen else NO_TOKENS),
            cosine=Ratio(sums["cosine"], sums["angles"]).figure("No token has both a target and a reconstruction that is not zero."),
            norm_ratio=Ratio(sums["norm_ratio"], sums["norms"]).figure(ALL_ZERO if self.variance.seen else NO_TOKENS),
            by_position=tuple(self._at(place) for place in range(len(self._errors)) if self._tokens[place].any()),
            bos=Ratio(self._bos_error, self._bos_square).figure(NO_BOS),
        )

    def _at(self, place: int) -> PositionError:
        first = 1 << place >> 1
        figure = Ratio(self._errors[place], self._squares[place]).figure(ALL_ZERO)
        return PositionError(first, max(2 * first - 1, 0), int(self._tokens[place].sum()), figure)


def bin_of(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bins of positions: 0, 1, 2 to 3, 4 to 7, ..."""
    _, exponents = np.frexp(positions.astype(np.float64))
    return exponents.astype(np.int64)
