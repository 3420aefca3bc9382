"""The explainers by name. To add one: a class with `name`, `version` and `explain` in a file of its own, and a line here."""

from collections.abc import Callable

from interp.errors import InputError
from interp.explain.base import Explainer
from interp.explain.pattern import Pattern

EXPLAINERS: dict[str, Callable[[], Explainer]] = {
    Pattern.name: Pattern,
}


def get(name: str) -> Explainer:
    """The explainer of that name. Raises InputError on an unknown one."""
    if name not in EXPLAINERS:
        raise InputError(f"There is no explainer {name!r}.", cure=f"Known are: {', '.join(sorted(EXPLAINERS))}.", name=name)
    return EXPLAINERS[name]()
