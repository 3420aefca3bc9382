"""Shifts of next-token predictions by a feature's direction, at equal divergence."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.measure.figures import MOST_LOGITS
from interp.collect.measure.spliced import by_site
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.module import Dictionary
from interp.domain.evidence import Split
from interp.score.scorers.output import DOWN, PROMPTS, UP
from interp.subject import splice
from interp.subject.loaded import OpenedSubject

# Tokens of a prompt without BOS.
LENGTH = 32
# Mean KL(clean || patched) of the next token over the prompts, in nats, at which every feature is read, and the share of it that the search may miss.
TARGET_KL, TOLERANCE = 0.5, 0.05
# The search: strengths are doubled or halved until they enclose the target, then bisected.
DOUBLINGS, HALVINGS = 24, 16
# A strength is tried up to this share of the activations' norm over the machine epsilon, beside which the sum's rounding loses them. Beyond that,
# rounding moves predictions whatever the direction.
LOST = 0.5
# Tokens of the mean shift, on each side.
MEAN_TOKENS = 40
# Tokens are shown that have this probability at least, with or without the direction.
LEAST = 1e-5
NO_EFFECT = "Adding the feature's direction, at any strength that was tried, hardly changes what the subject predicts."


@dataclass(frozen=True)
class Shift:
    """Tokens that one prompt's prediction moves most: (token, nats of log-probability)."""

    up: tuple[tuple[int, float], ...]
    down: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Effect:
    """What adding a feature's direction does to predictions.

    strength  of the decoder direction of length 1, at each token but the BOS; None where there is no effect, see `why`
    kl        mean KL(clean || patched) of the next token at the prompts' ends, in nats
    shifts    of each prompt
    mean      of the mean over prompts, at most `MEAN_TOKENS` a side
    """

    strength: float | None
    kl: float | None
    shifts: tuple[Shift, ...]
    why: str | None = None
    mean: Shift = Shift((), ())


def prompts_of(corpus: TokenizedCorpus, bos: int | None, count: int = PROMPTS, length: int = LENGTH, split: Split = Split.TEST) -> NDArray[np.int64]:
    """Return beginnings of a split's documents, int64 [P, T], in the order of their hashes."""
    sizes = np.diff(corpus.offsets)
    chosen = np.flatnonzero((corpus.splits == split) & (sizes >= length))[:count]
    rows = (
        np.stack([corpus.tokens[corpus.offsets[place] : corpus.offsets[place] + length] for place in chosen])
        if len(chosen)
        else np.zeros((0, length))
    )
    head = np.full((len(rows), 0 if bos is None else 1), bos or 0)
    return np.concatenate([head, rows], axis=1).astype(np.int64)


@torch.inference_mode()
def effects_of(
    subject: OpenedSubject,
    dictionary: Dictionary,
    features: NDArray[np.int64],
    prompts: NDArray[np.int64],
    progress: Callable[[int], None] = lambda _done: None,
) -> list[Effect]:
    """Return each feature's effect on prompts int64 [P, T], at a mean divergence of `TARGET_KL`.

    A feature is found by bisection on the logarithm of the strength, some features in one pass. Raises SubjectError where nothing can be added.
    """
    if not len(prompts):
        return [Effect(None, None, (), "No document is long enough for a prompt.") for _ in features]
    reader = _Reader(subject, dictionary, torch.from_numpy(prompts).to(subject.device))
    found: list[Effect] = []
    for start in range(0, len(features), reader.at_once):
        found += reader.effects(features[start : start + reader.at_once])
        progress(len(found))
    return found


class _Reader:
    """Predictions at the ends of prompts, with directions added."""

    def __init__(self, subject: OpenedSubject, dictionary: Dictionary, tokens: Tensor) -> None:
        self._subject, self._dictionary, self._tokens = subject, dictionary, tokens
        self._where = torch.ones_like(tokens, dtype=torch.bool)
        if subject.bos is not None:
            self._where[:, 0] = False
        norms = _Norms(self._where)
        self._clean = self._ends(splice.read(subject, tokens, dict.fromkeys(dictionary.output_points, norms.add)))
        self._strongest = LOST * norms.mean() / norms.epsilon
        rows = max(1, MOST_LOGITS // (4 * tokens.shape[1] * self._clean.shape[1]))
        self.at_once = max(1, rows // len(tokens))

    def effects(self, features: NDArray[np.int64]) -> list[Effect]:
        directions = self._dictionary.W_dec[torch.from_numpy(features).to(self._dictionary.W_dec.device)].float()
        norms = torch.linalg.vector_norm(directions, dim=1)
        directions = directions / norms.clamp(min=1e-12)[:, None]
        strengths, reached = self._search(directions)
        patched = self._patched(directions, strengths)
        divergences = self._divergences(patched)
        made = []
        for row in range(len(features)):
            if not bool(reached[row]) or float(norms[row]) == 0:
                made.append(Effect(None, None, (), NO_EFFECT))
                continue
            shifts = tuple(_shift(clean, other) for clean, other in zip(self._clean, patched[row], strict=True))
            made.append(Effect(float(strengths[row]), float(divergences[row]), shifts, mean=_mean_shift(self._clean, patched[row])))
        return made

    def _search(self, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Return strengths [F], and whether the divergence there is the wanted one, bool [F].

        A direction whose strongest addition moves predictions too little has none.
        """
        low, high = torch.zeros(len(directions)), torch.full((len(directions),), torch.inf)
        strengths = torch.ones(len(directions))
        near = torch.zeros(len(directions), dtype=torch.bool)
        for _ in range(DOUBLINGS + HALVINGS):
            divergences = self._divergences(self._patched(directions, strengths)).cpu()
            near |= (divergences - TARGET_KL).abs() <= TOLERANCE * TARGET_KL
            below = divergences < TARGET_KL
            if bool((near | below & (strengths >= self._strongest)).all()):
                break
            low = torch.where(~near & below, strengths, low)
            high = torch.where(~near & ~below, strengths, high)
            middle = torch.where(torch.isinf(high), 2 * low, torch.where(low == 0, high / 2, (low * high).sqrt()))
            strengths = torch.where(near, strengths, middle.clamp(max=self._strongest))
        return strengths, near

    def _patched(self, directions: Tensor, strengths: Tensor) -> Tensor:
        """Return log-probabilities [F, P, V] with each direction added."""
        count, prompts = len(directions), len(self._tokens)
        added = (strengths.to(directions.device)[:, None] * directions).repeat_interleave(prompts, dim=0)
        values = dict(zip(self._dictionary.output_points, by_site(self._subject, self._dictionary, added), strict=True))
        logits = splice.shift(self._subject, self._tokens.repeat(count, 1), values, self._where.repeat(count, 1))
        return self._ends(logits).view(count, prompts, -1)

    def _divergences(self, patched: Tensor) -> Tensor:
        """Return the mean KL(clean || patched) over prompts, float32 [F]."""
        return (self._clean.exp() * (self._clean - patched)).sum(2).mean(1)

    @staticmethod
    def _ends(logits: Tensor) -> Tensor:
        return logits[:, -1].float().log_softmax(1)


class _Norms:
    """Norms of the activations at hook points, at positions bool [B, T]."""

    def __init__(self, where: Tensor) -> None:
        self._where, self._squares = where, torch.zeros(where.shape)
        self.epsilon = 0.0

    def add(self, tensor: Tensor) -> None:
        """Add a hook point's tensor [B, T, D]."""
        self._squares += tensor.float().square().sum(2).cpu()
        self.epsilon = max(self.epsilon, torch.finfo(tensor.dtype).eps)

    def mean(self) -> float:
        return float(self._squares.sqrt()[self._where.cpu()].mean())


def _shift(clean: Tensor, patched: Tensor) -> Shift:
    """Return the tokens that a prediction [V] moves most, of those that are likely enough."""
    moved = patched - clean
    likely = torch.maximum(patched, clean) >= float(np.log(LEAST))
    return Shift(_most(moved, likely, UP), tuple((token, -nats) for token, nats in _most(-moved, likely, DOWN)))


def _mean_shift(clean: Tensor, patched: Tensor) -> Shift:
    """Return the tokens whose mean over predictions [P, V] moves most, if likely."""
    moved = (patched - clean).mean(0)
    likely = torch.maximum(patched.exp().mean(0), clean.exp().mean(0)) >= LEAST
    return Shift(_most(moved, likely, MEAN_TOKENS), tuple((token, -nats) for token, nats in _most(-moved, likely, MEAN_TOKENS)))


def _most(moved: Tensor, likely: Tensor, count: int) -> tuple[tuple[int, float], ...]:
    values, tokens = moved.masked_fill(~likely, -torch.inf).topk(min(count, len(moved)))
    pairs: Iterator[tuple[int, float]] = zip(tokens.tolist(), values.tolist(), strict=True)
    return tuple((token, round(nats, 4)) for token, nats in pairs if nats > 0)
