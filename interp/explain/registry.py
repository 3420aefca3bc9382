"""List the explainers; a new one has `name`, `version` and `explain`."""

from collections.abc import Callable

from interp.domain.errors import InputError
from interp.domain.spec import ExplainerSpec
from interp.explain.agent import Agent
from interp.explain.base import Explainer, LlmExplainer
from interp.explain.best_of import BestOf, Choosing, Refine
from interp.explain.clusters import Clusters
from interp.explain.endpoint import EndpointExplainer
from interp.explain.human import Human
from interp.explain.imported import Imported
from interp.explain.label_call import template_of
from interp.explain.one_call import Contrastive, FromContexts, MaxActLogits, OneCall, OutputTokens, TokenActivations, TopContexts
from interp.explain.pattern.fit import Pattern

# Explainers without a language model.
FREE: dict[str, Callable[[], Explainer]] = {Pattern.name: Pattern, Human.name: Human, Imported.name: lambda: Imported({})}

# Explainers with one call; `best_of` and `refine` build on any of them.
ONE_CALL: dict[str, type[OneCall]] = {
    kind.name: kind for kind in (FromContexts, Contrastive, TokenActivations, TopContexts, MaxActLogits, OutputTokens)
}

# Explainers with several calls.
MANY_CALLS: dict[str, Callable[[ExplainerSpec], LlmExplainer]] = {
    Clusters.name: Clusters,
    BestOf.name: lambda spec: BestOf(spec, _base(spec)),
    Refine.name: lambda spec: Refine(spec, _base(spec)),
}

# Explainers whose texts the subject reads before they are asked for a label.
TRYING: dict[str, type[Agent]] = {Agent.name: Agent}

# Explainers that ask no language model of the job's, but an endpoint that gives labels.
ENDPOINTS: dict[str, type[EndpointExplainer]] = {EndpointExplainer.name: EndpointExplainer}


def get(spec: ExplainerSpec) -> Explainer | LlmExplainer | EndpointExplainer:
    """Return an explainer. Raises InputError on an unknown name or base, or an unfit prompt."""
    if not needs_model(spec.name):
        if spec.prompt is not None:
            raise InputError(f"The explainer {spec.name!r} takes no prompt.", why="It sends none.", cure="Leave `prompt` out.", name=spec.name)
        return FREE[spec.name]() if spec.name in FREE else ENDPOINTS[spec.name](spec)
    found = _asking_models(spec)
    template_of(spec.base if isinstance(found, Choosing) else spec.name, spec)  # refuses a job's template before any feature
    return found


def needs_model(name: str) -> bool:
    """Return whether the explainer asks a language model of the job's; raises InputError if unknown."""
    _check_known(name)
    return name in ONE_CALL or name in MANY_CALLS or name in TRYING


def tries_texts(name: str) -> bool:
    """Return whether the subject reads the explainer's texts, in rounds."""
    return name in TRYING


def needs_changes(spec: ExplainerSpec) -> bool:
    """Return whether the explainer reads what adding a feature does to predictions."""
    return spec.output == "token_change"


def version_of(name: str) -> int:
    """Return the version of an explainer's code and templates. Raises InputError if unknown."""
    _check_known(name)
    if name in FREE:
        return FREE[name]().version
    return ENDPOINTS[name].version if name in ENDPOINTS else _asking_models(ExplainerSpec(name=name)).version


def _asking_models(spec: ExplainerSpec) -> LlmExplainer:
    kinds: dict[str, Callable[[ExplainerSpec], LlmExplainer]] = {**ONE_CALL, **MANY_CALLS, **TRYING}
    return kinds[spec.name](spec)


def _check_known(name: str) -> None:
    known = (*FREE, *ENDPOINTS, *ONE_CALL, *MANY_CALLS, *TRYING)
    if name not in known:
        raise InputError(f"There is no explainer {name!r}.", cure=f"Known are: {', '.join(sorted(known))}.", name=name)


def _base(spec: ExplainerSpec) -> OneCall:
    if spec.base not in ONE_CALL:
        raise InputError(
            f"{spec.name!r} cannot build on {spec.base!r}.",
            why="It builds on an explainer that asks one question.",
            cure=f"Those are: {', '.join(ONE_CALL)}.",
            name=spec.name,
            base=spec.base,
        )
    return ONE_CALL[spec.base](spec)
