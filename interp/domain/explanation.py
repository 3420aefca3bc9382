"""Define an explanation, and the family that it belongs to."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Explanation:
    """A label with its provenance, or the reason why there is none. Exactly one of `text` and `failure` is set.

    `rule` is the executable form of the label, when it has one: JSON that `interp.explain.pattern` can run.
    `provenance` holds what made it: prompt digest, model, seed, settings, ids of the contexts shown.
    """

    feature: int
    explainer: str
    text: str | None
    failure: str | None = None
    rule: dict[str, Any] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExplanationFamily:
    """Explanations of one kind: made in one run by the same explainer with the same settings."""

    run_id: int
    explainer: str
    settings_digest: str
