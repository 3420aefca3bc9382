"""Shrinkage of reconstructions: how much shorter they are than they should be."""

from dataclasses import dataclass

from interp.collect.measure.ratio import Ratio, linearised
from interp.domain.check_report import Figure
from interp.health.reconstruction.token_sums import TokenSums

NOT_ALIGNED = "The reconstructions do not point along the targets."
NO_MEAN_SQUARE = "The targets or the reconstructions are all zero."


@dataclass(frozen=True, slots=True)
class Shrinkage:
    """Bias of the length of reconstructions x̂ of targets x.

    gamma          E|x̂|² / E[x·x̂], the relative reconstruction bias: the g for which x̂ / g is nearest to x. 1 unbiased, below 1 shrunk. Source:
                   Rajamanoharan et al., Improving Dictionary Learning with Gated Sparse Autoencoders (arXiv 2404.16014), equations 9 and 10
    gamma_centred  the same of x - m and x̂ - m, m the mean of the targets. Trap: a mean that the decoder's bias reconstructs is most of both norms
                   of many residual streams, and pulls gamma to 1 whatever the features do
    square_share   E|x̂|² / E|x|². Trap: below 1 is no proof of shrinkage. Whenever there is an angle between two vectors, the best way to bring one
                   near the other is to shorten it, as the authors note: unbiased reconstructions have E|x̂|² = E|x|² - E|x̂ - x|²
    angle_share    (E[x·x̂])² / (E|x̂|² E|x|²), the square_share that the same reconstructions have once they are divided by gamma: what the angle
                   alone costs. square_share = gamma² · angle_share
    """

    gamma: Figure
    gamma_centred: Figure
    square_share: Figure
    angle_share: Figure


def shrinkage(sums: TokenSums) -> Shrinkage:
    """Return the figures of sums over tokens."""
    return Shrinkage(
        gamma=Ratio(sums["output"], sums["dot"]).figure(NOT_ALIGNED),
        gamma_centred=Ratio(sums["centred_output"], sums["centred_dot"]).figure(NOT_ALIGNED),
        square_share=Ratio(sums["output"], sums["target"]).figure(NO_MEAN_SQUARE),
        angle_share=_angle_share(sums),
    )


def _angle_share(sums: TokenSums) -> Figure:
    parts = [sums[name] for name in ("dot", "output", "target")]
    dot, output, target = (float(part.sum()) for part in parts)
    if output <= 0 or target <= 0:
        return Figure(None, why=NO_MEAN_SQUARE)
    value = dot**2 / (output * target)
    # The differential of a product of powers, unit by unit: each sums to 0 about the value.
    influence = (2 * dot * parts[0] / (output * target)) - value * (parts[1] / output + parts[2] / target)
    return linearised(value, influence, Ratio(parts[1], parts[2]).units)
