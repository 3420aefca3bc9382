"""Settings digests: which explanations and scores are the same, so that a second job does not make them again."""

from interp.explain import registry as explainers
from interp.identity import digest_of
from interp.score import registry as scorers
from interp.spec import ExplainerSpec, JobSpec, ScorerSpec
from interp.store.explanations import Family

# Nulls a feature for the executable judge, which answers for nothing.
NULLS = 20


def family_of(spec: JobSpec, explainer: ExplainerSpec, evidence_set: str, dictionary_id: int) -> Family:
    """The explanations that this job's explainer makes. The seed counts: an explainer may draw."""
    made = {"explainer": explainer.options(), "version": explainers.version_of(explainer.name), "seed": spec.seed}
    return Family(evidence_set, dictionary_id, explainer.name, digest_of(made))


def scorer_digest(spec: JobSpec, scorer: ScorerSpec) -> str:
    """The scorer with its options, its nulls and what draws them."""
    version = scorers.get(scorer.name, scorer).version
    return digest_of({"scorer": scorer.model_dump(mode="json"), "version": version, "nulls": null_count(spec, scorer), "seed": spec.seed})


def null_count(spec: JobSpec, scorer: ScorerSpec) -> int:
    """Nulls a feature: none where the job does without that control."""
    if "null" not in spec.controls:
        return 0
    return NULLS if scorer.nulls is None else scorer.nulls
