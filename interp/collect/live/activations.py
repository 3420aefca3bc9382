"""Activations on given texts: of chosen features, of the strongest, of those that differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.live.encoding import TokenEncoder
from interp.collect.live.reading import Between, TextReader, tokens_of
from interp.dictionary.module import Dictionary
from interp.domain.errors import FeatureOutOfRangeError, InputError
from interp.domain.live import MOST_TOKENS, ActivationsWork
from interp.domain.spec import CollectionSpec
from interp.subject.base import Subject

Halves = NDArray[np.float16]


@dataclass(frozen=True)
class Ranked:
    """The strongest features, int64 [k], and what they are ranked by, float32 [k], above 0.

    `texts` and `tokens` int64 [k] say where each is strongest; of a ranking at one token they are empty.
    """

    features: NDArray[np.int64]
    values: NDArray[np.float32]
    texts: NDArray[np.int64]
    tokens: NDArray[np.int64]


@dataclass(frozen=True)
class TextActivations:
    """What is known of one text of N tokens.

    activations  float16 [F, N] of the features asked for
    top          the strongest of all features by their largest activation in this text
    per_token    of each token the strongest features; empty where that was not asked for
    """

    tokens: NDArray[np.uint32]
    counted: NDArray[np.bool_]
    rows: tuple[int, ...]
    activations: Halves
    top: Ranked
    per_token: tuple[Ranked, ...]


@dataclass(frozen=True)
class Activations:
    """The answer to a request: its texts, then those they are compared with.

    `top` ranks by the largest activation in `texts`; `differences` by how far that is above the largest in `against`.
    """

    texts: tuple[TextActivations, ...]
    against: tuple[TextActivations, ...]
    top: Ranked
    differences: Ranked
    is_exact: bool


def activations(
    subject: Subject, dictionary: Dictionary, spec: CollectionSpec, reader: TextReader, work: ActivationsWork, between: Between
) -> Activations:
    """Return activations on texts, with the bits that collection stores of the same rows.

    `between` tiles and passes may raise to stop the work. Raises InputError for too many tokens, FeatureOutOfRangeError, TokenizerMismatchError.
    """
    _check_features(dictionary, work.features)
    encoded = tokens_of(subject, [*work.texts, *work.against])
    if (total := sum(map(len, encoded))) > MOST_TOKENS:
        raise InputError(f"The texts have {total:,} tokens together.", why=f"A request may have {MOST_TOKENS:,}.", cure="Send less text at once.")
    texts = reader.read(encoded, between)
    encoder = TokenEncoder(dictionary, spec, texts)
    ends = list(accumulate(len(text.tokens) for text in texts))
    spans = [slice(end - len(text.tokens), end) for text, end in zip(texts, ends, strict=True)]
    ranking = _Ranking(spans, len(work.texts), work.top_k, work.per_token, encoder.counted.device)
    if work.top_k or work.per_token:
        for first, values in encoder.tiles():
            between()
            ranking.add(first, values)
    by_text, top, differences, per_token = ranking.found()
    levels = torch.tensor(work.levels, dtype=torch.float32, device=encoder.counted.device) if work.levels else None
    chosen = encoder.chosen(_tensor(work.features, encoder), levels).cpu().numpy()
    found = _Places(encoder, spans, [top, differences, *by_text], between)
    asked = range(len(work.texts))
    made = [
        TextActivations(text.tokens, text.counted, text.rows, chosen[:, span], found.of(ranked, [place]), tuple(per_token[span]))
        for place, (text, span, ranked) in enumerate(zip(texts, spans, by_text, strict=True))
    ]
    return Activations(
        tuple(made[: len(work.texts)]), tuple(made[len(work.texts) :]), found.of(top, asked), found.of(differences, asked), reader.is_exact
    )


def _tensor(features: Sequence[int], encoder: TokenEncoder) -> Tensor:
    return torch.tensor(features, dtype=torch.int64, device=encoder.counted.device)


class _Places:
    """Where ranked features are strongest, by one more pass over these features alone."""

    def __init__(self, encoder: TokenEncoder, spans: Sequence[slice], ranked: Sequence[Ranked], between: Between) -> None:
        every = list(dict.fromkeys(feature for one in ranked for feature in one.features.tolist()))
        self._rows = {feature: row for row, feature in enumerate(every)}
        between()
        values = encoder.chosen(_tensor(every, encoder)).float()
        own = [values[:, span] for span in spans]
        self._maxima = [part.amax(1).cpu() if part.shape[1] else torch.zeros(len(every)) for part in own]
        self._tokens = [part.argmax(1).cpu() if part.shape[1] else torch.zeros(len(every), dtype=torch.int64) for part in own]

    def of(self, ranked: Ranked, texts: Sequence[int]) -> Ranked:
        """Return the ranking with the place of each feature's largest activation in some texts."""
        rows = [self._rows[feature] for feature in ranked.features.tolist()]
        best = [max(texts, key=lambda text: float(self._maxima[text][row])) for row in rows]
        tokens = [int(self._tokens[text][row]) for text, row in zip(best, rows, strict=True)]
        return Ranked(ranked.features, ranked.values, np.array(best, np.int64), np.array(tokens, np.int64))


def _check_features(dictionary: Dictionary, features: Sequence[int]) -> None:
    beyond = [feature for feature in features if feature >= dictionary.n_features]
    if beyond:
        raise FeatureOutOfRangeError(
            f"{dictionary.name} has no feature {beyond[0]}.", why=f"It has {dictionary.n_features} features.", cure="Name others."
        )


class _Ranking:
    """The strongest features so far: over texts, by difference, and at each token."""

    def __init__(self, spans: Sequence[slice], asked: int, top_k: int, per_token: int, device: torch.device) -> None:
        self._spans, self._asked, self._texts = spans, asked, len(spans)
        tokens = max((span.stop for span in spans), default=0)
        self._over = _Best(self._texts + 2, top_k, device)
        self._at = _Best(tokens, per_token, device)

    def add(self, first: int, values: Tensor) -> None:
        """Add activations float16 [F, N] of features from `first` on."""
        values = values.to(torch.float32)
        empty = values.new_zeros(len(values))
        maxima = [values[:, span].amax(1) if span.stop > span.start else empty for span in self._spans]
        asked = torch.stack(maxima[: self._asked]).amax(0)
        other = torch.stack(maxima[self._asked :]).amax(0) if len(maxima) > self._asked else None
        self._over.add(first, torch.stack([*maxima, asked, empty if other is None else asked - other]))
        self._at.add(first, values.T)

    def found(self) -> tuple[list[Ranked], Ranked, Ranked, list[Ranked]]:
        *by_text, top, differences = self._over.found()
        return by_text, top, differences, self._at.found()


class _Best:
    """The `count` largest positive values of each of R rankings, with their features."""

    def __init__(self, rankings: int, count: int, device: torch.device) -> None:
        self._count = count
        self._values = torch.zeros((rankings, 0), device=device)
        self._features = torch.zeros((rankings, 0), dtype=torch.int64, device=device)

    def add(self, first: int, values: Tensor) -> None:
        """Add values float32 [R, F] of features from `first` on."""
        if not self._count or not len(values):
            return
        own = torch.arange(first, first + values.shape[1], device=values.device).expand(len(values), -1)
        values, features = torch.cat([self._values, values], 1), torch.cat([self._features, own], 1)
        self._values, places = values.topk(min(self._count, values.shape[1]), dim=1)
        self._features = features.gather(1, places)

    def found(self) -> list[Ranked]:
        values, features = self._values.cpu().numpy(), self._features.cpu().numpy()
        none = np.zeros(0, np.int64)
        return [Ranked(own[row > 0], row[row > 0], none, none) for own, row in zip(features, values, strict=True)]
