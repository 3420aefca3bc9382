"""Settings digests: which explanations and scores are the same, so that a second job does not make them again."""

from typing import Any

from interp.domain.digests import digest_of
from interp.domain.explanation import ExplanationFamily
from interp.domain.spec import ExplainerSpec, JobSpec, ModelSpec, ScorerSpec
from interp.explain import registry as explainers
from interp.llm.cache_key import settings_of, shown_url
from interp.score import registry as scorers

# The controls that a scorer with a language model makes itself, on its own items.
OWN_CONTROLS = frozenset({"empty", "baseline", "repeat", "judge_swap", "gold"})

# Explainers that build on another one.
BUILDERS = frozenset({"best_of", "refine"})


def family_of(spec: JobSpec, explainer: ExplainerSpec, run_id: int, own_url: str = "") -> ExplanationFamily:
    """The explanations that this job's explainer makes. The seed counts: an explainer may draw.

    `own_url` is the server's endpoint, of models that name none.
    """
    made: dict[str, Any] = {"explainer": explainer.options(), "version": explainers.version_of(explainer.name), "seed": spec.seed}
    if not explainers.is_free(explainer.name):
        made["model"] = answers_of(spec.models.explainer, own_url)
        if explainer.name in BUILDERS:
            made |= {"base": explainers.version_of(explainer.base), "judge": answers_of(spec.models.judge or spec.models.explainer, own_url)}
        elif explainer.name == "clusters":
            made["embedding"] = answers_of(spec.models.embedding, own_url)
    return ExplanationFamily(run_id, explainer.name, digest_of(made))


def baseline_family(spec: JobSpec, run_id: int) -> ExplanationFamily | None:
    """The pattern explanations that scores are held against; None where the job does without that control."""
    if "baseline" not in spec.controls or not any(scorers.uses_llm(scorer, spec) for scorer in spec.scorers):
        return None
    return family_of(spec, baseline_of(spec), run_id)


def baseline_of(spec: JobSpec) -> ExplainerSpec:
    """The job's own pattern explainer, or a plain one."""
    return next((explainer for explainer in spec.explainers if explainer.name == "pattern"), ExplainerSpec(name="pattern"))


def scorer_digest(spec: JobSpec, scorer: ScorerSpec, own_url: str = "") -> str:
    """The scorer with its options, its nulls and what draws them; with a language model as judge also who that is, and the controls it makes."""
    made: dict[str, Any] = {"scorer": scorer.model_dump(mode="json"), "nulls": null_count(spec, scorer), "seed": spec.seed}
    if not scorers.uses_llm(scorer, spec):
        return digest_of(made | {"version": scorers.get(scorer.name, scorer).version})
    controls = sorted(OWN_CONTROLS & set(spec.controls))
    made |= {"version": scorers.judged(scorer).version, "judge": answers_of(spec.models.judge, own_url), "controls": controls}
    if {"repeat", "judge_swap"} & set(controls):
        made["control_share"] = spec.control_share
    if "judge_swap" in controls:
        made["second_judge"] = answers_of(spec.models.second_judge, own_url)
    if "gold" in controls:
        made["gold_items"] = spec.gold_items
    if spec.models.embedding is not None:
        made["embedding"] = answers_of(spec.models.embedding, own_url)
    return digest_of(made)


def null_count(spec: JobSpec, scorer: ScorerSpec) -> int:
    """Nulls a feature: none where the job does without that control."""
    return scorers.nulls_of(scorer, spec)


def asks_models(spec: JobSpec) -> tuple[bool, bool]:
    """Whether a language model is asked by the job's explainers, and by its scorers."""
    return (
        any(not explainers.is_free(explainer.name) for explainer in spec.explainers),
        any(scorers.uses_llm(scorer, spec) for scorer in spec.scorers),
    )


def goes_in_batches(spec: JobSpec) -> tuple[bool, bool]:
    """Whether calls of the job's explainers, and of its scorers, are handed in as batches: then a chunk is many features."""
    explaining, scoring = asks_models(spec)
    models = spec.models
    batched = [model is not None and model.transport == "batch" for model in (models.explainer, models.judge, models.second_judge, models.embedding)]
    return explaining and (batched[0] or batched[1]), scoring and any(batched[1:])


def answers_of(model: ModelSpec | None, own_url: str) -> dict[str, Any] | None:
    """What of a model decides its answers."""
    if model is None:
        return None
    return settings_of(model, shown_url(model.base_url or own_url)) | ({"logprobs": True} if model.logprobs else {})
