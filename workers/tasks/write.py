"""Run the write and propose tasks: have texts written for the subject."""

from dataclasses import replace
from typing import Any

from interp.domain.explanation import ExplanationFamily
from interp.domain.spec import ExplainerSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain.agent import Agent
from interp.explain.base import ExplainContext, ExplainerInput
from interp.explain.proposal import Proposal
from interp.explain.registry import TRYING
from interp.files.evidence_codec import decode_evidence
from interp.planning.plan import count, ranges_of
from interp.planning.settings_digest import PlannedScorer, measured_by
from interp.score.base import LlmScorer, ScoreContext, ScorerInput
from interp.store.db.engine import Session, snapshot
from interp.store.results import evidence, explanations, measurements
from workers.runtime import TaskResult, Work
from workers.tasks.explain import explain_context
from workers.tasks.llm_chunk import ChunkProgress, chunk_models, ranges_of_chunk, vocabulary_of
from workers.tasks.measurements import (
    PROPOSED,
    WRITTEN,
    as_content,
    proposals_of,
    save_rounds,
    tried_rounds,
    trying_of,
    writers_of,
    written_families,
)

# One scorer's texts of one family's labels.
Part = tuple[PlannedScorer, LlmScorer, ExplanationFamily, list[ScorerInput]]


def write(work: Work) -> TaskResult:
    """Have texts written of the chunk's labels that have none yet.

    Texts that could not be had are stored with the reason, and asked for again by the next job.
    """
    ranges, run_id = ranges_of_chunk(work), work.run_id
    parts = [_part(work, planned, scorer, family) for family in written_families(work) for planned, scorer in writers_of(work)]
    progress = ChunkProgress(work, len(parts))
    progress.add(sum(count(ranges) - len(items) for *_, items in parts))
    made: list[tuple[str, dict[int, dict[str, Any]]]] = []
    if any(items for *_, items in parts):
        with chunk_models(work) as models:

            def context(scorer: LlmScorer, feature: int) -> ScoreContext:
                judge = models.required("judge", feature, scorer.name)
                return ScoreContext(vocabulary_of(work.runtime.engine, run_id), work.spec.seed, judge)

            asked = [scorer.write(item, context(scorer, item.feature)) for _, scorer, _, items in parts for item in items]
            answers = iter(models.run(asked, progress))
        for planned, _, family, items in parts:
            made.append((measured_by(planned, family), {item.feature: as_content(next(answers)) for item in items}))

    def store(session: Session) -> dict[str, Any]:
        for digest, written in made:
            measurements.save(session, run_id, WRITTEN, digest, written)
        return {"written": sum(len(written) for _, written in made)}

    return TaskResult(store)


def propose(work: Work) -> TaskResult:
    """Have texts of one round proposed for the chunk's unexplained features.

    A proposal that answers the same question is kept. One that could not be had is stored with the reason, and asked for again by a retry.
    """
    turn, ranges = int(work.lease.payload["round"]), ranges_of_chunk(work)
    parts = [_round(work, family, spec, turn) for family, spec in trying_of(work, turn)]
    progress = ChunkProgress(work, len(parts))
    progress.add(sum(count(ranges) - len(items) for *_, items in parts))
    made: list[tuple[ExplanationFamily, dict[int, Proposal]]] = []
    if any(items for *_, items in parts):
        with chunk_models(work) as models:

            def context(agent: Agent, feature: int) -> ExplainContext:
                return explain_context(work, models, agent.spec, feature, work.run_id)

            asked = [agent.propose(item, context(agent, item.feature)) for _, agent, items in parts for item in items]
            answers = iter(models.run(asked, progress))
        for family, _, items in parts:
            made.append((family, {item.feature: next(answers) for item in items}))

    def store(session: Session) -> dict[str, Any]:
        for family, proposals in made:
            save_rounds(session, family, PROPOSED, turn, proposals)
        every = [proposal for _, proposals in made for proposal in proposals.values()]
        # Those that were asked for in vain: a feature that fires nowhere is no failure of this chunk.
        return {"proposed": len(every), "failed": sum(proposal.failure is not None and bool(proposal.prompt_digest) for proposal in every)}

    return TaskResult(store)


def _round(work: Work, family: ExplanationFamily, spec: ExplainerSpec, turn: int) -> tuple[ExplanationFamily, Agent, list[ExplainerInput]]:
    """Return the chunk's features without a proposal of this round, with earlier rounds."""
    ranges, agent, vocabulary = ranges_of_chunk(work), TRYING[spec.name](spec), vocabulary_of(work.runtime.engine, family.run_id)
    with snapshot(work.runtime.engine) as session:
        explained = explanations.features_with(session, family, ranges)
        before, known = tried_rounds(session, family, turn - 1, ranges), proposals_of(session, family, turn, ranges)
        blobs = evidence.load(session, family.run_id, ranges)
    wanted = [feature for feature in blobs if feature not in explained and len(before.get(feature, ())) == turn - 1]
    items = [replace(ExplainerInput.of(decode_evidence(blobs[feature]), vocabulary), rounds=before.get(feature, ())) for feature in wanted]
    return family, agent, [item for item in items if not _is_answered(agent, item, known.get(item.feature), vocabulary, work.spec.seed)]


def _is_answered(agent: Agent, item: ExplainerInput, known: Proposal | None, vocabulary: Vocabulary, seed: int) -> bool:
    """Return whether the known proposal answers the question that would be asked."""
    return known is not None and known.failure is None and known.prompt_digest == agent.question(item, vocabulary, seed).digest


def _part(work: Work, planned: PlannedScorer, scorer: LlmScorer, family: ExplanationFamily) -> Part:
    """Return the labels of the chunk without good texts."""
    with snapshot(work.runtime.engine) as session:
        labels = explanations.load(session, family, ranges_of_chunk(work))
        known = measurements.load(session, family.run_id, WRITTEN, measured_by(planned, family), ranges_of_chunk(work))
        wanted = {
            feature: made for feature, (_, made) in labels.items() if made.text is not None and (feature not in known or known[feature]["failure"])
        }
        blobs = evidence.load(session, family.run_id, ranges_of(sorted(wanted)))
    return (
        planned,
        scorer,
        family,
        [ScorerInput.of(decode_evidence(blobs[feature]), made, ()) for feature, made in wanted.items() if feature in blobs],
    )
