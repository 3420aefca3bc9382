"""The score task: each explanation on test contexts, with its nulls and controls."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Contexts, FeatureEvidence, Split
from interp.domain.explanation import Explanation, ExplanationFamily
from interp.domain.score import Score
from interp.domain.spec import ScorerSpec
from interp.files.evidence_codec import decode_evidence
from interp.planning.plan import count, ranges_of
from interp.planning.settings_digest import OWN_CONTROLS, baseline_family, family_of, null_count, scorer_digest
from interp.score import registry as scorers
from interp.score.base import Distractor, ScoreContext, ScorerInput
from interp.score.items.codec import encode_items
from interp.score.items.nulls import bound_of, choose_nulls, twins_of
from interp.score.items.pool import FEATURES, pool_of
from interp.store.db.engine import Engine, Session, snapshot
from interp.store.results import evidence, explanations, scores
from interp.store.results.scores import Scored
from workers.runtime import TaskResult, Work
from workers.tasks.llm_chunk import BATCH_FEATURES, ChunkModels, ChunkProgress, chunk_models, ranges_of_chunk, vocabulary_of

# An explanation's id, and what the scorer may see of its feature.
Item = tuple[int, ScorerInput]


def score(work: Work) -> TaskResult:
    """Scores the chunk's explanations on test contexts, each with its null, but for scores that are there already."""
    ranges, run_id, own_url = ranges_of_chunk(work), work.run_id, work.runtime.settings.llm_base_url
    with snapshot(work.runtime.engine) as session:
        blobs = evidence.load(session, run_id, ranges)
    decoded = {feature: decode_evidence(blob) for feature, blob in blobs.items()}
    families = [family_of(work.spec, spec, run_id, own_url) for spec in work.spec.explainers]
    tally = ChunkProgress(work, len(families) * len(work.spec.scorers))
    asked = [(family, scorer, _items(work, family, scorer, decoded)) for family in families for scorer in work.spec.scorers]
    tally.add(sum(count(ranges) - len(items) for _, _, items in asked))
    made = _judged(work, [part for part in asked if scorers.uses_llm(part[1], work.spec)], tally)
    made += [(scorer, _executed(work, family, scorer, items, tally)) for family, scorer, items in asked if not scorers.uses_llm(scorer, work.spec)]

    def write(session: Session) -> dict[str, Any]:
        for scorer, scored in made:
            told = [_with_bound(item, decoded[item.score.feature], work.spec.seed) for item in scored]
            scores.save(session, run_id, scorer_digest(work.spec, scorer, own_url), told, work.lease.job_id)
        silent = sum(item.score.answered == 0 and item.score.failed > 0 for _, scored in made for item in scored)
        return {"scores": sum(len(scored) for _, scored in made), "failed": silent}

    return TaskResult(write)


def _executed(work: Work, family: ExplanationFamily, scorer: ScorerSpec, items: Sequence[Item], tally: ChunkProgress) -> list[Scored]:
    judge, vocabulary = scorers.get(scorer.name, scorer), vocabulary_of(work.runtime.engine, family.run_id)
    made: list[Scored] = []
    for start in range(0, len(items), BATCH_FEATURES):
        handful = items[start : start + BATCH_FEATURES]
        found = judge.score([item for _, item in handful], vocabulary, work.spec.seed)
        made += _packed(handful, found)
        tally.add(len(handful))
    return made


def _judged(
    work: Work, asked: Sequence[tuple[ExplanationFamily, ScorerSpec, list[Item]]], tally: ChunkProgress
) -> list[tuple[ScorerSpec, list[Scored]]]:
    """Every score that a language model has a part in, all at once."""
    if not any(items for _, _, items in asked):
        return []
    with chunk_models(work) as models:
        questions = [
            scorers.judged(scorer).score(item, desk_of(work, models, scorer, item.feature, family.run_id))
            for family, scorer, items in asked
            for _, item in items
        ]
        answers = iter(models.run(questions, tally))
    return [(scorer, _packed(items, [next(answers) for _ in items])) for _, scorer, items in asked]


def desk_of(work: Work, models: ChunkModels, scorer: ScorerSpec, feature: int, run_id: int) -> ScoreContext:
    """What a scorer works with for one feature."""
    return ScoreContext(
        vocabulary=vocabulary_of(work.runtime.engine, run_id),
        seed=work.spec.seed,
        judge=models.judge(feature, scorer.name),
        second_judge=models.second_judge(feature, scorer.name),
        embedder=models.embedder(feature, scorer.name),
        controls=OWN_CONTROLS & frozenset(work.spec.controls),
        control_share=work.spec.control_share,
        gold_items=work.spec.gold_items,
    )


def _packed(items: Sequence[Item], figures: Sequence[Score]) -> list[Scored]:
    return [Scored(row, figure, encode_items(figure.items)) for (row, _), figure in zip(items, figures, strict=True)]


def _with_bound(item: Scored, of: FeatureEvidence, seed: int) -> Scored:
    """The score with the bound that its nulls were chosen within, in its provenance; as it is where it has none."""
    if item.score.null is None:
        return item
    return replace(item, score=replace(item.score, provenance=item.score.provenance | {"nulls": bound_of(of.nearest, seed)}))


def _items(work: Work, family: ExplanationFamily, scorer: ScorerSpec, decoded: Mapping[int, FeatureEvidence]) -> list[Item]:
    """(explanation id, what the scorer may see) of each explanation that lacks this score."""
    ranges, is_judged = ranges_of_chunk(work), scorers.uses_llm(scorer, work.spec)
    digest = scorer_digest(work.spec, scorer, work.runtime.settings.llm_base_url)
    baseline = baseline_family(work.spec, family.run_id) if is_judged else None
    with snapshot(work.runtime.engine) as session:
        own = {feature: found for feature, found in explanations.load(session, family, ranges).items() if found[1].text is not None}
        # A judge that answered nothing is asked again by the next job; the executable one would only say the same.
        done = scores.explanations_with(session, scorer.name, digest, [row for row, _ in own.values()], only_answered=is_judged)
        wanted = {feature: found for feature, found in own.items() if found[0] not in done}
        nulls = _nulls(work, family, null_count(work.spec, scorer), {feature: decoded[feature] for feature in wanted})
        borrowed = explanations.load(session, family, ranges_of(sorted(set().union(*nulls.values()))))
        patterns = explanations.load(session, baseline, ranges) if baseline is not None else {}
        foils = _foils(session, family, scorer, wanted, decoded) if is_judged and scorers.judged(scorer).needs_distractors else {}
    pool = None if is_judged or not wanted else _pool(work.runtime.engine, family, work.lease.job_id, work.spec.seed)
    return [
        (
            row,
            ScorerInput.of(
                decoded[feature],
                explanation,
                [borrowed[other][1] for other in nulls[feature]],
                _good(patterns.get(feature)),
                foils.get(feature, ()),
                pool,
            ),
        )
        for feature, (row, explanation) in wanted.items()
    ]


def _good(found: tuple[int, Explanation] | None) -> Explanation | None:
    return found[1] if found is not None and found[1].text is not None else None


def _foils(
    session: Session, family: ExplanationFamily, scorer: ScorerSpec, wanted: Iterable[int], decoded: Mapping[int, FeatureEvidence]
) -> dict[int, tuple[Distractor, ...]]:
    """Test contexts of each feature's nearest features that fire there; where those are too few, of the chunk's features next to it."""
    near = {feature: [neighbour.feature for neighbour in decoded[feature].nearest] for feature in wanted}
    others = sorted(set().union(*near.values()) - decoded.keys())
    loaded = {feature: decode_evidence(blob) for feature, blob in evidence.load(session, family.run_id, ranges_of(others)).items()}
    contexts = {feature: item.contexts.of(Split.TEST) for feature, item in {**loaded, **decoded}.items()}
    firing = {feature for feature, found in contexts.items() if bool(found.fires().any())}
    chosen: dict[int, tuple[Distractor, ...]] = {}
    for feature, nearest in near.items():
        beside = sorted(decoded.keys() - {feature}, key=lambda other: (abs(other - feature), other))
        order = [other for other in dict.fromkeys([*nearest, *beside]) if other in firing and other != feature]
        chosen[feature] = tuple(Distractor(other, contexts[other]) for other in order[: scorer.foils])
    return chosen


def _nulls(work: Work, family: ExplanationFamily, number: int, wanted: Mapping[int, FeatureEvidence]) -> Mapping[int, tuple[int, ...]]:
    """Whose explanations each of the `wanted` features borrows."""
    features, densities, lengths = _candidates(work.runtime.engine, family, work.lease.job_id)
    known = sorted(wanted.keys() & set(features))
    twins = {feature: twins_of(wanted[feature].nearest) for feature in known}
    return dict.fromkeys(wanted, ()) | dict(zip(known, choose_nulls(features, densities, lengths, number, work.spec.seed, twins, known), strict=True))


@lru_cache(maxsize=16)
def _candidates(engine: Engine, family: ExplanationFamily, job_id: str) -> tuple[list[int], NDArray[np.float64], NDArray[np.int64]]:
    """Whom nulls can be borrowed from, with density and length of label. Kept: all chunks of a job choose from the same, and choose the same."""
    with snapshot(engine) as session:
        pool = explanations.candidates(session, family, job_id)
    densities = np.array([candidate.density for candidate in pool], dtype=np.float64)
    return [candidate.feature for candidate in pool], densities, np.array([candidate.length for candidate in pool], dtype=np.int64)


@lru_cache(maxsize=4)
def _pool(engine: Engine, family: ExplanationFamily, job_id: str, seed: int) -> Contexts | None:
    """Test windows at random, of some features that nulls can be borrowed from: the same for all chunks of a job. Kept."""
    features, _, _ = _candidates(engine, family, job_id)
    chosen = np.random.default_rng((seed, FEATURES)).permutation(features)[:FEATURES]
    with snapshot(engine) as session:
        blobs = evidence.load(session, family.run_id, ranges_of(sorted(chosen.tolist())))
    return pool_of(decode_evidence(blob) for blob in blobs.values())
