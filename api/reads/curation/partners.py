"""Read the scores of two dictionaries by pairs of features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interp.analysis.random_control import ByFeature, PairedDifference, paired_difference
from interp.domain.polarity import address
from interp.domain.spec import JobSpec
from interp.store.db.engine import Session
from interp.store.db.tables import DictionaryRow, RunRow
from interp.store.listings import queries
from interp.store.queue import jobs
from interp.store.results import health_reports, runs
from interp.store.results.listed_scores import ListedScore, listed_scores, scored_features

MOST_POINTS, MOST_ROWS = 2_000, 20

Side = tuple[DictionaryRow, RunRow]

CONTROL = "Feature i of the control fires as often as feature i of the dictionary: they are a pair."
MATCHED = "Pairs are one-to-one partners by decoder, with a cosine above .7, of the health report's matching."
UNPAIRED = (
    "Features of two dictionaries are no pairs by themselves. A job that collects both with `health: true` finds partners by their decoders, and a "
    "job with the control `random_dictionary` has one partner per feature."
)


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """A feature of each dictionary with their listed scores by the same scorer.

    Addresses are those of the features' pages: `123`, and `123-` for a negative side.
    """

    first: ListedScore
    second: ListedScore
    first_address: str
    second_address: str
    cosine: float | None


@dataclass(frozen=True, slots=True)
class DictionaryPairs:
    """Pairs of features of two dictionaries.

    `how` says how they were paired, or why they cannot be: then `looked_at` is None. It counts the pairs that were compared; those without a score by
    the same scorer on both sides are left out of `pairs`, which are ordered by their difference, the largest first. `difference` is None where
    `refused` says why.
    """

    how: str
    looked_at: int | None
    pairs: Sequence[ScoredPair]
    difference: PairedDifference | None
    refused: str | None

    @property
    def largest(self) -> Sequence[ScoredPair]:
        return self.pairs[:MOST_ROWS]


def partners(session: Session, dictionary: str, run: str | None, against: str, unmatched: str | None) -> DictionaryPairs:
    """Return the pairs of a dictionary's run and another's current one.

    `unmatched` says why their L0 do not match, which refuses the mean difference of partners. Raises NotFoundError.
    """
    own, other = (queries.dictionary(session, name) for name in (dictionary, against))
    first, second = runs.shown(session, own, run), runs.shown(session, other, None)
    if _is_control(session, first, second):
        same = [(one, one, None) for one in scored_features(session, first.id, MOST_POINTS)]
        return _scored(session, (own, first), (other, second), same, CONTROL, None)
    found = _matched(session, first, second, (own.name, other.name))
    if found is None:
        return DictionaryPairs(UNPAIRED, None, (), None, None)
    return _scored(session, (own, first), (other, second), found, MATCHED, unmatched)


def _is_control(session: Session, first: RunRow, second: RunRow) -> bool:
    """Return whether a job made one of the runs as the other's random dictionary."""
    for job_id in jobs.of_both(session, first.id, second.id):
        of_job = jobs.runs_of(session, job_id)
        for own, control in JobSpec.model_validate(jobs.get(session, job_id).spec).random_pairs():
            if {of_job[own], of_job[control]} == {first.id, second.id}:
                return True
    return False


def _matched(session: Session, first: RunRow, second: RunRow, names: tuple[str, str]) -> list[tuple[int, int, float | None]] | None:
    """Return the partners that a health report of either run lists; None without one."""
    for of, other, is_turned in ((first, names[1], False), (second, names[0], True)):
        report = health_reports.find(session, of.id)
        matching = (report.report.get("matching") if report is not None else None) or {}
        listed = next((pair["partners"] for pair in matching.get("pairs", ()) if pair["other"] == other and "partners" in pair), None)
        if listed is not None:
            return [(there, here, cosine) if is_turned else (here, there, cosine) for here, there, cosine in listed]
    return None


def _scored(
    session: Session, first: Side, second: Side, pairs: Sequence[tuple[int, int, float | None]], how: str, refused: str | None
) -> DictionaryPairs:
    firsts = listed_scores(session, first[1].id, [one for one, _, _ in pairs])
    seconds = listed_scores(session, second[1].id, [other for _, other, _ in pairs])
    scored = [
        ScoredPair(firsts[one], seconds[other], _address(first[0], one), _address(second[0], other), cosine)
        for one, other, cosine in pairs
        if one in firsts and other in seconds and firsts[one].scorer == seconds[other].scorer
    ]
    scored.sort(key=lambda pair: (-abs(pair.first.value - pair.second.value), pair.first.feature))
    places = np.arange(len(scored))
    values = [ByFeature(places, np.array([getattr(pair, side).value for pair in scored], dtype=np.float64)) for side in ("first", "second")]
    return DictionaryPairs(how, len(pairs), scored, None if refused else paired_difference(*values), refused)


def _address(dictionary: DictionaryRow, feature: int) -> str:
    return address(feature, dictionary.n_features, dictionary.polarity)
