"""Geometry of a dictionary's weights: cosines of directions, norms, biases and thresholds."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.collect.neighbours import nearest
from interp.dictionary.canonical import LINEAR
from interp.dictionary.module import Dictionary
from interp.domain.check_report import Figure
from interp.health.directions import mean_figure, random_directions, sample_features, share_figure
from interp.health.figures import Distribution, Histogram
from interp.subject import hooks

Floats = NDArray[np.floating]
# Which nearest features are looked at.
RANKS = (1, 10, 100)
# Features whose nearest are looked for among all; others are not drawn.
SAMPLE = 4096
COSINES = np.linspace(-1, 1, 101)
BINS = 50
# A nearest feature above this is nearly a duplicate.
DUPLICATE = 0.9
# A peak stands out where it is this many standard errors above the valley beside it.
STANDS_OUT = 4.0
# The most peaks, features of a peak, and hubs that are listed.
LISTED = 20
BLOCK = 8192
NO_FEATURES = "No feature has a direction: all rows of the decoder are zero."
# A threshold that no activation exceeds, which features that write nothing get.
NEVER = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Nearest:
    """Cosines of decoder directions to their nearest features of one rank (1 is the nearest).

    That of sampled feature i is the rank-th largest of d_i·d_j / (|d_i| |d_j|) over the other features j. `random` are those of as many random
    directions of the same dimension. Means have standard errors by features; None with a reason where there are not as many features. Trap: cosines
    of random directions grow with their number and shrink with the dimension, so that a cosine means nothing alone.
    """

    rank: int
    mean: Figure
    cosines: Distribution
    histogram: Histogram
    random_mean: Figure
    random_cosines: Distribution
    random_histogram: Histogram


@dataclass(frozen=True, slots=True)
class Peak:
    """A peak of the histogram of nearest cosines: sampled features in its bins.

    The bins from `low` to `high` are those above half of its height over the higher valley beside it (its prominence). `features` are the first 20 of
    the `count`; `shared` is the feature that is nearest to most of them, and `share` to what part. A peak whose features share one nearest feature is
    a hub; a peak near 1 without one is made of duplicates.
    """

    low: float
    high: float
    count: int
    features: tuple[int, ...]
    shared: int
    share: float


@dataclass(frozen=True, slots=True)
class Hub:
    """A feature, and how many of the sampled features have it as their nearest."""

    feature: int
    count: int


@dataclass(frozen=True, slots=True)
class Site:
    """Norms of the decoder at one of the hook points that a dictionary writes.

    `share` is |d_i at the site|² / |d_i|², by feature: near 1 for a feature of one site, 1/L for one that writes to all L alike.
    """

    hook_point: str
    norms: Distribution
    share: Distribution


@dataclass(frozen=True, slots=True)
class Values:
    """Distribution and histogram of one number a feature.

    None with the reason where there are none. `negative` and `positive` are the shares of features whose number is below and above 0, `infinite`
    counts thresholds that no activation exceeds (they are in no other figure).
    """

    distribution: Distribution | None
    histogram: Histogram | None
    negative: Figure
    positive: Figure
    infinite: int = 0
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Geometry:
    """Figures of a dictionary's weights alone, as they are read (scales and norms folded in).

    features           of the dictionary; `sampled` of them are compared with all, chosen by `seed`
    zero_decoders      features whose decoder is zero: they have no direction, and are in no cosine
    zero_encoders      features whose encoder is zero: they are constant
    nearest            cosines to the 1st, 10th and 100th nearest feature, beside those of random directions
    near_duplicates    share of sampled features whose nearest is above .9; `random_near_duplicates` of random directions
    peaks              of the histogram of nearest cosines, highest first; `random_peaks` counts those of random directions
    hubs               features that are nearest to the most sampled ones (two or more), `random_hub` the most of random directions
    encoder_decoder    cosine of each feature's encoder with its decoder; undefined where they are of different spaces
    tied               whether these cosines are all 1: encoder and decoder are the same directions
    decoder_norms      |d_i|; `encoder_norms` |e_i|
    sites              of a dictionary that writes several hook points
    encoder_biases     of the encoder; `thresholds` of JumpReLU and ProLU
    """

    features: int
    sampled: int
    seed: int
    zero_decoders: int
    zero_encoders: int
    nearest: tuple[Nearest, ...]
    near_duplicates: Figure
    random_near_duplicates: Figure
    peaks: tuple[Peak, ...]
    random_peaks: int
    hubs: tuple[Hub, ...]
    random_hub: int
    encoder_decoder: Values
    tied: bool | None
    decoder_norms: Values
    encoder_norms: Values
    sites: tuple[Site, ...]
    sites_why: str | None
    encoder_biases: Values
    thresholds: Values


@torch.inference_mode()
def geometry(dictionary: Dictionary, *, widths: tuple[int, ...] | None = None, sample: int = SAMPLE, seed: int = 0) -> Geometry:
    """Return the figures of a dictionary's weights, in memory O(F D) (see `Geometry`).

    At most `sample` features are compared with all F, exactly, in blocks. `widths` are those of the hook points that it writes, in the order of the
    decoder's columns; without them a dictionary of several has no figures by site.
    """
    norms, encoder_norms, cosines = _rows(dictionary)
    alive = np.flatnonzero(norms > 0)
    features = sample_features(alive, sample, seed)
    decoder = dictionary.W_dec if len(alive) == len(norms) else dictionary.W_dec[torch.from_numpy(alive).to(dictionary.W_dec.device)]
    rows = np.searchsorted(alive, features)
    found, neighbours = _nearest(decoder, rows)
    # With both polarities a zero row is zero on both sides, so that an even number is left.
    chance, chance_neighbours = _nearest(random_directions(len(alive), decoder.shape[1], seed, dictionary.polarity).to(decoder.device), rows)
    hubs = _hubs(alive[neighbours])
    encoder_decoder = _encoder_decoder(dictionary, cosines, (norms > 0) & (encoder_norms > 0))
    lowest = encoder_decoder.distribution and encoder_decoder.distribution.quantiles
    sites, sites_why = _sites(dictionary, norms, widths)
    return Geometry(
        features=len(norms),
        sampled=len(features),
        seed=seed,
        zero_decoders=len(norms) - len(alive),
        zero_encoders=int((encoder_norms == 0).sum()),
        nearest=tuple(_rank(rank, found, chance, len(alive)) for rank in RANKS),
        near_duplicates=_near_duplicates(found, len(alive)),
        random_near_duplicates=_near_duplicates(chance, len(alive)),
        peaks=_peaks(found, features, alive[neighbours]),
        random_peaks=len(_peaks(chance, features, alive[chance_neighbours])),
        hubs=tuple(hub for hub in hubs if hub.count > 1)[:LISTED],
        random_hub=max((hub.count for hub in _hubs(chance_neighbours)), default=0),
        encoder_decoder=encoder_decoder,
        tied=lowest[0] > 1 - 1e-5 if lowest else None,
        decoder_norms=_values(norms),
        encoder_norms=_values(encoder_norms),
        sites=sites,
        sites_why=sites_why,
        encoder_biases=_biases(dictionary),
        thresholds=_thresholds(dictionary),
    )


def _rows(dictionary: Dictionary) -> tuple[Floats, Floats, Floats]:
    """Return norms of decoder and encoder, and their cosines (or NaN), float64 [F]."""
    decoder, encoder = dictionary.W_dec, dictionary.W_enc
    parts: list[Tensor] = []
    for first in range(0, len(decoder), BLOCK):
        d, e = decoder[first : first + BLOCK].double(), encoder[:, first : first + BLOCK].T.double()
        lengths = torch.linalg.vector_norm(d, dim=1), torch.linalg.vector_norm(e, dim=1)
        product = (d * e).sum(1) / (lengths[0] * lengths[1]) if d.shape == e.shape else torch.full_like(lengths[0], torch.nan)
        parts.append(torch.stack([*lengths, product]))
    norms, encoder_norms, cosines = torch.cat(parts, dim=1).cpu().numpy() if parts else np.zeros((3, 0))
    return norms, encoder_norms, cosines


def _nearest(decoder: Tensor, rows: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """Return cosines to the nearest features [S, n] and the nearest one [S]."""
    if len(decoder) < 2:
        return np.zeros((len(rows), 0)), np.zeros(0, dtype=np.int64)
    indices, cosines = nearest(decoder, torch.from_numpy(rows).to(decoder.device), RANKS[-1])
    # The pairs are multiplied again in full precision, which may change the order of equal ones.
    return np.sort(cosines.cpu().numpy(), axis=1)[:, ::-1], indices[:, 0].cpu().numpy()


def _rank(rank: int, found: Floats, chance: Floats, population: int) -> Nearest:
    undefined = f"The dictionary has {population} features with a direction."
    cosines, random = (side[:, rank - 1] if side.shape[1] >= rank else np.zeros(0) for side in (found, chance))
    return Nearest(
        rank=rank,
        mean=mean_figure(cosines, population, undefined),
        cosines=Distribution.of(cosines),
        histogram=Histogram.of(cosines, COSINES),
        random_mean=mean_figure(random, population, undefined),
        random_cosines=Distribution.of(random),
        random_histogram=Histogram.of(random, COSINES),
    )


def _near_duplicates(found: Floats, population: int) -> Figure:
    return mean_figure(found[:, 0] > DUPLICATE if found.shape[1] else np.zeros(0), population, "There are no two features with a direction.")


def _peaks(found: Floats, features: NDArray[np.int64], neighbours: NDArray[np.int64]) -> tuple[Peak, ...]:
    """Return the peaks of the histogram of nearest cosines, highest first.

    A peak is a local maximum of h features whose prominence h - v (v the higher valley beside it) is above 4 sqrt(h + v), the standard error of a
    difference of two Poisson counts.
    """
    # Imported here since it takes half a second, and few processes need it.
    from scipy import signal

    if not found.shape[1]:
        return ()
    cosines = np.clip(found[:, 0], -1, 1)
    # A bin's right edge is its own in the last bin alone, as in the histogram.
    bins = np.clip(np.searchsorted(COSINES, cosines, "right") - 1, 0, len(COSINES) - 2)
    counts = np.pad(np.bincount(bins, minlength=len(COSINES) - 1), 1)
    places, facts = signal.find_peaks(counts, prominence=1)
    heights = counts[places]
    stands = facts["prominences"] > STANDS_OUT * np.sqrt(2 * heights - facts["prominences"])
    lows, highs = signal.peak_widths(counts, places, rel_height=0.5)[2:]
    order = [place for place in np.argsort(-heights, kind="stable") if stands[place]][:LISTED]
    return tuple(_peak(int(np.ceil(lows[place])) - 1, int(highs[place]) - 1, bins, features, neighbours) for place in order)


def _peak(low: int, high: int, bins: NDArray[np.intp], features: NDArray[np.int64], neighbours: NDArray[np.int64]) -> Peak:
    inside = (bins >= low) & (bins <= high)
    hub = _hubs(neighbours[inside])[0]
    members = features[inside]
    edges = float(COSINES[low]), float(COSINES[high + 1])
    return Peak(*edges, len(members), tuple(members[:LISTED].tolist()), hub.feature, hub.count / len(members))


def _hubs(neighbours: NDArray[np.int64]) -> list[Hub]:
    """Return the nearest features by how often they are, most often first, then ascending."""
    numbers, counts = np.unique(neighbours, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [Hub(int(number), int(count)) for number, count in zip(numbers[order], counts[order], strict=True)]


def _values(values: Floats, bins: Floats | None = None) -> Values:
    """Return the figures of numbers [F]; by default all lie within the histogram."""
    never = values >= NEVER
    kept = values[~never].astype(np.float64)
    negative, positive = (share_figure(side, "There are no features.") for side in (values < 0, values > 0))
    if not len(kept):
        return Values(None, None, negative, positive, int(never.sum()), "No feature has one.")
    return Values(Distribution.of(kept), Histogram.of(kept, _edges(kept) if bins is None else bins), negative, positive, int(never.sum()))


def _edges(values: Floats) -> Floats:
    """Return the edges of equal bins [BINS + 1] that hold all of the values."""
    low, high = float(values.min()), float(values.max())
    # Around equal numbers: wide enough that the edges of large ones differ, too.
    half = max(0.5, abs(low) / 2) if low == high else 0.0
    return np.linspace(low - half, high + half, BINS + 1)


def _undefined(why: str) -> Values:
    return Values(None, None, Figure(None, why=why), Figure(None, why=why), why=why)


def _encoder_decoder(dictionary: Dictionary, cosines: Floats, defined: NDArray[np.bool_]) -> Values:
    reads = hooks.points_of(dictionary.hook_point)
    if reads != dictionary.output_points:
        return _undefined(
            f"The encoder is of {dictionary.hook_point} and the decoder of {dictionary.output_point}: directions of two spaces have no cosine."
        )
    if dictionary.d_in != dictionary.W_dec.shape[1]:
        return _undefined(f"The encoder has {dictionary.d_in} dimensions and the decoder {dictionary.W_dec.shape[1]}: there is no cosine.")
    return _values(cosines[defined], COSINES)


def _sites(dictionary: Dictionary, norms: Floats, widths: tuple[int, ...] | None) -> tuple[tuple[Site, ...], str | None]:
    points, width = dictionary.output_points, dictionary.W_dec.shape[1]
    if len(points) == 1:
        return (), "The dictionary writes one hook point."
    if widths is None or len(widths) != len(points) or sum(widths) != width:
        return (), f"The widths of its {len(points)} hook points are not known, or do not add up to {width}."
    parts = [torch.linalg.vector_norm(part, dim=1, dtype=torch.float64).cpu().numpy() for part in torch.split(dictionary.W_dec, list(widths), dim=1)]
    alive = norms > 0
    shares = [(part[alive] / norms[alive]) ** 2 for part in parts]
    return tuple(Site(point, Distribution.of(part), Distribution.of(share)) for point, part, share in zip(points, parts, shares, strict=True)), None


def _biases(dictionary: Dictionary) -> Values:
    if dictionary.architecture == "prolu":
        return _undefined("ProLU adds no bias: it moves the threshold, max(0, -bias). A positive threshold is a negative bias.")
    if dictionary.architecture in LINEAR and not bool(dictionary.b_enc.any()):
        return _undefined(f"These {dictionary.architecture} have no bias.")
    return _values(dictionary.b_enc.cpu().numpy())


def _thresholds(dictionary: Dictionary) -> Values:
    if dictionary.threshold is None:
        return _undefined(f"The activation function is {dictionary.activation}: it has no thresholds by feature.")
    return _values(dictionary.threshold.cpu().numpy())
