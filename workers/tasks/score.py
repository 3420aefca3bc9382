"""Run the score task: score each explanation on test contexts, with nulls and controls."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Contexts, FeatureEvidence, Split
from interp.domain.explanation import Explanation, ExplanationFamily
from interp.domain.score import Score
from interp.files.evidence_codec import decode_evidence
from interp.planning.plan import count, ranges_of
from interp.planning.settings_digest import PlannedScorer, baseline_family, family_of, planned_scorer
from interp.score.base import OWN_CONTROLS, Distractor, LlmScorer, ScoreContext, Scorer, ScorerInput
from interp.score.items.codec import encode_items
from interp.score.items.nulls import bound_of, choose_nulls, twins_of
from interp.score.items.pool import FEATURES, pool_of
from interp.store.db.engine import Engine, Session, snapshot
from interp.store.results import evidence, explanations, scores
from interp.store.results.scores import Scored
from workers.runtime import TaskResult, Work
from workers.tasks.llm_chunk import BATCH_FEATURES, ChunkModels, ChunkProgress, chunk_models, ranges_of_chunk, vocabulary_of

# The id of an explanation, and what its scorer may see of the feature.
Item = tuple[int, ScorerInput]


@dataclass(frozen=True, slots=True)
class ScorerRun:
    """One scorer's work in a chunk: the explanations of one family without its score."""

    planned: PlannedScorer
    family: ExplanationFamily
    items: list[Item]


def score(work: Work) -> TaskResult:
    """Score the chunk's unscored explanations on test contexts, each with nulls and controls."""
    ranges, run_id, own_url = ranges_of_chunk(work), work.run_id, work.runtime.settings.llm_base_url
    with snapshot(work.runtime.engine) as session:
        blobs = evidence.load(session, run_id, ranges)
    decoded = {feature: decode_evidence(blob) for feature, blob in blobs.items()}
    families = [family_of(work.spec, spec, run_id, own_url) for spec in work.spec.explainers]
    planned = [planned_scorer(work.spec, spec, own_url) for spec in work.spec.scorers]
    baseline = baseline_family(work.spec, run_id)
    progress = ChunkProgress(work, len(families) * len(planned))
    runs = [ScorerRun(scorer, family, _items(work, family, scorer, baseline, decoded)) for family in families for scorer in planned]
    progress.add(sum(count(ranges) - len(run.items) for run in runs))
    made = _judged(work, runs, progress)
    made += [(run.planned, _executed(work, run, run.planned.scorer, progress)) for run in runs if not isinstance(run.planned.scorer, LlmScorer)]

    def write(session: Session) -> dict[str, Any]:
        for scorer, scored in made:
            whole = [_with_bound(item, decoded[item.score.feature], work.spec.seed) for item in scored]
            scores.save(session, run_id, scorer.digest, whole, work.lease.job_id)
        silent = sum(item.score.answered == 0 and item.score.failed > 0 for _, scored in made for item in scored)
        return {"scores": sum(len(scored) for _, scored in made), "failed": silent}

    return TaskResult(write)


def _executed(work: Work, run: ScorerRun, scorer: Scorer, progress: ChunkProgress) -> list[Scored]:
    vocabulary = vocabulary_of(work.runtime.engine, run.family.run_id)
    made: list[Scored] = []
    for start in range(0, len(run.items), BATCH_FEATURES):
        handful = run.items[start : start + BATCH_FEATURES]
        made += _packed(handful, scorer.score([item for _, item in handful], vocabulary, work.spec.seed))
        progress.add(len(handful))
    return made


def _judged(work: Work, runs: Sequence[ScorerRun], progress: ChunkProgress) -> list[tuple[PlannedScorer, list[Scored]]]:
    """Return all scores that use a language model, made concurrently."""
    asking_runs = [(run, run.planned.scorer) for run in runs if isinstance(run.planned.scorer, LlmScorer)]
    if not any(run.items for run, _ in asking_runs):
        return []
    with chunk_models(work) as models:
        questions = [
            scorer.score(item, _context(work, models, scorer.name, item.feature, run.family.run_id))
            for run, scorer in asking_runs
            for _, item in run.items
        ]
        answers = iter(models.run(questions, progress))
    return [(run.planned, _packed(run.items, [next(answers) for _ in run.items])) for run, _ in asking_runs]


def _context(work: Work, models: ChunkModels, scorer: str, feature: int, run_id: int) -> ScoreContext:
    return ScoreContext(
        vocabulary=vocabulary_of(work.runtime.engine, run_id),
        seed=work.spec.seed,
        judge=models.required("judge", feature, scorer),
        second_judge=models.of_role("second_judge", feature, scorer),
        embedder=models.of_role("embedding", feature, scorer),
        controls=OWN_CONTROLS & frozenset(work.spec.controls),
        control_share=work.spec.control_share,
        gold_items=work.spec.gold_items,
    )


def _packed(items: Sequence[Item], made: Sequence[Score]) -> list[Scored]:
    return [Scored(row, one, encode_items(one.items)) for (row, _), one in zip(items, made, strict=True)]


def _with_bound(item: Scored, of: FeatureEvidence, seed: int) -> Scored:
    """Return the score with the bound of its nulls' choice, if any, as provenance."""
    if item.score.null is None:
        return item
    return replace(item, score=replace(item.score, provenance=item.score.provenance | {"nulls": bound_of(of.nearest, seed)}))


def _items(
    work: Work, family: ExplanationFamily, planned: PlannedScorer, baseline: ExplanationFamily | None, decoded: Mapping[int, FeatureEvidence]
) -> list[Item]:
    """Return an item for each explanation of the family that lacks this score."""
    ranges, scorer = ranges_of_chunk(work), planned.scorer
    is_judged = isinstance(scorer, LlmScorer)
    with snapshot(work.runtime.engine) as session:
        own = {feature: found for feature, found in explanations.load(session, family, ranges).items() if found[1].text is not None}
        # A judge that answered nothing is asked again by the next job; the executable one would only repeat its result.
        done = scores.explanations_with(session, scorer.name, planned.digest, [row for row, _ in own.values()], only_answered=is_judged)
        wanted = {feature: found for feature, found in own.items() if found[0] not in done}
        nulls = _nulls(work, family, planned.nulls, {feature: decoded[feature] for feature in wanted})
        borrowed = explanations.load(session, family, ranges_of(sorted(set().union(*nulls.values()))))
        patterns = explanations.load(session, baseline, ranges) if is_judged and baseline is not None else {}
        needs_distractors = isinstance(scorer, LlmScorer) and scorer.needs_distractors
        distractors = _distractors(session, family, scorer.spec.foils, wanted, decoded) if needs_distractors else {}
    pool = None if is_judged or not wanted else _pool(work.runtime.engine, family, work.lease.job_id, work.spec.seed)
    return [
        (
            row,
            ScorerInput.of(
                decoded[feature],
                explanation,
                [borrowed[other][1] for other in nulls[feature]],
                _good(patterns.get(feature)),
                distractors.get(feature, ()),
                pool,
            ),
        )
        for feature, (row, explanation) in wanted.items()
    ]


def _good(found: tuple[int, Explanation] | None) -> Explanation | None:
    return found[1] if found is not None and found[1].text is not None else None


def _distractors(
    session: Session, family: ExplanationFamily, number: int, wanted: Iterable[int], decoded: Mapping[int, FeatureEvidence]
) -> dict[int, tuple[Distractor, ...]]:
    """Return each feature's distractors: firing test contexts of its nearest (or else adjacent) features."""
    near = {feature: [neighbour.feature for neighbour in decoded[feature].nearest] for feature in wanted}
    others = sorted(set().union(*near.values()) - decoded.keys())
    loaded = {feature: decode_evidence(blob) for feature, blob in evidence.load(session, family.run_id, ranges_of(others)).items()}
    contexts = {feature: item.contexts.of(Split.TEST) for feature, item in {**loaded, **decoded}.items()}
    firing = {feature for feature, found in contexts.items() if bool(found.fires().any())}
    chosen: dict[int, tuple[Distractor, ...]] = {}
    for feature, nearest in near.items():
        beside = sorted(decoded.keys() - {feature}, key=lambda other: (abs(other - feature), other))
        order = [other for other in dict.fromkeys([*nearest, *beside]) if other in firing and other != feature]
        chosen[feature] = tuple(Distractor(other, contexts[other]) for other in order[:number])
    return chosen


def _nulls(work: Work, family: ExplanationFamily, number: int, wanted: Mapping[int, FeatureEvidence]) -> Mapping[int, tuple[int, ...]]:
    """Choose whose explanations each of the `wanted` features uses as nulls."""
    features, densities, lengths = _candidates(work.runtime.engine, family, work.lease.job_id)
    known = sorted(wanted.keys() & set(features))
    twins = {feature: twins_of(wanted[feature].nearest) for feature in known}
    return dict.fromkeys(wanted, ()) | dict(zip(known, choose_nulls(features, densities, lengths, number, work.spec.seed, twins, known), strict=True))


@lru_cache(maxsize=16)
def _candidates(engine: Engine, family: ExplanationFamily, job_id: str) -> tuple[list[int], NDArray[np.float64], NDArray[np.int64]]:
    """Return the features whose explanations can be nulls, with density and label length.

    Cached: all chunks of a job choose from the same, and choose the same.
    """
    with snapshot(engine) as session:
        pool = explanations.candidates(session, family, job_id)
    densities = np.array([candidate.density for candidate in pool], dtype=np.float64)
    return [candidate.feature for candidate in pool], densities, np.array([candidate.length for candidate in pool], dtype=np.int64)


@lru_cache(maxsize=4)
def _pool(engine: Engine, family: ExplanationFamily, job_id: str, seed: int) -> Contexts | None:
    """Return random test windows of possible null features, the same per job; cached."""
    features, _, _ = _candidates(engine, family, job_id)
    chosen = np.random.default_rng((seed, FEATURES)).permutation(features)[:FEATURES]
    with snapshot(engine) as session:
        blobs = evidence.load(session, family.run_id, ranges_of(sorted(chosen.tolist())))
    return pool_of(decode_evidence(blob) for blob in blobs.values())
