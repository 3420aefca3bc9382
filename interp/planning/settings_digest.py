"""Settings digests of explanations and scores, by which later jobs reuse them."""

from dataclasses import dataclass
from typing import Any

from interp.domain.digests import digest_of
from interp.domain.explanation import ExplanationFamily
from interp.domain.lifecycle import Stage
from interp.domain.spec import ExplainerSpec, JobSpec, ModelSpec, ScorerSpec
from interp.explain import registry as explainers
from interp.explain.human import Human
from interp.llm.base import Ability
from interp.llm.cache_key import settings_of, shown_url
from interp.planning.plan import TRIALS
from interp.score import registry as scorers
from interp.score.base import OWN_CONTROLS, LlmScorer, Scorer
from interp.score.local_embedder import LocalEmbedder

# Explainers that use another one.
BUILDERS = frozenset({"best_of", "refine"})


def measured_by(planned: "PlannedScorer", family: ExplanationFamily | None = None) -> str:
    """Return the digest of a scorer's measurements, of a family's labels if needed."""
    return digest_of({"scorer": planned.digest, "explainer": family and [family.explainer, family.settings_digest]})


@dataclass(frozen=True, slots=True)
class PlannedScorer:
    """A scorer with its settings' digest and its number of nulls per feature."""

    scorer: Scorer | LlmScorer
    digest: str
    nulls: int


def family_of(spec: JobSpec, explainer: ExplainerSpec, run_id: int, own_url: str = "") -> ExplanationFamily:
    """Return the family of an explainer's explanations, which depends on the seed, too.

    `own_url` is the server's endpoint, for models that name none.
    """
    if explainer.name == Human.name:
        return human_family(run_id)
    made: dict[str, Any] = {"explainer": explainer.options(), "version": explainers.version_of(explainer.name), "seed": spec.seed}
    if explainers.needs_model(explainer.name):
        made["model"] = _identity(spec.models.explainer, own_url)
        if explainer.name in BUILDERS:
            made |= {"base": explainers.version_of(explainer.base), "judge": _identity(spec.models.judge or spec.models.explainer, own_url)}
        elif explainer.name == "clusters":
            made["embedding"] = _identity(spec.models.embedding, own_url)
    return ExplanationFamily(run_id, explainer.name, digest_of(made))


def human_family(run_id: int) -> ExplanationFamily:
    """Return the family of the labels that people write in reviews, one for each feature."""
    return ExplanationFamily(run_id, Human.name, digest_of({"explainer": Human.name, "version": Human.version}))


def baseline_family(spec: JobSpec, run_id: int) -> ExplanationFamily | None:
    """Return the family of the baseline control's pattern explanations; None without that control."""
    if "baseline" not in spec.controls or not any(scorers.uses_llm(scorer, spec) for scorer in spec.scorers):
        return None
    return family_of(spec, baseline_of(spec), run_id)


def baseline_of(spec: JobSpec) -> ExplainerSpec:
    """Return the job's pattern explainer, or a default one."""
    return next((explainer for explainer in spec.explainers if explainer.name == "pattern"), ExplainerSpec(name="pattern"))


def planned_scorer(spec: JobSpec, scorer: ScorerSpec, own_url: str = "") -> PlannedScorer:
    """Return a scorer of the job; raises InputError as `interp.score.registry.of_job`.

    The digest covers options, nulls and their draws; with a language model as judge also that model, and the controls that use it.
    """
    found, nulls = scorers.of_job(scorer, spec), scorers.nulls_of(scorer, spec)
    made: dict[str, Any] = {"scorer": scorer.model_dump(mode="json"), "nulls": nulls, "seed": spec.seed, "version": found.version}
    if isinstance(found, LlmScorer):
        controls = sorted(OWN_CONTROLS & set(spec.controls))
        made |= {"judge": _identity(spec.models.judge, own_url), "controls": controls}
        if {"repeat", "judge_swap"} & set(controls):
            made["control_share"] = spec.control_share
        if "judge_swap" in controls:
            made["second_judge"] = _identity(spec.models.second_judge, own_url)
        if "gold" in controls:
            made["gold_items"] = spec.gold_items
        if spec.models.embedding is not None:
            made["embedding"] = _identity(spec.models.embedding, own_url)
        elif Ability.EMBEDDINGS in found.needs:
            made["embedding"] = LocalEmbedder().provenance
    return PlannedScorer(found, digest_of(made), nulls)


def stages_of(spec: JobSpec) -> frozenset[Stage]:
    """Return which of explain, write, probe, score and health the job has."""
    judged = [scorers.judged(scorer) for scorer in spec.scorers if scorers.uses_llm(scorer, spec)]
    asked = {
        Stage.EXPLAIN: spec.explainers,
        Stage.WRITE: any(scorer.writes for scorer in judged),
        Stage.PROBE: any(scorer.probes for scorer in judged),
        Stage.SCORE: spec.scorers,
        Stage.HEALTH: spec.health,
    }
    return frozenset(stage for stage, settings in asked.items() if settings)


def trials_of(spec: JobSpec) -> tuple[tuple[Stage, int], ...]:
    """Return the stages before the job's labels, each with its round, in order."""
    rounds = max((explainer.rounds for explainer in spec.explainers if explainers.tries_texts(explainer.name)), default=0)
    if not rounds and any(map(explainers.needs_changes, spec.explainers)):
        return ((Stage.TRY, 1),)
    return tuple((stage, turn) for turn in range(1, rounds + 1) for stage in TRIALS)


def goes_in_batches(spec: JobSpec) -> tuple[bool, bool]:
    """Return whether the calls of explainers, and of scorers, are sent as batches."""
    models = spec.models
    batched = [model is not None and model.transport != "live" for model in (models.explainer, models.judge, models.second_judge, models.embedding)]
    explaining = any(explainers.needs_model(explainer.name) for explainer in spec.explainers)
    scoring = any(scorers.uses_llm(scorer, spec) for scorer in spec.scorers)
    return explaining and (batched[0] or batched[1]), scoring and any(batched[1:])


def _identity(model: ModelSpec | None, own_url: str) -> dict[str, Any] | None:
    """Return a model's settings that decide its answers."""
    if model is None:
        return None
    return settings_of(model, shown_url(model.endpoint(own_url))) | ({"logprobs": True} if model.logprobs else {})
