"""Explanations and their families."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Explanation:
    """A label with its provenance, or the reason why there is none.

    Exactly one of `text` and `failure` is set. `rule` is the executable form of the label, if any: JSON of a rule of `interp.explain.pattern`.
    `provenance` has prompt digest, model, seed, settings and ids of the contexts shown.
    """

    feature: int
    explainer: str
    text: str | None
    failure: str | None = None
    rule: dict[str, Any] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExplanationFamily:
    """Explanations of one run by the same explainer with the same settings."""

    run_id: int
    explainer: str
    settings_digest: str
