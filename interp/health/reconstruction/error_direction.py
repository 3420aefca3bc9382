"""Whether a dictionary's errors harm the subject more than other errors of their size."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interp.collect.measure.figures import NO_TOKENS
from interp.collect.measure.ratio import Ratio
from interp.domain.check_report import Figure
from interp.health.figures import Distribution
from interp.health.reconstruction.splicing import Passes, kl_figure

# Divergences below this are rounding, and have no logarithm that means anything.
LEAST_KL = 1e-6
NO_HARM = "These errors do not change the subject's predictions."


@dataclass(frozen=True, slots=True)
class Comparison:
    """Harm of the reconstruction error beside that of another error; KL in nats.

    kl           mean of KL(clean || patched) with the other error
    kl_tokens    its distribution over the tokens
    ratio        mean KL of the reconstruction over mean KL of the other error, with its standard error by documents
    log2_ratios  distribution of log2 of the same ratio token by token, of tokens at which both are above 1e-6
    worse_share  tokens at which the other error does more harm than the reconstruction
    """

    kl: Figure
    kl_tokens: Distribution | None
    ratio: Figure
    log2_ratios: Distribution | None
    worse_share: Figure


@dataclass(frozen=True, slots=True)
class ErrorDirection:
    """Reconstruction errors beside random errors and beside a changed norm.

    random  x + |x - x̂| u, u a random direction for each token (epsilon-random): as far from x as the reconstruction is
    norm    x · |x̂| / |x| (norm-patched): the reconstruction's norm, without its error of direction

    At each hook point by itself, where there are several. Source: Gurnee, SAE reconstruction errors are (empirically) pathological (Alignment Forum,
    2024-03-29), who found ratios of 2 to 4.5 for GPT-2. Trap: means hide that at many tokens random errors do more harm, so quantiles and
    `worse_share` stand beside them; and a random direction is nearly orthogonal to everything that the subject reads, so that a ratio above 1 is
    expected of any error that lies along features, right ones too (Mendel's comment there).
    """

    random: Comparison
    norm: Comparison


def error_direction(passes: Passes) -> ErrorDirection:
    """Return the figures of passes."""
    return ErrorDirection(random=_beside(passes, "random"), norm=_beside(passes, "norm"))


def _beside(passes: Passes, name: str) -> Comparison:
    own, other = passes.kl("spliced"), passes.kl(name)
    if own is None or other is None:
        undefined = Figure(None, why=passes.losses.why)
        return Comparison(undefined, None, undefined, None, undefined)
    kl = kl_figure(passes, name)
    by_token, others = passes.tokens_of("spliced"), passes.tokens_of(name)
    above = (by_token > LEAST_KL) & (others > LEAST_KL)
    harms = kl.value is not None and kl.value > LEAST_KL
    return Comparison(
        kl=kl,
        kl_tokens=Distribution.of(others),
        ratio=Ratio(own.top, other.top).figure(NO_HARM) if harms else Figure(None, why=NO_HARM if kl.value is not None else NO_TOKENS),
        log2_ratios=Distribution.of(np.log2(by_token[above]) - np.log2(others[above])),
        worse_share=_share(passes, others > by_token, (others > LEAST_KL) | (by_token > LEAST_KL)),
    )


def _share(passes: Passes, found: NDArray[np.bool_], among: NDArray[np.bool_]) -> Figure:
    counts = (np.bincount(passes.units[chosen], minlength=passes.n_units).astype(np.float64) for chosen in (found & among, among))
    return Ratio(*counts).figure(NO_HARM if len(among) else NO_TOKENS)
