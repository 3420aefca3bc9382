"""Run the score task: score each explanation on test contexts, with nulls and controls."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from interp.domain.evidence import Contexts, FeatureEvidence, Split
from interp.domain.explanation import Explanation, ExplanationFamily
from interp.domain.score import Score
from interp.files.evidence_codec import decode_evidence
from interp.llm.base import Model
from interp.planning.plan import count, ranges_of
from interp.planning.settings_digest import PlannedScorer, baseline_family, family_of, measured_by, planned_scorer
from interp.score.base import OWN_CONTROLS, Distractor, FeatureEffect, LlmScorer, ProbedTexts, ScoreContext, Scorer, ScorerInput
from interp.score.items.codec import encode_items
from interp.score.items.nulls import bound_of
from interp.score.items.pool import FEATURES, pool_of
from interp.score.local_embedder import LocalEmbedder, is_local
from interp.score.scorers.output import POOL
from interp.store.db.engine import Engine, Session, snapshot
from interp.store.results import evidence, explanations, measurements, scores
from interp.store.results.scores import Scored
from workers.runtime import TaskResult, Work
from workers.tasks import nulls
from workers.tasks.llm_chunk import BATCH_FEATURES, ChunkModels, ChunkProgress, chunk_models, ranges_of_chunk, vocabulary_of
from workers.tasks.measurements import EFFECT, READ, Measured, effect_of, probed_of

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
            scorer.score(item, _context(work, models, scorer, item.feature, run.family.run_id))
            for run, scorer in asking_runs
            for _, item in run.items
        ]
        answers = iter(models.run(questions, progress))
    return [(run.planned, _packed(run.items, [next(answers) for _ in run.items])) for run, _ in asking_runs]


def _context(work: Work, models: ChunkModels, scorer: LlmScorer, feature: int, run_id: int) -> ScoreContext:
    embedder: Model | None = models.of_role("embedding", feature, scorer.name) or (LocalEmbedder() if is_local(work.spec) else None)
    embeds_alone = None if scorer.asks_judge else embedder
    return ScoreContext(
        vocabulary=vocabulary_of(work.runtime.engine, run_id),
        seed=work.spec.seed,
        judge=embeds_alone or models.required("judge", feature, scorer.name),
        second_judge=models.of_role("second_judge", feature, scorer.name),
        embedder=embedder,
        controls=OWN_CONTROLS & frozenset(work.spec.controls),
        control_share=work.spec.control_share,
        gold_items=work.spec.gold_items,
    )


def _packed(items: Sequence[Item], made: Sequence[Score]) -> list[Scored]:
    return [Scored(row, _with_caveat(one, item.explanation), encode_items(one.items)) for (row, item), one in zip(items, made, strict=True)]


def _with_caveat(made: Score, of: Explanation) -> Score:
    """Return the score with what cannot be known of a label that was made elsewhere."""
    caveat = of.provenance.get("test_split")
    return made if caveat is None else replace(made, provenance=made.provenance | {"caveat": caveat})


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
        of_wanted = {feature: decoded[feature] for feature in wanted}
        probed = _probed(session, family, planned, [*wanted]) if isinstance(scorer, LlmScorer) and scorer.writes else None
        borrowing = nulls.nulls_of(work, family, planned.nulls, of_wanted) if probed is None else _read_nulls(probed, wanted)
        borrowed = explanations.load(session, family, ranges_of(sorted(set().union(*borrowing.values()))))
        patterns = explanations.load(session, baseline, ranges) if is_judged and baseline is not None else {}
        needs_distractors = isinstance(scorer, LlmScorer) and scorer.needs_distractors
        distractors = _distractors(session, family, scorer.spec.foils, wanted, decoded) if needs_distractors else {}
        steers = isinstance(scorer, LlmScorer) and scorer.probes and not scorer.writes
        effects = _effects(session, work, planned, wanted, _foils(work, family, planned, of_wanted)) if steers else {}
        number = explanations.count_candidates(session, family, work.lease.job_id)
    pool = None if is_judged or not wanted else _pool(work.runtime.engine, family, work.lease.job_id, number, work.spec.seed)
    return [
        (
            row,
            ScorerInput.of(
                decoded[feature],
                explanation,
                [borrowed[other][1] for other in borrowing[feature]],
                _good(patterns.get(feature)),
                distractors.get(feature, ()),
                pool,
                (probed or {}).get(feature),
                effects.get(feature, ()),
            ),
        )
        for feature, (row, explanation) in wanted.items()
    ]


def _probed(session: Session, family: ExplanationFamily, planned: PlannedScorer, features: Sequence[int]) -> dict[int, ProbedTexts]:
    """Return what features do on written texts, where a probe chunk has read them."""
    found = measurements.load(session, family.run_id, READ, measured_by(planned, family), ranges_of(sorted(features)))
    return {feature: probed_of(content) for feature, content in found.items()}


def _read_nulls(probed: Mapping[int, ProbedTexts], wanted: Iterable[int]) -> dict[int, tuple[int, ...]]:
    """Return the nulls whose texts the features were read on."""
    return {feature: tuple(sorted(probed[feature].others)) if feature in probed else () for feature in wanted}


def _foils(work: Work, family: ExplanationFamily, planned: PlannedScorer, wanted: Mapping[int, FeatureEvidence]) -> Mapping[int, tuple[int, ...]]:
    """Return possible foils of features, all with a known effect."""
    return nulls.nulls_of(work, family, POOL, wanted, Measured(EFFECT, measured_by(planned)))


def _effects(
    session: Session, work: Work, planned: PlannedScorer, wanted: Iterable[int], foils: Mapping[int, Sequence[int]]
) -> dict[int, tuple[FeatureEffect, ...]]:
    """Return effects of features and of their possible foils, the own first."""
    features = sorted({*wanted}.union(*foils.values()))
    found = measurements.load(session, work.run_id, EFFECT, measured_by(planned), ranges_of(features))
    return {
        feature: tuple(effect_of(one, found[one]) for one in (feature, *foils.get(feature, ())) if one in found)
        for feature in wanted
        if feature in found
    }


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


@lru_cache(maxsize=4)
def _pool(engine: Engine, family: ExplanationFamily, job_id: str, known: int, seed: int) -> Contexts | None:
    """Return random test windows of possible null features, the same per job; cached."""
    features, _, _ = nulls.candidates(engine, family, job_id, known)
    chosen = np.random.default_rng((seed, FEATURES)).permutation(features)[:FEATURES]
    with snapshot(engine) as session:
        blobs = evidence.load(session, family.run_id, ranges_of(sorted(chosen.tolist())))
    return pool_of(decode_evidence(blob) for blob in blobs.values())
