"""What a subject loses when other tensors stand in place of what a dictionary reconstructs."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.measure.figures import NO_TOKENS
from interp.collect.measure.ratio import Floats, Ratio
from interp.collect.measure.sample import TokenSample
from interp.collect.measure.spliced import NO_NEXT, SplicedLosses, by_site
from interp.dictionary.module import Dictionary
from interp.domain.check_report import Figure
from interp.health.figures import Distribution
from interp.health.reconstruction.batches import Batch
from interp.subject import splice
from interp.subject.loaded import OpenedSubject


@dataclass(frozen=True, slots=True)
class Splicing:
    """Next-token losses, in nats, with the reconstruction spliced in, and with ablations.

    ce_clean    cross-entropy of the subject; ce_spliced with the reconstruction, ce_zero with zeros, ce_mean with the targets' mean (over the half
                of the documents that fits it) in place of the activations, at counted positions alone
    nats_lost   ce_spliced - ce_clean, token by token; bits_lost the same over ln 2. Trap: the score hides them, since zeros often cost 10 nats:
                a score of .98 may be the loss of a model of a tenth of the parameters
    score       (ce_zero - ce_spliced) / (ce_zero - ce_clean), the loss recovered (Cunningham et al., arXiv 2309.08600; SAELens' ce_loss_score);
                score_mean the same against the mean. Trap: zeros are no activation that the subject ever meets, so that score flatters
    kl          mean of KL(clean || spliced) of the next token's distribution, at counted positions with or without a next token; kl_zero and
                kl_mean with the ablations. Trap: it is not nats_lost, which asks after one token that came: a splice that moves probability both
                ways has a large kl and may lose no nats at all
    kl_tokens   distribution of kl over the tokens; None where there is none
    """

    ce_clean: Figure
    ce_spliced: Figure
    ce_zero: Figure
    ce_mean: Figure
    nats_lost: Figure
    bits_lost: Figure
    score: Figure
    score_mean: Figure
    kl: Figure
    kl_zero: Figure
    kl_mean: Figure
    kl_tokens: Distribution | None


class Passes:
    """Forward passes with each of `REPLACEMENTS`, and on the test half with the rescaled reconstruction.

    losses  next-token losses by replacement
    """

    def __init__(self, subject: OpenedSubject, dictionary: Dictionary, sample: TokenSample, mean: Tensor, seed: int) -> None:
        self._subject, self._dictionary = subject, dictionary
        self.mean, self.seed = mean, seed
        self.losses = SplicedLosses(subject, dictionary, sample)
        self._sums: dict[str, Floats] = {name: np.zeros(sample.n_units) for name in REPLACEMENTS}
        self._tokens = np.zeros(sample.n_units)
        self._by_token: dict[str, list[NDArray[np.float32]]] = {name: [] for name in BY_TOKEN}
        self._units: list[NDArray[np.int64]] = []

    def add(self, batch: Batch, output: Tensor) -> None:
        """Make the passes of a batch with reconstructions `[N, D_out]`."""
        self.losses.add("clean", batch.rows, batch.logits)
        for name, replacement in REPLACEMENTS.items():
            logits = self.losses.splice(name, batch.rows, batch.full(replacement(self, batch, output)))
            if logits is None:
                return
            found = splice.divergences(batch.logits, logits).cpu()[batch.counted.cpu()].double().numpy()
            self._sums[name] += np.bincount(batch.units, found, len(self._tokens))
            if name in BY_TOKEN:
                self._by_token[name].append(found.astype(np.float32))
        self._tokens += np.bincount(batch.units, minlength=len(self._tokens))
        self._units.append(batch.units)

    def add_rescaled(self, batch: Batch, output: Tensor, rows: NDArray[np.bool_]) -> None:
        """Make a pass of some rows `[B]` with rescaled reconstructions `[N, D_out]`."""
        if rows.any():
            self.losses.splice("rescaled", batch.rows[rows], batch.full(output)[torch.from_numpy(rows)])

    def by_site(self, values: Tensor) -> tuple[Tensor, ...]:
        """Return the part of values `[N, D_out]` of each hook point that the dictionary writes."""
        return by_site(self._subject, self._dictionary, values)

    def kl(self, name: str) -> Ratio | None:
        """Return the mean of KL(clean || replaced) a token; None where nothing could be replaced."""
        return None if self.losses.why is not None else Ratio(self._sums[name], self._tokens)

    def tokens_of(self, name: str) -> NDArray[np.float32]:
        """Return KL(clean || replaced) of each token seen, float32 `[N]`, for the names `BY_TOKEN`."""
        return np.concatenate([np.zeros(0, np.float32), *self._by_token[name]])

    @property
    def units(self) -> NDArray[np.int64]:
        """Return the unit of each token seen, int64 `[N]`."""
        return np.concatenate([np.zeros(0, np.int64), *self._units])

    @property
    def n_units(self) -> int:
        return len(self._tokens)


def splicing(passes: Passes) -> Splicing:
    """Return the figures of passes."""
    losses = passes.losses
    lost = losses.difference("spliced", "clean")
    nats = Figure(None, why=losses.why or NO_TOKENS) if lost is None else lost.figure(NO_NEXT)
    return Splicing(
        ce_clean=losses.loss("clean"),
        ce_spliced=losses.loss("spliced"),
        ce_zero=losses.loss("zero"),
        ce_mean=losses.loss("mean"),
        nats_lost=nats,
        bits_lost=in_bits(nats),
        score=losses.recovered("spliced", "zero"),
        score_mean=losses.recovered("spliced", "mean"),
        kl=kl_figure(passes, "spliced"),
        kl_zero=kl_figure(passes, "zero"),
        kl_mean=kl_figure(passes, "mean"),
        kl_tokens=None if losses.why is not None else Distribution.of(passes.tokens_of("spliced")),
    )


def kl_figure(passes: Passes, name: str) -> Figure:
    """Return the mean of KL(clean || replaced) as a figure."""
    found = passes.kl(name)
    return Figure(None, why=passes.losses.why) if found is None else found.figure(NO_TOKENS)


def in_bits(nats: Figure) -> Figure:
    """Return a figure in nats as one in bits."""
    value, error = (None if part is None else part / log(2) for part in (nats.value, nats.standard_error))
    return Figure(value, error, nats.why)


def _at_random(passes: Passes, batch: Batch, output: Tensor) -> Tensor:
    """Return random points as far from the targets as the reconstructions, at each hook point.

    A row's directions are drawn by the seed and its number, whatever the batch it is in.
    """
    length, width = batch.counted.shape[1], output.shape[1]
    drawn = [torch.randn(length, width, generator=torch.Generator().manual_seed((passes.seed << 32) + int(row))) for row in batch.rows]
    noise = torch.stack(drawn)[batch.counted.cpu()].to(output.device)
    parts = zip(*(passes.by_site(values) for values in (batch.target, output, noise)), strict=True)
    return torch.cat([x + (x - o).norm(dim=1, keepdim=True) * u / u.norm(dim=1, keepdim=True) for x, o, u in parts], dim=1)


def _of_norm(passes: Passes, batch: Batch, output: Tensor) -> Tensor:
    """Return the targets scaled to the reconstructions' norms, at each hook point; zero ones stay."""
    parts = zip(passes.by_site(batch.target), passes.by_site(output), strict=True)
    scaled = [x * (o.norm(dim=1, keepdim=True) / x.norm(dim=1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)) for x, o in parts]
    return torch.cat(scaled, dim=1)


# What stands in place of the targets, `[N, D_out]`, of reconstructions of the same shape.
REPLACEMENTS: dict[str, Callable[[Passes, Batch, Tensor], Tensor]] = {
    "spliced": lambda _passes, _batch, output: output,
    "zero": lambda _passes, _batch, output: torch.zeros_like(output),
    "mean": lambda passes, _batch, output: passes.mean.to(output.dtype).expand_as(output),
    "random": _at_random,
    "norm": _of_norm,
}
# Of these, KL is kept token by token.
BY_TOKEN = ("spliced", "random", "norm")
