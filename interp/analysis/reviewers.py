"""Compare people's verdicts on labels with scores, and with one another."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from interp.stats.agreement import cohens_kappa
from interp.stats.ranking import auroc, auroc_bounds
from interp.store.reviews import JudgedLabel

# Labels of either kind below which no figure is given.
FEWEST = 5


@dataclass(frozen=True, slots=True)
class ScorerAgreement:
    """How well a scorer's figure tells accepted labels from others: AUROC, 95% interval by features.

    It is the chance that an accepted label is scored above one that was flagged or edited (0.5: the scorer knows nothing that people say).
    """

    scorer: str
    accepted: int
    rejected: int
    auroc: float | None
    low: float | None
    high: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class PeopleAgreement:
    """Cohen's kappa of two people over the labels that both judged, with its 95% interval.

    The interval is normal, by the large-sample error sqrt(p (1 - p) / (n (1 - e)²)), p the agreement and e the one by chance (Cohen 1960).
    """

    first: str
    second: str
    labels: int
    kappa: float | None
    low: float | None
    high: float | None
    reason: str | None


def with_scorers(judged: Sequence[JudgedLabel], scores: Mapping[str, Mapping[int, float]]) -> list[ScorerAgreement]:
    """Return the agreement of each scorer with people.

    Labels on which people are divided are left out.
    """
    votes: dict[tuple[int, int], list[bool]] = defaultdict(list)
    for one in judged:
        votes[one.explanation_id, one.feature].append(one.is_accepted)
    clear = {key: 2 * sum(some) > len(some) for key, some in votes.items() if 2 * sum(some) != len(some)}
    return [_with_scorer(name, clear, values) for name, values in sorted(scores.items())]


def _with_scorer(name: str, clear: Mapping[tuple[int, int], bool], values: Mapping[int, float]) -> ScorerAgreement:
    known = [(values[key[0]], key[1], is_accepted) for key, is_accepted in sorted(clear.items()) if key[0] in values]
    accepted = sum(is_accepted for _, _, is_accepted in known)
    rejected = len(known) - accepted
    if min(accepted, rejected) < FEWEST:
        reason = f"It takes {FEWEST} accepted labels and {FEWEST} others that were scored."
        return ScorerAgreement(name, accepted, rejected, None, None, None, reason)
    grades, truth = np.array([value for value, _, _ in known]), np.array([is_accepted for _, _, is_accepted in known])
    clusters = np.unique([feature for _, feature, _ in known], return_inverse=True)[1].astype(np.intp)
    bounds = auroc_bounds(grades, truth, clusters)
    low, high = (None, None) if bounds is None else bounds
    return ScorerAgreement(name, accepted, rejected, auroc(grades, truth), low, high, None)


def between_people(judged: Sequence[JudgedLabel]) -> list[PeopleAgreement]:
    """Return the agreement of each two people who judged some of the same labels."""
    by_author: dict[str, dict[int, bool]] = defaultdict(dict)
    for one in judged:
        by_author[one.author][one.explanation_id] = one.is_accepted
    pairs = combinations(sorted(by_author), 2)
    return [
        _pair(first, second, by_author[first], by_author[second]) for first, second in pairs if by_author[first].keys() & by_author[second].keys()
    ]


def _pair(first: str, second: str, one: Mapping[int, bool], other: Mapping[int, bool]) -> PeopleAgreement:
    both = sorted(one.keys() & other.keys())
    a, b = np.array([one[key] for key in both]), np.array([other[key] for key in both])
    kappa = cohens_kappa(a, b)
    if len(both) < FEWEST or kappa is None:
        reason = f"It takes {FEWEST} labels that both judged." if len(both) < FEWEST else "Both gave one verdict throughout."
        return PeopleAgreement(first, second, len(both), None, None, None, reason)
    agreed = float((a == b).mean())
    chance = float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))
    error = float(np.sqrt(agreed * (1 - agreed) / (len(both) * (1 - chance) ** 2)))
    return PeopleAgreement(first, second, len(both), kappa, max(kappa - 1.96 * error, -1.0), min(kappa + 1.96 * error, 1.0), None)
