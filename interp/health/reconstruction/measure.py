"""Reconstruction, shrinkage and splicing figures of a dictionary on a sample of tokens."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.measure.figures import NO_RECONSTRUCTION, NO_TOKENS, SAME_ACTIVATIONS
from interp.collect.measure.ratio import Ratio
from interp.collect.measure.reconstruction import double
from interp.collect.measure.sample import TokenSample
from interp.collect.measure.spliced import NO_NEXT
from interp.dictionary.module import Dictionary
from interp.domain.check_report import Figure
from interp.health.figures import Distribution
from interp.health.reconstruction.batches import batches
from interp.health.reconstruction.code_size import CodeSize, CodeSums
from interp.health.reconstruction.error_direction import ErrorDirection, error_direction
from interp.health.reconstruction.errors import ErrorSums, ReconstructionError
from interp.health.reconstruction.rescaling import LeastSquares, Rescaling
from interp.health.reconstruction.shrinkage import Shrinkage, shrinkage
from interp.health.reconstruction.splicing import Passes, Splicing, splicing
from interp.subject.loaded import OpenedSubject

# Tokens of the sample that callers draw by default.
SAMPLE_TOKENS = 200_000
# Documents before which the standard error is not trusted to stop.
LEAST_UNITS = 32
# Progress when the fitting half is read.
FITTED = 0.15
SHORT = "The rescaled baseline needs two documents: one to fit it, one to test it."
FEW = "No feature fires often enough in the half of the documents that fits."
NO_ERROR = "Nothing is lost that could be won back."

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class ReconstructionSettings:
    """Settings of the figures; the sample is `tokens` tokens at most.

    Passes stop after the first batch at which the standard error of the nats lost is `se` or less (0: never).
    `seed` draws the directions of random errors.
    """

    tokens: int = SAMPLE_TOKENS
    se: float = 0.002
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read of the sample.

    `stopped`: the standard error was small enough before its end.
    """

    documents: int
    rows: int
    tokens: int
    stopped: bool


@dataclass(frozen=True, slots=True)
class RescaledBaseline:
    """What a scale and a shift for each feature win back.

    Fitted on one half of the documents, and tested on the other.

    features, tokens  features that were fitted, and the tokens they were fitted on; both 0 without a fit
    scales            distribution of the fitted scales over these features; above 1 where activations are too small
    fvu, fvu_rescaled the fraction of variance unexplained of the test half, as it is and rescaled; about the mean of the half that fits
    error_won         1 - sum |x - x̂'|² / sum |x - x̂|², of the test half
    nats_won          ce_spliced - ce_rescaled; share_won: of the nats lost. Trap: fitted and tested on the same tokens, 2 numbers a feature win
                      back something of any dictionary. What is won is the part of the loss that is no fault of which features fire
    """

    features: int
    tokens: int
    scales: Distribution | None
    fvu: Figure
    fvu_rescaled: Figure
    error_won: Figure
    nats_lost: Figure
    nats_won: Figure
    share_won: Figure


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """Reconstruction figures of a dictionary; `why` says why there are none, None where there are."""

    why: str | None
    seen: Seen
    codes: CodeSize | None
    splicing: Splicing | None
    error: ReconstructionError | None
    shrinkage: Shrinkage | None
    rescaled: RescaledBaseline | None
    direction: ErrorDirection | None


@torch.inference_mode()
def reconstruction(
    subject: OpenedSubject, dictionary: Dictionary, sample: TokenSample, settings: ReconstructionSettings, progress: Progress
) -> Reconstruction:
    """Measure a dictionary's reconstructions at its hook points, and in the subject's forward pass.

    The sample is read once by half of its documents (mean, rescaled baseline), then in batches of rows with six passes each, and a seventh on the
    other half. Memory: a batch's logits twice, a number a token for five figures, at most 8 million firing features, never the sample's
    activations. `progress` gets the finished share, and may raise to stop the work. A dictionary of neurons or directions has no figures, and says
    why. Raises ActivationsNotFiniteError, SubjectError; ValueError for a BatchTopK dictionary without a threshold (see `with_threshold`).
    """
    if dictionary.batch_k is not None:
        raise ValueError(f"{dictionary.name} is BatchTopK: give it a threshold before it is measured")
    why = NO_RECONSTRUCTION.get(dictionary.architecture) or (None if bool(sample.counted.any()) else NO_TOKENS)
    if why is not None:
        return Reconstruction(why, Seen(0, 0, 0, False), None, None, None, None, None, None)
    dictionary = dictionary.to(subject.device)
    fit = _fit(subject, dictionary, sample, lambda share: progress(FITTED * share))
    found = _Measurement(subject, dictionary, sample, settings, fit)
    found.run(lambda share: progress(FITTED + (1 - FITTED) * share))
    return found.figures()


@dataclass(frozen=True)
class _Fit:
    """What half of the documents gives: the targets' mean `[D_out]`, and scales and shifts."""

    mean: Tensor
    rescaling: Rescaling | None
    why: str | None


def _is_tested(sample: TokenSample) -> NDArray[np.bool_]:
    """Return which units are of the test half, `[U]`."""
    found: NDArray[np.bool_] = np.arange(sample.n_units) % 2 == 1
    return found


def _fit(subject: OpenedSubject, dictionary: Dictionary, sample: TokenSample, progress: Progress) -> _Fit:
    tested = _is_tested(sample)[sample.units]
    counted = sample.counted.any(1).cpu().numpy()
    is_split = bool((tested & counted).any() and (~tested & counted).any())
    rows = np.flatnonzero(~tested) if is_split else np.arange(len(sample))
    half = sample.select(rows)
    squares, total, seen = LeastSquares(dictionary), torch.zeros(()), 0
    for batch in batches(subject, dictionary, half):
        total = total + double(batch.target).sum(0).cpu()
        seen += len(batch.target)
        if is_split:
            squares.add(batch.inputs, batch.target)
        progress((int(batch.rows[-1]) + 1) / len(half))
        if squares.is_full:
            break
    mean = (total / max(seen, 1)).float().to(subject.device)
    rescaling = squares.solve() if is_split else None
    if rescaling is not None and not bool(rescaling.fitted.any()):
        return _Fit(mean, None, FEW)
    return _Fit(mean, rescaling, None if is_split else SHORT)


class _Measurement:
    """Sums of the passes over a sample."""

    def __init__(self, subject: OpenedSubject, dictionary: Dictionary, sample: TokenSample, settings: ReconstructionSettings, fit: _Fit) -> None:
        self._subject, self._dictionary, self._sample, self._settings, self._fit = subject, dictionary, sample, settings, fit
        self._tested = _is_tested(sample)
        self._errors, self._codes = ErrorSums(sample, fit.mean, subject.bos), CodeSums(sample.n_units, dictionary)
        self._rescaled_errors = np.zeros(sample.n_units)
        self._passes = Passes(subject, dictionary, sample, fit.mean, settings.seed)
        self._rows, self._stopped = 0, False

    def run(self, progress: Progress) -> None:
        for batch in batches(self._subject, self._dictionary, self._sample):
            output = self._codes.reconstruct(batch.units, batch.inputs)
            self._errors.add(self._dictionary, batch, output)
            self._passes.add(batch, output)
            if self._fit.rescaling is not None:
                rescaled = self._fit.rescaling.reconstruct(self._dictionary, batch.inputs)
                errors = double(batch.target - rescaled).square().sum(1).cpu().numpy()
                self._rescaled_errors += np.bincount(batch.units, errors, len(self._rescaled_errors))
                self._passes.add_rescaled(batch, rescaled, self._tested[self._sample.units[batch.rows]])
            self._rows = int(batch.rows[-1]) + 1
            progress(self._rows / len(self._sample))
            if self._rows < len(self._sample) and self._is_enough():
                self._stopped = True
                return

    def _is_enough(self) -> bool:
        lost = self._passes.losses.difference("spliced", "clean")
        if lost is None or lost.units < LEAST_UNITS:
            return False
        error = lost.figure(NO_NEXT).standard_error
        return error is not None and error <= self._settings.se

    def figures(self) -> Reconstruction:
        rows = slice(0, self._rows)
        units = self._sample.units[rows]
        return Reconstruction(
            why=None,
            seen=Seen(len(np.unique(units)), self._rows, int(self._sample.counted[rows].sum()), self._stopped),
            codes=self._codes.figures(),
            splicing=splicing(self._passes),
            error=self._errors.figures(),
            shrinkage=shrinkage(self._errors.sums),
            rescaled=self._baseline(),
            direction=error_direction(self._passes),
        )

    def _baseline(self) -> RescaledBaseline:
        fit, losses = self._fit, self._passes.losses
        if fit.rescaling is None:
            return RescaledBaseline(0, 0, None, *[Figure(None, why=fit.why)] * 6)
        sums = self._errors.sums
        before, after = (self._of_tested(Ratio(errors, sums["centred_target"])) for errors in (sums["error"], self._rescaled_errors))
        won, lost = losses.difference("spliced", "rescaled"), losses.difference("spliced", "clean")
        unspliced = Figure(None, why=losses.why or SHORT)
        nats_lost = unspliced if lost is None else self._of_tested(lost).figure(NO_NEXT)
        return RescaledBaseline(
            features=int(fit.rescaling.fitted.sum()),
            tokens=fit.rescaling.tokens,
            scales=Distribution.of(fit.rescaling.scale[fit.rescaling.fitted].cpu().numpy()),
            fvu=before.figure(SAME_ACTIVATIONS),
            fvu_rescaled=after.figure(SAME_ACTIVATIONS),
            error_won=Ratio(before.top - after.top, before.top).figure(NO_ERROR),
            nats_lost=nats_lost,
            nats_won=unspliced if won is None else won.figure(NO_NEXT),
            share_won=unspliced if won is None or lost is None else _share(won, self._of_tested(lost), nats_lost),
        )

    def _of_tested(self, ratio: Ratio) -> Ratio:
        return Ratio(ratio.top * self._tested, ratio.bottom * self._tested)


def _share(won: Ratio, lost: Ratio, nats_lost: Figure) -> Figure:
    """Return the nats won over the nats lost, undefined where these are within their noise."""
    if nats_lost.value is None or nats_lost.value <= 2 * (nats_lost.standard_error or 0):
        return Figure(None, why=NO_ERROR)
    return Ratio(won.top, lost.top).figure(NO_ERROR)
