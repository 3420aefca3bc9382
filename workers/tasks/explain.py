"""Run the explain task: label features by explain contexts, with provenance."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from interp.domain.evidence import FeatureEvidence
from interp.domain.explanation import Explanation, ExplanationFamily
from interp.domain.spec import ExplainerSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain import registry as explainers
from interp.explain.base import ExplainContext, Explainer, ExplainerInput, LlmExplainer
from interp.files.evidence_codec import decode_evidence
from interp.planning.plan import count
from interp.planning.settings_digest import baseline_family, baseline_of, family_of
from interp.store.db.engine import Session, snapshot
from interp.store.queue import jobs
from interp.store.results import evidence, explanations
from workers.runtime import TaskResult, Work
from workers.tasks.llm_chunk import BATCH_FEATURES, ChunkModels, ChunkProgress, chunk_models, ranges_of_chunk, vocabulary_of


def explain(work: Work) -> TaskResult:
    """Explain the chunk's features without a good explanation of the same settings.

    The `baseline` control's pattern explanations are made too where the job does not ask for them itself; they count for nothing else.
    """
    ranges, run_id, own_url = ranges_of_chunk(work), work.run_id, work.runtime.settings.llm_base_url
    with snapshot(work.runtime.engine) as session:
        asked = {family_of(work.spec, spec, run_id, own_url): spec for spec in work.spec.explainers}
        baseline = baseline_family(work.spec, run_id)
        wanted = asked if baseline is None else asked | {baseline: baseline_of(work.spec)}
        explained = {family: explanations.features_with(session, family, ranges) for family in wanted}
        blobs = evidence.load(session, run_id, ranges)
    tally = ChunkProgress(work, len(wanted))
    decoded = {feature: decode_evidence(blob) for feature, blob in blobs.items()}
    made: dict[ExplanationFamily, list[Explanation]] = {}
    for family, spec in wanted.items():
        missing = [item for feature, item in decoded.items() if feature not in explained[family]]
        tally.add(count(ranges) - len(missing))
        made[family] = _explain(work, family, spec, missing, tally) if missing else []
    failed = _unexplained(decoded.values(), {family: explained[family] for family in asked}, {family: made[family] for family in asked})

    def write(session: Session) -> dict[str, Any]:
        for family, new in made.items():
            explanations.save(session, family, new, work.lease.job_id)
        jobs.count_failed(session, work.lease.job_id, len(failed))
        return {"explained": sum(map(len, made.values())), "failed": len(failed)}

    return TaskResult(write)


def _explain(
    work: Work, family: ExplanationFamily, spec: ExplainerSpec, missing: Sequence[FeatureEvidence], tally: ChunkProgress
) -> list[Explanation]:
    explainer, vocabulary = explainers.get(spec), vocabulary_of(work.runtime.engine, family.run_id)
    if not isinstance(explainer, LlmExplainer):
        return _explain_free(work, explainer, vocabulary, missing, tally)
    with chunk_models(work) as models:
        return models.run(
            [
                explainer.explain(ExplainerInput.of(item, vocabulary), explain_context(work, models, spec, item.feature, family.run_id))
                for item in missing
            ],
            tally,
        )


def explain_context(work: Work, models: ChunkModels, spec: ExplainerSpec, feature: int, run_id: int) -> ExplainContext:
    return ExplainContext(
        vocabulary=vocabulary_of(work.runtime.engine, run_id),
        seed=work.spec.seed,
        model=models.required("explainer", feature, spec.name),
        judge=models.of_role("judge", feature, spec.name) or models.required("explainer", feature, spec.name),
        embedder=models.of_role("embedding", feature, spec.name),
    )


def _explain_free(
    work: Work, explainer: Explainer, vocabulary: Vocabulary, missing: Sequence[FeatureEvidence], tally: ChunkProgress
) -> list[Explanation]:
    made: list[Explanation] = []
    for start in range(0, len(missing), BATCH_FEATURES):
        handful = [ExplainerInput.of(item, vocabulary) for item in missing[start : start + BATCH_FEATURES]]
        made += explainer.explain(handful, vocabulary, work.spec.seed)
        tally.add(len(handful))
    return made


def _unexplained(
    decoded: Iterable[FeatureEvidence], explained: Mapping[ExplanationFamily, set[int]], made: Mapping[ExplanationFamily, Sequence[Explanation]]
) -> set[int]:
    """Return the features that fire often enough but that no explainer has labelled."""
    good = set().union(*explained.values(), *({item.feature for item in new if item.text is not None} for new in made.values()))
    return {item.feature for item in decoded if item.statistics.state == "active"} - good
