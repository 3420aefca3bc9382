"""List the explainers; a new one has `name`, `version` and `explain`."""

from collections.abc import Callable

from interp.domain.errors import InputError
from interp.domain.spec import ExplainerSpec
from interp.explain.base import Explainer, LlmExplainer
from interp.explain.best_of import BestOf, Refine
from interp.explain.clusters import Clusters
from interp.explain.one_call import Contrastive, FromContexts, MaxActLogits, OneCall, OutputTokens, TokenActivations, TopContexts
from interp.explain.pattern.fit import Pattern

# Explainers without a language model.
FREE: dict[str, Callable[[], Explainer]] = {Pattern.name: Pattern}

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


def get(spec: ExplainerSpec) -> Explainer | LlmExplainer:
    """Return an explainer. Raises InputError on an unknown name or base."""
    if is_free(spec.name):
        return FREE[spec.name]()
    return ONE_CALL[spec.name](spec) if spec.name in ONE_CALL else MANY_CALLS[spec.name](spec)


def is_free(name: str) -> bool:
    """Return whether the explainer makes no call. Raises InputError on an unknown one."""
    known = (*FREE, *ONE_CALL, *MANY_CALLS)
    if name not in known:
        raise InputError(f"There is no explainer {name!r}.", cure=f"Known are: {', '.join(sorted(known))}.", name=name)
    return name in FREE


def version_of(name: str) -> int:
    """Return the version of an explainer's code and templates. Raises InputError if unknown."""
    return get(ExplainerSpec(name=name)).version


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
