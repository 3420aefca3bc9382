"""Run the explain task: label features by explain contexts, with provenance."""

from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from interp.domain.evidence import FeatureEvidence
from interp.domain.explanation import Explanation, ExplanationFamily
from interp.domain.spec import ExplainerSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain import registry as explainers
from interp.explain.base import ExplainContext, Explainer, ExplainerInput, LlmExplainer
from interp.explain.endpoint import EndpointContext, EndpointExplainer
from interp.explain.imported import ForeignLabel, Imported
from interp.files.evidence_codec import decode_evidence
from interp.planning.plan import count, ranges_of
from interp.planning.settings_digest import baseline_family, baseline_of, family_of
from interp.store.db.engine import Session, snapshot
from interp.store.queue import jobs
from interp.store.results import evidence, explanations
from workers.runtime import TaskResult, Work
from workers.tasks.llm_chunk import BATCH_FEATURES, ChunkModels, ChunkProgress, chunk_models, place_of, ranges_of_chunk, vocabulary_of
from workers.tasks.measurements import changes_of, tried_rounds


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
    explainer, vocabulary = _explainer(work, family, spec), vocabulary_of(work.runtime.engine, family.run_id)
    if not isinstance(explainer, LlmExplainer | EndpointExplainer):
        return _explain_free(work, explainer, vocabulary, missing, tally)
    ranges = ranges_of([item.feature for item in missing])
    with snapshot(work.runtime.engine) as session:
        rounds = tried_rounds(session, family, spec.rounds, ranges) if explainers.tries_texts(spec.name) else {}
        changes = changes_of(session, family.run_id, ranges) if explainers.needs_changes(spec) else {}
    inputs = [
        replace(ExplainerInput.of(item, vocabulary), rounds=rounds.get(item.feature, ()), changes=changes.get(item.feature)) for item in missing
    ]
    with chunk_models(work) as models:
        return models.run([_asked(work, models, explainer, family.run_id, item) for item in inputs], tally)


def _asked(
    work: Work, models: ChunkModels, explainer: LlmExplainer | EndpointExplainer, run_id: int, item: ExplainerInput
) -> Coroutine[Any, Any, Explanation]:
    """Return the coroutine that explains one feature by calls."""
    if isinstance(explainer, LlmExplainer):
        return explainer.explain(item, explain_context(work, models, explainer.spec, item.feature, run_id))
    engine, endpoint = work.runtime.engine, models.label_endpoint(explainer.spec, item.feature)
    return explainer.explain(item, EndpointContext(vocabulary_of(engine, run_id), work.spec.seed, place_of(engine, run_id), endpoint))


def _explainer(work: Work, family: ExplanationFamily, spec: ExplainerSpec) -> Explainer | LlmExplainer | EndpointExplainer:
    """Return the explainer; that of imported labels has those of the chunk's features."""
    if spec.name != Imported.name:
        return explainers.get(spec)
    if spec.labels is not None:
        return Imported({int(feature): ForeignLabel(text, {"source": "the job"}) for feature, text in spec.labels.items()})
    with snapshot(work.runtime.engine) as session:
        return Imported(explanations.imported(session, family.run_id, str(spec.source), ranges_of_chunk(work)))


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
