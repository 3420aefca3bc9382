"""The tasks of an llm worker: explain and score. Evidence comes from the database, and torch is never needed."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from interp.codec import decode_evidence
from interp.evidence import FeatureEvidence
from interp.explain import registry as explainers
from interp.explain.base import ExplainerInput, Explanation
from interp.planning import Range, count, ranges_of
from interp.score import registry as scorers
from interp.score.base import ScorerInput
from interp.score.codec import encode_items
from interp.score.nulls import choose_nulls
from interp.spec import ExplainerSpec, ScorerSpec
from interp.store import dictionaries, evidence, explanations, jobs, scores
from interp.store.engine import snapshot
from interp.store.explanations import Family
from interp.store.scores import Scored
from interp.vocabulary import Vocabulary
from workers.families import family_of, null_count, scorer_digest
from workers.run import Outcome, Work
from workers.summary import summarise

__all__ = ["explain", "score", "summarise"]

# Features handed over at once: between two hands progress is reported, and a cancel noticed.
HANDFUL = 4


class Tally:
    """Features done of a chunk, where several passes go over the same features."""

    def __init__(self, work: Work, passes: int) -> None:
        self._progress, self._passes, self._done = work.progress, passes, 0

    def add(self, features: int) -> None:
        """So many features are through one more pass. Raises what `progress` raises."""
        self._done += features
        self._progress(self._done // self._passes)


def explain(work: Work) -> Outcome:
    """Explains the chunk's features from explain contexts, but for those that have a good explanation of the same settings."""
    ranges, set_id = _ranges(work), str(work.evidence_set)
    with snapshot(work.runtime.engine) as session:
        dictionary_id = dictionaries.dictionary_of(session, set_id).id
        families = [family_of(work.spec, name, set_id, dictionary_id) for name in work.spec.explainers]
        explained = {family: explanations.features_with(session, family, ranges) for family in families}
        blobs = evidence.load(session, set_id, ranges)
    tally = Tally(work, len(families))
    decoded = {feature: decode_evidence(blob) for feature, blob in blobs.items()}
    made: dict[Family, list[Explanation]] = {}
    for family in families:
        missing = [item for feature, item in decoded.items() if feature not in explained[family]]
        made[family] = _explain(work, family, missing, tally)
        tally.add(count(ranges) - len(missing))
    failed = _unexplained(decoded.values(), explained, made)

    def write(session: Session) -> dict[str, Any]:
        for family, new in made.items():
            explanations.save(session, family, new, work.lease.job_id)
        jobs.count_failed(session, work.lease.job_id, len(failed))
        return {"explained": sum(map(len, made.values())), "failed": len(failed)}

    return Outcome(write)


def score(work: Work) -> Outcome:
    """Scores the chunk's explanations on test contexts, each with its null, but for scores that are there already."""
    ranges, set_id = _ranges(work), str(work.evidence_set)
    with snapshot(work.runtime.engine) as session:
        dictionary_id = dictionaries.dictionary_of(session, set_id).id
        blobs = evidence.load(session, set_id, ranges)
    decoded = {feature: decode_evidence(blob) for feature, blob in blobs.items()}
    families = [family_of(work.spec, name, set_id, dictionary_id) for name in work.spec.explainers]
    tally = Tally(work, len(families) * len(work.spec.scorers))
    made = [(_scores(work, family, scorer, ranges, decoded, tally), scorer) for family in families for scorer in work.spec.scorers]

    def write(session: Session) -> dict[str, Any]:
        for scored, scorer in made:
            scores.save(session, dictionary_id, scorer_digest(work.spec, scorer), scored, work.lease.job_id)
        return {"scores": sum(len(scored) for scored, _ in made)}

    return Outcome(write)


def _explain(work: Work, family: Family, missing: Sequence[FeatureEvidence], tally: Tally) -> list[Explanation]:
    explainer, vocabulary = explainers.free(ExplainerSpec(name=family.explainer)), _vocabulary(work.runtime.engine, family.evidence_set)
    made: list[Explanation] = []
    for start in range(0, len(missing), HANDFUL):
        handful = [ExplainerInput.of(item, vocabulary) for item in missing[start : start + HANDFUL]]
        made += explainer.explain(handful, vocabulary, work.spec.seed)
        tally.add(len(handful))
    return made


def _unexplained(decoded: Iterable[FeatureEvidence], explained: Mapping[Family, set[int]], made: Mapping[Family, Sequence[Explanation]]) -> set[int]:
    """Features that fire often enough, and yet no explainer had a word for them."""
    good = set().union(*explained.values(), *({item.feature for item in new if item.text is not None} for new in made.values()))
    return {item.feature for item in decoded if item.statistics.state == "active"} - good


def _scores(
    work: Work, family: Family, scorer: ScorerSpec, ranges: Sequence[Range], decoded: Mapping[int, FeatureEvidence], tally: Tally
) -> list[Scored]:
    judge, vocabulary = scorers.get(scorer.name, scorer), _vocabulary(work.runtime.engine, family.evidence_set)
    items = _items(work, family, scorer, ranges, decoded)
    made: list[Scored] = []
    for start in range(0, len(items), HANDFUL):
        handful = items[start : start + HANDFUL]
        found = judge.score([item for _, item in handful], vocabulary, work.spec.seed)
        made += [Scored(row, figure, encode_items(figure.items)) for (row, _), figure in zip(handful, found, strict=True)]
        tally.add(len(handful))
    tally.add(count(ranges) - len(items))
    return made


def _items(
    work: Work, family: Family, scorer: ScorerSpec, ranges: Sequence[Range], decoded: Mapping[int, FeatureEvidence]
) -> list[tuple[int, ScorerInput]]:
    """(explanation id, what the scorer may see) of each explanation that lacks this score."""
    with snapshot(work.runtime.engine) as session:
        own = {feature: found for feature, found in explanations.load(session, family, ranges).items() if found[1].text is not None}
        done = scores.explanations_with(session, scorer.name, scorer_digest(work.spec, scorer), [row for row, _ in own.values()])
        wanted = {feature: found for feature, found in own.items() if found[0] not in done}
        all_nulls = _nulls(work.runtime.engine, family, work.lease.job_id, null_count(work.spec, scorer), work.spec.seed)
        nulls = {feature: all_nulls.get(feature, ()) for feature in wanted}
        borrowed = explanations.load(session, family, ranges_of(sorted(set().union(*nulls.values()))))
    return [
        (row, ScorerInput.of(decoded[feature], explanation, [borrowed[other][1] for other in nulls[feature]]))
        for feature, (row, explanation) in wanted.items()
    ]


@lru_cache(maxsize=16)
def _nulls(engine: Engine, family: Family, job_id: str, number: int, seed: int) -> Mapping[int, tuple[int, ...]]:
    """Whose explanations each feature borrows. Kept: all chunks of a job choose from the same, and choose the same."""
    with snapshot(engine) as session:
        pool = explanations.candidates(session, family, job_id)
    features = [candidate.feature for candidate in pool]
    densities = np.array([candidate.density for candidate in pool], dtype=np.float64)
    lengths = np.array([candidate.length for candidate in pool], dtype=np.int64)
    return dict(zip(features, choose_nulls(features, densities, lengths, number, seed), strict=True))


@lru_cache(maxsize=8)
def _vocabulary(engine: Engine, set_id: str) -> Vocabulary:
    with snapshot(engine) as session:
        return dictionaries.vocabulary_of(session, set_id)


def _ranges(work: Work) -> list[Range]:
    return [(start, stop) for start, stop in work.lease.payload["features"]]
