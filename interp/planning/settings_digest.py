"""Settings digests of explanations and scores, by which later jobs reuse them."""

from dataclasses import dataclass
from typing import Any

from interp.domain.digests import digest_of
from interp.domain.explanation import ExplanationFamily
from interp.domain.spec import ExplainerSpec, JobSpec, ModelSpec, ScorerSpec
from interp.explain import registry as explainers
from interp.llm.cache_key import settings_of, shown_url
from interp.score import registry as scorers
from interp.score.base import OWN_CONTROLS, LlmScorer, Scorer

# Explainers that use another one.
BUILDERS = frozenset({"best_of", "refine"})


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
    made: dict[str, Any] = {"explainer": explainer.options(), "version": explainers.version_of(explainer.name), "seed": spec.seed}
    if not explainers.is_free(explainer.name):
        made["model"] = _identity(spec.models.explainer, own_url)
        if explainer.name in BUILDERS:
            made |= {"base": explainers.version_of(explainer.base), "judge": _identity(spec.models.judge or spec.models.explainer, own_url)}
        elif explainer.name == "clusters":
            made["embedding"] = _identity(spec.models.embedding, own_url)
    return ExplanationFamily(run_id, explainer.name, digest_of(made))


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
    return PlannedScorer(found, digest_of(made), nulls)


def goes_in_batches(spec: JobSpec) -> tuple[bool, bool]:
    """Return whether the calls of explainers, and of scorers, are sent as batches."""
    models = spec.models
    batched = [model is not None and model.transport == "batch" for model in (models.explainer, models.judge, models.second_judge, models.embedding)]
    explaining = any(not explainers.is_free(explainer.name) for explainer in spec.explainers)
    scoring = any(scorers.uses_llm(scorer, spec) for scorer in spec.scorers)
    return explaining and (batched[0] or batched[1]), scoring and any(batched[1:])


def _identity(model: ModelSpec | None, own_url: str) -> dict[str, Any] | None:
    """Return a model's settings that decide its answers."""
    if model is None:
        return None
    return settings_of(model, shown_url(model.base_url or own_url)) | ({"logprobs": True} if model.logprobs else {})
