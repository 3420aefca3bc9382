"""The explainers by name. To add one: a class with `name`, `version` and `explain` in a file of its own, and a line here."""

from collections.abc import Callable

from interp.domain.errors import InputError
from interp.domain.spec import ExplainerSpec
from interp.explain.base import Explainer, LlmExplainer
from interp.explain.best_of import BestOf, Refine
from interp.explain.clusters import Clusters
from interp.explain.one_call import Contrastive, FromContexts, MaxActLogits, OneCall, OutputTokens, TokenActivations, TopContexts
from interp.explain.pattern.fit import Pattern

# Explainers that ask nobody.
FREE: dict[str, Callable[[], Explainer]] = {Pattern.name: Pattern}

# Explainers that ask a language model one question; `best_of` and `refine` build on any of them.
ONE_CALL: dict[str, type[OneCall]] = {
    kind.name: kind for kind in (FromContexts, Contrastive, TokenActivations, TopContexts, MaxActLogits, OutputTokens)
}

# Explainers that ask several.
MANY_CALLS: dict[str, Callable[[ExplainerSpec], LlmExplainer]] = {
    Clusters.name: Clusters,
    BestOf.name: lambda spec: BestOf(spec, _base(spec)),
    Refine.name: lambda spec: Refine(spec, _base(spec)),
}


def get(spec: ExplainerSpec) -> Explainer | LlmExplainer:
    """The explainer that a job names, with its options. Raises InputError on an unknown one, and on a base that cannot be built on."""
    return free(spec) if is_free(spec.name) else asking(spec)


def free(spec: ExplainerSpec) -> Explainer:
    """An explainer that asks nobody. Raises InputError where the name is not one's."""
    if not is_free(spec.name):
        raise InputError(f"The explainer {spec.name!r} asks a language model.", name=spec.name)
    return FREE[spec.name]()


def asking(spec: ExplainerSpec) -> LlmExplainer:
    """An explainer that asks a language model. Raises InputError where the name is not one's, and on a base that cannot be built on."""
    if is_free(spec.name):
        raise InputError(f"The explainer {spec.name!r} asks no language model.", name=spec.name)
    return ONE_CALL[spec.name](spec) if spec.name in ONE_CALL else MANY_CALLS[spec.name](spec)


def is_free(name: str) -> bool:
    """Whether the explainer makes no call. Raises InputError on an unknown one."""
    return _known(name) in FREE


def version_of(name: str) -> int:
    """Of the explainer's code and templates: another version makes other explanations. Raises InputError on an unknown one."""
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


def _known(name: str) -> str:
    known = (*FREE, *ONE_CALL, *MANY_CALLS)
    if name not in known:
        raise InputError(f"There is no explainer {name!r}.", cure=f"Known are: {', '.join(sorted(known))}.", name=name)
    return name
