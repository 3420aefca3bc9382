"""Language models that a job uses, and the abilities that they need, from the spec."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from interp.config.settings import Settings
from interp.domain.errors import InputError
from interp.domain.spec import ROLES, JobSpec, ModelSpec
from interp.explain import registry as explainers
from interp.llm.base import Ability
from interp.llm.client import reach_of
from interp.score import registry as scorers
from interp.score.base import OWN_CONTROLS, LlmScorer
from interp.score.local_embedder import is_local

# Fields of a request body that carry keys. A job is stored and shown, so it may hold none.
SECRETS = ("api_key", "apikey", "api-key", "authorization", "secret", "password", "bearer", "credential", "cookie", "headers")
# Asked at /embeddings and /completions.
BEYOND_FILES = frozenset({Ability.EMBEDDINGS, Ability.PROMPT_LOGPROBS})
NO_MODEL = "The job names none: models.{role} is not set."
SET_MODEL = 'Add "models": {{"{role}": {{"model": "..."}}}} to the job. Without base_url it is asked for at the server\'s endpoint, {url}.'


@dataclass(frozen=True, slots=True)
class Need:
    """One model that a part of the job uses; `by` names the part in messages."""

    role: str
    by: str
    abilities: frozenset[Ability] = frozenset()


def needs_of(spec: JobSpec) -> list[Need]:
    """Return each model that the job uses and its part; raises InputError."""
    return [_with_logprobs(spec, need) for need in (*_of_explainers(spec), *_of_scorers(spec))]


def _with_logprobs(spec: JobSpec, need: Need) -> Need:
    """Require log-probabilities of a model whose settings claim them."""
    model: ModelSpec | None = getattr(spec.models, need.role)
    promised = model is not None and model.logprobs and need.role != "embedding"
    return replace(need, abilities=need.abilities | {Ability.LOGPROBS}) if promised else need


def check_named(spec: JobSpec, needs: Sequence[Need], settings: Settings) -> None:
    """Raise InputError for models that are unnamed or cannot be asked so, and unsupported controls."""
    for need in needs:
        if getattr(spec.models, need.role) is None:
            raise InputError(
                f"{need.by} needs a language model ({need.role}).",
                why=NO_MODEL.format(role=need.role),
                cure=SET_MODEL.format(role=need.role, url=settings.llm_base_url),
                role=need.role,
            )
    for need in needs:
        beyond = need.abilities & BEYOND_FILES
        if beyond and getattr(spec.models, need.role).transport == "files":
            raise InputError(
                f"{need.by} needs what no batch file asks for: {', '.join(sorted(beyond))} of models.{need.role}.",
                why="`transport: files` exports questions to /v1/chat/completions alone.",
                cure=f"Set models.{need.role}.transport to live, or leave the scorer out.",
                role=need.role,
            )
    rounds = [scorer.name for scorer in spec.scorers if scorer.stop == "sequential" and scorers.uses_llm(scorer, spec)]
    if rounds and spec.models.judge is not None and spec.models.judge.transport != "live":
        raise InputError(
            f"The scorer {rounds[0]!r} asks in rounds, and the judge's calls go in batches.",
            why="stop: sequential looks after each round; a batch takes up to a day, or until its results are imported.",
            cure="Set models.judge.transport to live, or stop to fixed.",
        )
    idle = [control for control in spec.controls if control in OWN_CONTROLS]
    if idle and not any(scorers.uses_llm(scorer, spec) for scorer in spec.scorers):
        raise InputError(
            f"Nobody would make the control {idle[0]!r}.",
            why="Only scorers that ask a language model do, and the job has none.",
            cure='Set models.judge (and a scorer\'s judge to "auto" or "llm"), or leave the control out.',
            controls=idle,
        )


def check_no_secrets(spec: JobSpec) -> None:
    """Raise InputError, which names the field only, for a likely key in a job."""
    for place, explainer in enumerate(spec.explainers):
        if explainer.url and _carries_secret(explainer.url):
            raise _secret(f"explainers[{place}].url")
    for role in ROLES:
        model: ModelSpec | None = getattr(spec.models, role)
        if model is None:
            continue
        if model.base_url and _carries_secret(model.base_url):
            raise _secret(f"models.{role}.base_url")
        for name in _names(model.extra):
            if any(part in name.lower() for part in SECRETS):
                raise _secret(f"models.{role}.extra.{name}")


def check_endpoints(spec: JobSpec, settings: Settings) -> None:
    """Raise EndpointRefusedError for endpoints outside the settings, EndpointUnreachableError for invalid base URLs."""
    guard = settings.llm_guard()
    for role in ROLES:
        model: ModelSpec | None = getattr(spec.models, role)
        if model is not None and model.base_url is not None:
            reach_of(guard, model.base_url, f"models.{role}.base_url")
    for place, explainer in enumerate(spec.explainers):
        if explainer.url is not None:
            reach_of(guard, explainer.url, f"explainers[{place}].url")


def resolved(spec: JobSpec, settings: Settings) -> JobSpec:
    """Return the spec with all base URLs, independent of changes of the server's endpoint."""

    def whole(model: ModelSpec | None) -> ModelSpec | None:
        if model is None or model.transport == "files":
            return model
        return model.model_copy(update={"base_url": model.endpoint(settings.llm_base_url)})

    models = {role: whole(getattr(spec.models, role)) for role in ROLES}
    return spec.model_copy(update={"models": spec.models.model_copy(update=models)})


def _of_explainers(spec: JobSpec) -> Iterator[Need]:
    for explainer in spec.explainers:
        explainers.get(explainer)  # raises InputError
        if explainers.needs_model(explainer.name):
            yield Need("explainer", f"The explainer {explainer.name!r}", frozenset())


def _of_scorers(spec: JobSpec) -> Iterator[Need]:
    for scorer in spec.scorers:
        found = scorers.of_job(scorer, spec)
        if not isinstance(found, LlmScorer):
            continue
        by, abilities = f"The scorer {scorer.name!r}", found.needs
        if Ability.EMBEDDINGS in abilities and not is_local(spec):
            yield Need("embedding", by, frozenset({Ability.EMBEDDINGS}))
        if not found.asks_judge:
            continue
        yield Need("judge", by, abilities - {Ability.EMBEDDINGS})
        if "judge_swap" in spec.controls:
            yield Need("second_judge", "The control 'judge_swap'", abilities - {Ability.EMBEDDINGS})


def _carries_secret(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "@" in url or "?" in url
    return bool(parts.username or parts.password or parts.query or parts.fragment)


def _names(value: object) -> Iterator[str]:
    """Yield all field names in a JSON value, at any depth."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield str(name)
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)


def _secret(field: str) -> InputError:
    return InputError(
        f"{field} may hold a key.",
        why="A job is stored and shown, so keys never stand in one.",
        cure="Give the server the key: GLOSSATOR_LLM_API_KEY for its own endpoint, GLOSSATOR_LLM_KEYS (JSON, by base URL) for others.",
        field=field,
    )
