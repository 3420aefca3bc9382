"""Features that two or more dictionaries of one space share: greedy and one-to-one matching."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.dictionary.module import Dictionary
from interp.domain.check_report import Figure
from interp.domain.errors import DictionaryError
from interp.domain.polarity import Polarity
from interp.health.directions import mean_figure, random_directions, share_figure
from interp.health.figures import Distribution
from interp.stats.auction import UNASSIGNED, Assignment, auction

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
# Cosines of partners (feature of the first, feature of the second).
Partners = dict[tuple[int, int], float]
# A partner has a cosine above this: nearly the same feature, and a similar one.
SAME, SIMILAR = 0.9, 0.7
BLOCK = 256
# Up to this many pairs the assignment is SciPy's, on all of them; beyond, an auction that starts with each feature's nearest.
MOST_PAIRS = 4_000_000
CANDIDATES = 32
# The least rise of a price, and how often rows whose candidates are exhausted look at all columns again.
EPSILON, LOOKS = 1e-4, 400
# Columns whose maximum is taken before the greatest are sorted.
GROUP = 64
LISTED = 100
# One-to-one partners that a report lists of a pair of dictionaries.
MOST_PARTNERS = 2_000
NO_PARTNER = -2.0
JOINT = "Pairs compete for features, so they are no independent draws: compare several seeds."
NONE = "A dictionary has no feature with a direction."
ONE_OTHER = "One other dictionary: it has no spread."


@dataclass(frozen=True, slots=True)
class Greedy:
    """Each feature with the nearest one of the other dictionary: max_j cos(d_i, d_j).

    Standard errors take features as the unit, the other dictionary as given. `chosen` features of the other are the nearest of any: the remaining
    `double_counted` choices fall on one that is chosen already. Source: mean max cosine similarity (Sharkey et al. 2022, Taking features out of
    superposition with sparse autoencoders). Trap: several features may choose the same one, so that a dictionary which splits a feature into ten
    copies, or a small one, looks better than it is; the one-to-one figure counts it once.
    """

    mean: Figure
    same: Figure
    similar: Figure
    cosines: Distribution
    chosen: int
    double_counted: int


@dataclass(frozen=True, slots=True)
class OneToOne:
    """The assignment of distinct partners with the greatest sum of cosines, and its figures.

    All features of the smaller dictionary get one (`pairs`), at whatever cosine. Source: the Hungarian method (Kuhn 1955; here Crouse 2016 and Jonker
    and Volgenant 1987, in SciPy), as Paulo and Belrose (2025, arXiv 2501.16615) use it for seeds. Large dictionaries are matched by an auction on
    each feature's nearest candidates (`interp/stats/auction.py`). No assignment has a mean above `bound`; where `bound` is the mean it is the best.
    """

    mean: Figure
    same: Figure
    similar: Figure
    pairs: int
    bound: float | None


@dataclass(frozen=True, slots=True)
class Match:
    """Figures of two sets of directions; `forward` is from the first to the second."""

    forward: Greedy
    backward: Greedy
    one_to_one: OneToOne


@dataclass(frozen=True, slots=True)
class Alone:
    """Features without a one-to-one partner above .7: number, and the first 100 with their cosine.

    Lowest cosine first; None for a feature of the larger dictionary that no partner is left for.
    """

    total: int
    features: tuple[tuple[int, float | None], ...]


@dataclass(frozen=True, slots=True)
class SpaceMatch:
    """Match of two dictionaries' decoders or encoders beside that of random directions.

    `random` is the match of as many random directions of the same dimension. `zero` counts features without a direction, in the first and the second
    dictionary: they are in no figure. `first_alone` and `second_alone` are the features without a partner.
    """

    match: Match
    random: Match
    zero: tuple[int, int]
    first_alone: Alone
    second_alone: Alone


@dataclass(frozen=True, slots=True)
class PairMatching:
    """Features that a dictionary shares with another.

    `agreeing` is the share of the smaller dictionary's features whose one-to-one partner is the same by decoder and by encoder, both cosines above .7
    (Paulo and Belrose 2025). `encoder` is None with a reason where the encoders are of different dimensions. `warning` says what makes the
    comparison doubtful. `partners` are one-to-one partners by decoder above .7 with their cosine, by the first's feature: every nth of
    `n_partners`, so that they are at most 2,000.
    """

    other: str
    n_partners: int
    partners: tuple[tuple[int, int, float], ...]
    decoder: SpaceMatch
    encoder: SpaceMatch | None
    encoder_why: str | None
    agreeing: Figure
    warning: str | None


@dataclass(frozen=True, slots=True)
class Matching:
    """A dictionary against others of the same space, such as other seeds.

    pairs          one by one
    same, similar  share of its features with a partner in another dictionary (greedy, decoder cosine above .9, .7): mean over the others, with the
                   standard error of that mean, the others as the unit
    same_in_all, similar_in_all   share with a partner in every other
    similar_in_none               share without one in any
    """

    dictionary: str
    pairs: tuple[PairMatching, ...]
    same: Figure
    similar: Figure
    same_in_all: Figure
    similar_in_all: Figure
    similar_in_none: Figure


@torch.inference_mode()
def matching(dictionary: Dictionary, others: tuple[Dictionary, ...], *, seed: int = 0) -> Matching:
    """Match a dictionary's features with those of others (see `Matching`).

    All pairs of features are multiplied in blocks, in memory O(F D). Raises DictionaryError for decoders of different dimensions, and without others.
    """
    if not others:
        raise DictionaryError("There is no dictionary to compare with.", cure="Name one or more, such as other seeds of the same training.")
    for other in others:
        _refuse_other_space(dictionary, other)
    found = [_pair(dictionary, other, seed) for other in others]
    best = np.array([cosines for _, cosines in found])
    shares = {limit: [float((row > limit).mean()) for row in best] if best.shape[1] else [] for limit in (SAME, SIMILAR)}
    return Matching(
        dictionary=dictionary.name,
        pairs=tuple(pair for pair, _ in found),
        same=_over_others(shares[SAME]),
        similar=_over_others(shares[SIMILAR]),
        same_in_all=_share(best.min(0) > SAME),
        similar_in_all=_share(best.min(0) > SIMILAR),
        similar_in_none=_share(best.max(0) <= SIMILAR),
    )


def _refuse_other_space(dictionary: Dictionary, other: Dictionary) -> None:
    widths = dictionary.W_dec.shape[1], other.W_dec.shape[1]
    if widths[0] != widths[1]:
        raise DictionaryError(
            f"{dictionary.name} writes {widths[0]} dimensions and {other.name} {widths[1]}: directions of two spaces have no cosine.",
            why=f"They are of {'+'.join(dictionary.output_points)} and {'+'.join(other.output_points)}.",
            cure="Compare dictionaries of the same hook point of the same subject. Features of different subjects compare by what they fire on.",
        )


def _pair(first: Dictionary, second: Dictionary, seed: int) -> tuple[PairMatching, Floats]:
    """Return the matching with another, and greatest decoder cosines of features with a direction."""
    polarities = first.polarity, second.polarity
    decoder, partners, best = _compare(first.W_dec, second.W_dec, polarities, seed)
    why, warning, encoder, agreeing = None, None, None, None
    if first.d_in == second.d_in:
        encoder, others, _ = _compare(first.W_enc.T, second.W_enc.T, polarities, seed)
        agreeing = _agreeing(partners, others, min(first.n_features, second.n_features))
    else:
        why = f"{first.name} reads {first.d_in} dimensions and {second.name} {second.d_in}: their encoders have no cosine."
    if (first.hook_point, first.output_points) != (second.hook_point, second.output_points):
        warning = f"The hook points differ ({second.hook_point}): axes of two places are compared as if they were the same."
    similar = sorted((*pair, cosine) for pair, cosine in partners.items() if cosine > SIMILAR)
    listed = tuple(similar[:: -(-len(similar) // MOST_PARTNERS) or 1])
    pair = PairMatching(second.name, len(similar), listed, decoder, encoder, why, agreeing or Figure(None, why=why), warning)
    return pair, best


def _compare(first: Tensor, second: Tensor, polarities: tuple[Polarity, Polarity], seed: int) -> tuple[SpaceMatch, Partners, Floats]:
    """Return the match of rows [F1, D] and [F2, D], partners' cosines, and greatest cosines."""
    alive = [np.flatnonzero((side != 0).any(1).cpu().numpy()) for side in (first, second)]
    units = [
        torch.nn.functional.normalize(side[torch.from_numpy(kept).to(side.device)].float()) for side, kept in zip((first, second), alive, strict=True)
    ]
    match, best, found = _match(units[0], units[1])
    random = _random_match((len(alive[0]), len(alive[1])), first.shape[1], polarities, seed, str(first.device))
    pairs = zip(alive[0][found.first].tolist(), alive[1][found.second].tolist(), strict=True)
    partners = dict(zip(pairs, found.cosines.tolist(), strict=True))
    firsts, seconds = ({pair[side]: cosine for pair, cosine in partners.items()} for side in (0, 1))
    zero = len(first) - len(alive[0]), len(second) - len(alive[1])
    return SpaceMatch(match, random, zero, _alone(alive[0], firsts), _alone(alive[1], seconds)), partners, best


@lru_cache(maxsize=2)
def _random_match(counts: tuple[int, int], width: int, polarities: tuple[Polarity, Polarity], seed: int, device: str) -> Match:
    """Return the match of random directions; kept, for encoders of the same shape."""
    units = [random_directions(counts[side], width, 2 * seed + side, polarities[side]).to(device) for side in (0, 1)]
    return _match(units[0], units[1])[0]


@dataclass(frozen=True)
class _Partners:
    """One-to-one partners: rows of both sides int64 [P], cosines float64 [P], the greatest possible sum."""

    first: Indices
    second: Indices
    cosines: Floats
    bound: float


def _match(first: Tensor, second: Tensor) -> tuple[Match, Floats, _Partners]:
    """Return the match of unit vectors, the first's greatest cosines, and the partners."""
    if not len(first) or not len(second):
        undefined = Figure(None, why=NONE)
        none = Greedy(undefined, undefined, undefined, Distribution(0, None, None), 0, 0)
        empty = np.zeros(0, dtype=np.int64)
        match = Match(none, none, OneToOne(undefined, undefined, undefined, 0, None))
        return match, np.full(len(first), NO_PARTNER), _Partners(empty, empty, np.zeros(0), 0.0)
    turned = len(first) > len(second)
    rows, columns = (second, first) if turned else (first, second)
    cosines, choices, best, chosen = _candidates(rows, columns)
    found = _one_to_one(rows, columns, cosines, choices)
    forward, backward, one_to_one = _greedy(cosines[:, 0], choices[:, 0]), _greedy(best, chosen), _figures(found)
    if turned:
        return Match(backward, forward, one_to_one), best, _Partners(found.second, found.first, found.cosines, found.bound)
    return Match(forward, backward, one_to_one), cosines[:, 0], found


def _candidates(rows: Tensor, columns: Tensor) -> tuple[Floats, Indices, Floats, Indices]:
    """Return each row's nearest columns (cosines [R, k], indices), and each column's nearest row."""
    best = torch.full((len(columns),), NO_PARTNER, device=columns.device)
    chosen = torch.zeros(len(columns), dtype=torch.int64, device=columns.device)
    found = []
    for first in range(0, len(rows), BLOCK):
        cosines = rows[first : first + BLOCK] @ columns.T
        found.append(_greatest(cosines, min(CANDIDATES, len(columns))))
        highest, places = cosines.max(0)
        chosen = torch.where(highest > best, places + first, chosen)
        best = torch.maximum(best, highest)
    values, indices = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
    return values.astype(np.float64), indices, best.double().cpu().numpy(), chosen.cpu().numpy()


def _greatest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k greatest values of each row [R, C], descending, and their columns.

    The k greatest lie in the k groups of columns with the greatest maxima: one fast pass over all, and a sort of few.
    """
    whole = values.shape[1] // GROUP * GROUP
    if whole < 2 * k * GROUP:
        return torch.topk(values, k, dim=1)
    grouped = values[:, :whole].reshape(len(values), -1, GROUP)
    groups = grouped.amax(2).topk(k, dim=1).indices
    columns = (groups[:, :, None] * GROUP + torch.arange(GROUP, device=values.device)).flatten(1)
    rest = torch.arange(whole, values.shape[1], device=values.device).expand(len(values), -1)
    columns = torch.cat([columns, rest], dim=1)
    found = values.gather(1, columns).topk(k, dim=1)
    return found.values, columns.gather(1, found.indices)


def _one_to_one(rows: Tensor, columns: Tensor, cosines: Floats, choices: Indices) -> _Partners:
    """Assign R <= C rows to distinct columns, with the greatest sum of cosines."""
    # Imported here since it takes half a second, and few processes need it.
    from scipy.optimize import linear_sum_assignment

    count, total = len(rows), len(columns)
    if count * total <= MOST_PAIRS:
        pairs = (rows @ columns.T).double().cpu().numpy()
        places, partners = linear_sum_assignment(pairs, maximize=True)
        return _Partners(places, partners, pairs[places, partners], float(pairs[places, partners].sum()))
    assigned = _by_auction(rows, columns, cosines, choices)
    partners = assigned.columns
    fell, free = np.flatnonzero(partners == UNASSIGNED), np.setdiff1d(np.arange(total), partners)
    if len(fell) * len(free) <= MOST_PAIRS:
        left = rows[_index(fell, rows)] @ columns[_index(free, rows)].T
        partners[fell] = free[linear_sum_assignment(left.double().cpu().numpy(), maximize=True)[1]]
    else:
        # Thousands of nearly equal rows: the best assignment of these would take hours.
        partners[fell] = free[_in_turn(rows[_index(fell, rows)], columns[_index(free, rows)])]
    found = (rows.double() * columns[_index(partners, rows)].double()).sum(1).cpu().numpy()
    return _Partners(np.arange(count), partners, found, max(assigned.bound, float(found.sum())))


def _by_auction(rows: Tensor, columns: Tensor, cosines: Floats, choices: Indices) -> Assignment:
    """Return each row's column, if it has one, and the bound of all sums."""

    def nearest(some: Indices, prices: Floats) -> tuple[Floats, Indices]:
        dear, parts = torch.from_numpy(prices).to(columns), np.array_split(some, -(-len(some) // BLOCK))
        found = [_greatest(rows[_index(part, rows)] @ columns.T - dear, choices.shape[1]) for part in parts]
        values, indices = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
        return values.astype(np.float64), indices

    return auction(cosines, choices, len(columns), nearest, epsilon=EPSILON, looks=LOOKS)


def _in_turn(rows: Tensor, columns: Tensor) -> Indices:
    """Return for each row, in turn, the nearest column that is left, int64 [R]."""
    found, taken = np.zeros(len(rows), dtype=np.int64), np.zeros(len(columns), dtype=np.bool_)
    for first in range(0, len(rows), BLOCK):
        cosines = (rows[first : first + BLOCK] @ columns.T).cpu().numpy()
        cosines[:, taken] = -np.inf
        for place, row in enumerate(cosines, first):
            found[place] = nearest = int(row.argmax())
            taken[nearest] = True
            cosines[:, nearest] = -np.inf
    return found


def _index(places: Indices, beside: Tensor) -> Tensor:
    return torch.from_numpy(places).to(beside.device)


def _greedy(cosines: Floats, choices: Indices) -> Greedy:
    chosen = len(np.unique(choices))
    mean, same, similar = (mean_figure(values, np.inf, NONE) for values in (cosines, cosines > SAME, cosines > SIMILAR))
    return Greedy(mean, same, similar, Distribution.of(cosines), chosen, len(choices) - chosen)


def _figures(found: _Partners) -> OneToOne:
    mean, same, similar = (Figure(float(values.mean()), why=JOINT) for values in (found.cosines, found.cosines > SAME, found.cosines > SIMILAR))
    return OneToOne(mean, same, similar, len(found.cosines), found.bound / len(found.cosines))


def _agreeing(decoder: Partners, encoder: Partners, features: int) -> Figure:
    agreeing = sum(cosine > SIMILAR and encoder.get(pair, NO_PARTNER) > SIMILAR for pair, cosine in decoder.items())
    return Figure(agreeing / features, why=JOINT) if features else Figure(None, why=NONE)


def _alone(features: Indices, partners: dict[int, float]) -> Alone:
    alone = [(feature, partners.get(feature)) for feature in features.tolist() if partners.get(feature, NO_PARTNER) <= SIMILAR]
    alone.sort(key=lambda pair: (NO_PARTNER if pair[1] is None else pair[1], pair[0]))
    return Alone(len(alone), tuple(alone[:LISTED]))


def _share(hits: NDArray[np.bool_]) -> Figure:
    return share_figure(hits, "The dictionary has no feature with a direction.")


def _over_others(shares: list[float]) -> Figure:
    if not shares:
        return _share(np.zeros(0, dtype=np.bool_))
    if len(shares) == 1:
        return Figure(shares[0], why=ONE_OTHER)
    return Figure(float(np.mean(shares)), float(np.std(shares, ddof=1) / len(shares) ** 0.5))
