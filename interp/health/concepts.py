"""Classes of tokens in a dictionary: directions, aligned features, probes, and their nulls."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.dictionary.module import Dictionary
from interp.domain.check_report import Figure
from interp.domain.vocabulary import Vocabulary
from interp.health.absorption import Absorption, Recognised, absorption, recognise, undefined
from interp.health.directions import random_directions
from interp.health.probes import Collinearity, Discriminant, Null, Scale, area_figure, collinearity, fit_logistic, null_of
from interp.health.token_classes import TokenClasses
from interp.stats.intervals import jackknife_variance
from interp.stats.ranking import auroc
from interp.subject import hooks

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
# Features of the sparse probes; the best single one is chosen among the most.
SIZES = (4, 16)
LISTED = 10
# Groups of documents or token types that the jackknife leaves out.
GROUPS = 20
# Token types that exchange labels: neighbours in order of frequency.
EXCHANGED = 16
# With tokens of a class in fewer documents of a half, nothing is said of it.
MIN_DOCUMENTS = 5
BLOCK = 1024
# Directions drawn in place of a probe's.
RANDOM = 20


@dataclass(frozen=True)
class TokenActivations:
    """A dictionary's inputs at tokens of a sample.

    x float32 [N, D], token ids int64 [N], documents int64 [N] (any numbers); `before` int64 [N]: the tokens before, -1 at the first of a row, None
    where they are not known.
    """

    x: Tensor
    tokens: Ints
    documents: Ints
    before: Ints | None = None


@dataclass(frozen=True, slots=True)
class Aligned:
    """A feature, and the cosine of its decoder with a class's direction."""

    feature: int
    cosine: Figure


@dataclass(frozen=True, slots=True)
class Direction:
    """Mean of a class less mean of the rest, and the features aligned with it.

    Those are the 10 whose decoders have the greatest cosines. Standard errors are the jackknife's over 20 groups of documents (of token types for the
    embedding), the features as given. `null` is the greatest cosine with permuted labels: the greatest of F cosines is not at 0, and a stream has
    large common directions. Empty with a reason where undefined.
    """

    aligned: tuple[Aligned, ...] = ()
    null: Null | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """How well a probe separates a class's tokens from others, in other documents.

    probe     `single`: the feature with the greatest AUROC on the fit's half, of 16; `sparse-4`, `sparse-16`: logistic regression on the 4 and 16
              first features; `linear`: a linear discriminant of x. Features are ranked by |mean in the class - mean elsewhere| / standard deviation
              on the fit's half
    features  that it uses, in this order
    auroc     on the other half of the documents, with its standard error by documents
    null      the same, features chosen again and probe fitted again for permuted labels

    Source: sparse probing (Gurnee et al. 2023, arXiv 2305.01610), but by the mean difference over the deviation, which no scale of a feature changes.
    """

    probe: str
    features: tuple[int, ...]
    auroc: Figure
    null: Null
    collinearity: Collinearity


@dataclass(frozen=True, slots=True)
class Concept:
    """Figures of one class of tokens.

    types         token types of the vocabulary in it; `tokens` of the sample, `share` of its tokens
    null_overlap  share of the sample's tokens whose label a permutation leaves, on average: near 1 the null is hardly one
    probes        none with a reason (`why`) where a half has too few documents with the class, or without
    absorption    tokens at which another feature fires in place of the class's own
    """

    name: str
    types: int
    tokens: int
    share: float
    null_overlap: float
    embedding: Direction
    residual: Direction
    probes: tuple[Probe, ...]
    absorption: Absorption
    why: str | None


@dataclass(frozen=True, slots=True)
class ConceptReport:
    """Concepts of a sample.

    Its documents are halved: probes are fitted on one half and tested on the other.
    """

    tokens: int
    fit_documents: int
    test_documents: int
    draws: int
    seed: int
    concepts: tuple[Concept, ...]


@torch.inference_mode()
def concepts(
    dictionary: Dictionary,
    sample: TokenActivations,
    vocabulary: Vocabulary,
    classes: TokenClasses,
    embedding: Tensor | None = None,
    *,
    draws: int = 5,
    seed: int = 0,
) -> ConceptReport:
    """Measure how a dictionary represents classes of tokens (see `Concept`).

    `embedding` is W_E float32 [V, d_model]; without it, and for dictionaries that write another width, it has no directions. Features are encoded in
    blocks: sums first, then the chosen ones' values, so that memory grows with F by class, and with N by chosen feature, and last
    what fires where the chosen ones are silent.
    """
    rng = np.random.default_rng(seed)
    labels, counts = _labels(sample.tokens, vocabulary, classes, draws, rng)
    halves = _Halves.of(sample.documents, rng)
    features = _Features.of(dictionary, sample, labels, halves.fit)
    inputs = _Inputs.of(sample.x.cpu().numpy(), halves.fit)
    unit = torch.nn.functional.normalize(dictionary.W_dec.float(), dim=1)
    groups = np.unique(sample.documents, return_inverse=True)[1] % GROUPS
    residual = _directions(unit, sample.x, labels[:, sample.tokens], groups, draws, _no_residual(dictionary))
    types = np.flatnonzero(_ordinary(vocabulary))
    embedded = _directions(
        unit,
        torch.zeros(0, 0) if embedding is None else embedding[torch.from_numpy(types).to(embedding.device)],
        labels[:, types],
        rng.permutation(len(types)) % GROUPS,
        draws,
        _no_embedding(dictionary, embedding),
    )
    absorbed = _absorptions(dictionary, sample, features, inputs, labels, halves, draws, seed)
    found = []
    for place, name in enumerate(classes.names):
        own = labels[place * (draws + 1) : (place + 1) * (draws + 1)]
        at = own[:, sample.tokens]
        why = halves.refusal(at[0], sample.documents)
        found.append(
            Concept(
                name=name,
                types=int(own[0].sum()),
                tokens=int(at[0].sum()),
                share=float(at[0].mean()) if len(sample.tokens) else 0.0,
                null_overlap=float((own[1:] == own[0]).mean(axis=0) @ counts / max(1, counts.sum())) if draws else 1.0,
                embedding=embedded[place],
                residual=residual[place],
                probes=() if why else _probes(features, inputs, at, sample.documents, halves, place * (draws + 1)),
                absorption=absorbed[place],
                why=why,
            )
        )
    return ConceptReport(len(sample.tokens), halves.count(sample.documents, True), halves.count(sample.documents, False), draws, seed, tuple(found))


def _ordinary(vocabulary: Vocabulary) -> Mask:
    ordinary = np.ones(len(vocabulary), dtype=np.bool_)
    ordinary[list(vocabulary.special)] = False
    return ordinary


def _labels(tokens: Ints, vocabulary: Vocabulary, classes: TokenClasses, draws: int, rng: np.random.Generator) -> tuple[Mask, Floats]:
    """Return labels bool [C (1 + draws), V], permutations after each class, and counts."""
    counts = np.bincount(tokens, minlength=len(vocabulary)).astype(np.float64)
    types = np.flatnonzero(_ordinary(vocabulary))
    rows = [classes.mask]
    for _ in range(draws):
        order = types[np.lexsort([rng.random(len(types)), -counts[types]])]
        drawn = classes.mask.copy()
        for first in range(0, len(order), EXCHANGED):
            near = order[first : first + EXCHANGED]
            drawn[:, near] = classes.mask[:, rng.permutation(near)]
        rows.append(drawn)
    return np.stack(rows, axis=1).reshape(-1, len(vocabulary)), counts


@dataclass(frozen=True)
class _Halves:
    """Tokens of the half of the documents that probes are fitted on, bool [N]."""

    fit: Mask

    @classmethod
    def of(cls, documents: Ints, rng: np.random.Generator) -> "_Halves":
        distinct, places = np.unique(documents, return_inverse=True)
        return cls((rng.permutation(len(distinct)) % 2 == 0)[places] if len(distinct) else np.zeros(0, dtype=np.bool_))

    def count(self, documents: Ints, fit: bool) -> int:
        return len(np.unique(documents[self.fit == fit]))

    def refusal(self, truth: Mask, documents: Ints) -> str | None:
        """Return why nothing is said of a class with these labels [N], if so."""
        least = min(len(np.unique(documents[(self.fit == fit) & (truth == side)])) for fit in (True, False) for side in (True, False))
        if least >= MIN_DOCUMENTS:
            return None
        return f"A half has {least} documents with tokens of the class, or with others: at least {MIN_DOCUMENTS} are needed."


@dataclass(frozen=True)
class _Features:
    """Candidate features of each labelling, best first, and their activations.

    chosen int64 [M, k] columns of `values` float32 [N, U], whose features are `numbers` int64 [U]; `signs` [M, k] of their mean differences
    """

    chosen: Ints
    signs: Floats
    numbers: Ints
    values: NDArray[np.float32]

    @classmethod
    def of(cls, dictionary: Dictionary, sample: TokenActivations, labels: Mask, fit: Mask) -> "_Features":
        differences = _mean_differences(dictionary, sample, labels, np.flatnonzero(fit))
        best = np.argsort(-np.abs(differences), axis=1, kind="stable")[:, : SIZES[-1]]
        numbers, chosen = np.unique(best, return_inverse=True)
        columns = torch.from_numpy(numbers).to(sample.x.device)
        parts = [dictionary.encode(part)[:, columns].float().cpu() for part in torch.split(sample.x, BLOCK)]
        values = torch.cat(parts).numpy() if parts else np.zeros((0, len(numbers)), dtype=np.float32)
        return cls(chosen.reshape(best.shape), np.sign(np.take_along_axis(differences, best, axis=1)), numbers, values)


def _mean_differences(dictionary: Dictionary, sample: TokenActivations, labels: Mask, rows: Ints) -> Floats:
    """Return (mean with - mean without label) / deviation, float64 [M, F]; 0 where undefined."""
    device = sample.x.device
    sums = torch.zeros(len(labels), dictionary.n_features, dtype=torch.float64, device=device)
    totals, squares = torch.zeros(2, dictionary.n_features, dtype=torch.float64, device=device)
    for first in range(0, len(rows), BLOCK):
        part = rows[first : first + BLOCK]
        f = dictionary.encode(sample.x[torch.from_numpy(part).to(device)]).float()
        sums += (torch.from_numpy(labels[:, sample.tokens[part]]).to(device, torch.float32) @ f).double()
        totals += f.sum(0, dtype=torch.float64)
        squares += f.double().square().sum(0)
    inside = torch.from_numpy(labels[:, sample.tokens[rows]].sum(axis=1)).to(device)[:, None].double()
    deviations = (squares / len(rows) - (totals / len(rows)).square()).clamp(min=0).sqrt()
    differences = (sums / inside - (totals - sums) / (len(rows) - inside)) / deviations
    # What is constant but for rounding separates nothing.
    constant = deviations <= 1e-6 * (squares / max(1, len(rows))).sqrt()
    found: Floats = torch.where(constant, 0.0, differences).nan_to_num(0.0, 0.0, 0.0).cpu().numpy()
    return found


@dataclass(frozen=True)
class _Inputs:
    """The dictionary's inputs, scaled on the fit's half, float64 [N, D]; their collinearity.

    `deviation` [D] is what they were divided by. `discriminant` is fitted to one class after another: what depends on the inputs alone is computed
    once.
    """

    scaled: Floats
    deviation: Floats
    collinearity: Collinearity
    discriminant: Discriminant

    @classmethod
    def of(cls, x: NDArray[np.float32], fit: Mask) -> "_Inputs":
        if not fit.any():
            return cls(x.astype(np.float64), np.ones(x.shape[1]), collinearity(np.zeros((1, 1))), Discriminant(np.zeros((0, x.shape[1]))))
        scale = Scale.of(x[fit])
        scaled = scale(x)
        return cls(scaled, scale.deviation, collinearity(x[fit]), Discriminant(scaled[fit]))


def _probes(features: _Features, inputs: _Inputs, truths: Mask, documents: Ints, halves: _Halves, first: int) -> tuple[Probe, ...]:
    """Return a class's probes, from labels and permutations bool [1 + draws, N]."""
    kinds = ["single", *(f"sparse-{size}" for size in SIZES), "linear"]
    scores: dict[str, list[tuple[Figure, tuple[int, ...], Collinearity]]] = {kind: [] for kind in kinds}
    fit, test = halves.fit, ~halves.fit
    for place, truth in enumerate(truths):
        if place and halves.refusal(truth, documents):
            continue
        columns, signs = features.chosen[first + place], features.signs[first + place]
        values = features.values[:, columns]
        best = _best(signs, values[fit], truth[fit])
        tested = [("single", columns[[best]], signs[best] * values[test][:, best].astype(np.float64), values[fit][:, [best]])]
        for size in SIZES:
            scale = Scale.of(values[fit][:, :size])
            weights = fit_logistic(scale(values[fit][:, :size]), truth[fit])
            tested.append((f"sparse-{size}", columns[:size], scale(values[test][:, :size]) @ weights, values[fit][:, :size]))
        tested.append(("linear", columns[:0], inputs.scaled[test] @ inputs.discriminant.weights(truth[fit]), values[:0, :0]))
        for kind, used, graded, seen in tested:
            found = inputs.collinearity if kind == "linear" else collinearity(seen)
            scores[kind].append((area_figure(graded, truth[test], documents[test]), tuple(features.numbers[used].tolist()), found))
    return tuple(
        Probe(kind, scores[kind][0][1], scores[kind][0][0], null_of([area.value for area, *_ in scores[kind][1:]]), scores[kind][0][2])
        for kind in kinds
    )


def _best(signs: Floats, values: NDArray[np.float32], truth: Mask) -> int:
    """Return the column of `values` [N, k], by their signs [k], with the greatest AUROC."""
    return int(np.argmax([auroc(sign * column.astype(np.float64), truth) or 0.0 for sign, column in zip(signs, values.T, strict=True)]))


def _absorptions(
    dictionary: Dictionary, sample: TokenActivations, features: _Features, inputs: _Inputs, labels: Mask, halves: _Halves, draws: int, seed: int
) -> list[Absorption]:
    """Return the absorption of each class, from labels bool [C (1 + draws), V]."""
    count, fit = len(labels) // (draws + 1), halves.fit

    def recognised(place: int) -> Recognised | None:
        truth, signs = labels[place, sample.tokens], features.signs[place]
        columns = features.chosen[place][signs > 0]
        if len(columns):
            best = _best(np.ones(len(columns)), features.values[:, columns][fit], truth[fit])
            columns = columns[[best, *(other for other in range(len(columns)) if other != best)]]
        weights = inputs.discriminant.weights(truth[fit])
        return recognise(features.values[:, columns], features.numbers[columns], inputs.scaled @ weights, weights / inputs.deviation, truth, fit)

    whys = [_no_residual(dictionary) or halves.refusal(labels[place * (draws + 1), sample.tokens], sample.documents) for place in range(count)]
    known = [place for place in range(count) if not whys[place]]
    every = [[place * (draws + 1) + draw for draw in range(draws + 1)] for place in known]
    found = [[recognised(one) for one in of if one == of[0] or not halves.refusal(labels[one, sample.tokens], sample.documents)] for of in every]
    directions = random_directions(RANDOM, sample.x.shape[1], seed).double().numpy()
    made = iter(absorption(dictionary, sample.x, sample.documents, found, directions))
    return [undefined(why) if why else next(made) for why in whys]


def _no_residual(dictionary: Dictionary) -> str | None:
    if hooks.points_of(dictionary.hook_point) != dictionary.output_points:
        return f"Activations are of {dictionary.hook_point}, decoders of {dictionary.output_point}: directions of two spaces have no cosine."
    return None


def _no_embedding(dictionary: Dictionary, embedding: Tensor | None) -> str | None:
    if embedding is None:
        return "The subject's embedding was not given."
    if embedding.shape[1] != dictionary.W_dec.shape[1]:
        return f"The embedding has {embedding.shape[1]} dimensions and the decoder {dictionary.W_dec.shape[1]}: there is no cosine."
    return None


def _directions(unit: Tensor, vectors: Tensor, labels: Mask, groups: Ints, draws: int, why: str | None) -> list[Direction]:
    """Return the directions of C classes, from vectors, labels and groups of N rows."""
    if why is None and len(np.unique(groups)) < 2:
        why = "There are fewer than two groups of documents."
    if why is not None:
        return [Direction(why=why)] * (len(labels) // (draws + 1))
    sums, counts = _group_sums(vectors, labels, groups)
    return [
        _direction(unit, sums[:, [*range(first, first + draws + 1), -1]], counts[:, [*range(first, first + draws + 1), -1]])
        for first in range(0, len(labels), draws + 1)
    ]


def _group_sums(vectors: Tensor, labels: Mask, groups: Ints) -> tuple[Tensor, Tensor]:
    """Return sums [G, M + 1, D] and counts by group and label."""
    device, size = vectors.device, int(groups.max()) + 1
    sums = torch.zeros(size, len(labels) + 1, vectors.shape[1], dtype=torch.float64, device=device)
    counts = torch.zeros(size, len(labels) + 1, dtype=torch.float64, device=device)
    for group in range(size):
        for part in np.array_split(rows := np.flatnonzero(groups == group), -(-len(rows) // BLOCK) or 1):
            held = torch.from_numpy(np.concatenate([labels[:, part], np.ones((1, len(part)), dtype=np.bool_)])).to(device, torch.float64)
            sums[group] += held @ vectors[torch.from_numpy(part).to(device)].double()
            counts[group] += held.sum(1)
    return sums, counts


def _direction(unit: Tensor, sums: Tensor, counts: Tensor) -> Direction:
    """Return a class's direction, from sums of it, its permutations, and all."""
    total, number = sums.sum(0), counts.sum(0)
    if not bool(((number[0] > 0) & (number[0] < number[-1])).item()):
        return Direction(why="No token is of the class, or all are.")
    cosines = [unit @ _difference(total[[place, -1]], number[[place, -1]]).float() for place in range(len(total) - 1)]
    if not bool(torch.isfinite(cosines[0]).all()):
        return Direction(why="The class has the mean of the rest.")
    best = cosines[0].topk(min(LISTED, len(unit))).indices
    left = torch.stack([_difference(total[[0, -1]] - sums[group, [0, -1]], number[[0, -1]] - counts[group, [0, -1]]) for group in range(len(sums))])
    replicates = (left @ unit[best].T.double()).cpu().numpy()
    # A class within one group has no direction without it.
    errors = np.sqrt(jackknife_variance(replicates)) if np.isfinite(replicates).all() else None
    lone = None if errors is not None else "All tokens of the class are in one group of documents."
    aligned = [
        Aligned(feature, Figure(float(cosines[0][feature]), None if errors is None else float(errors[place]), lone))
        for place, feature in enumerate(best.tolist())
    ]
    return Direction(tuple(aligned), null_of([float(found.max()) for found in cosines[1:] if bool(torch.isfinite(found).all())]))


def _difference(sums: Tensor, counts: Tensor) -> Tensor:
    """Return the unit vector of a class's mean less the rest's."""
    difference = sums[0] / counts[0] - (sums[1] - sums[0]) / (counts[1] - counts[0])
    unit: Tensor = difference / torch.linalg.vector_norm(difference)
    return unit
