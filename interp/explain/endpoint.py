"""Explain by an endpoint, which gets a feature's evidence as JSON and returns a label.

docs/explainer-endpoint.md documents request and answer.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from interp.domain.errors import CallFailedError
from interp.domain.evidence import ContextKind, Contexts
from interp.domain.explanation import Explanation
from interp.domain.polarity import address
from interp.domain.spec import ExplainerSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainerInput
from interp.explain.context_selection import firing, generator, silent, spread
from interp.explain.formatting import activations
from interp.explain.label import says_nothing
from interp.llm.label_endpoint import NAME, TEMPLATE, LabelAnswer, LabelEndpoint
from interp.llm.prompt_text import pieces

SCHEMA = "glossator.explain/1"
# Firing contexts of a request, and as many silent ones: by default all that collection keeps.
CONTEXTS = 100
DIGITS = 6
UNKNOWN_READING = "The endpoint was sent explain contexts alone: whether it read texts of the test split elsewhere cannot be known."


@dataclass(frozen=True, slots=True)
class DictionaryPlace:
    """The names of a dictionary and of the place that it reads, for requests.

    `hook_point` in TransformerLens names, several joined by `+`; `d_in` is the width of what it reads, `n_features` counts both signs.
    """

    dictionary: str
    n_features: int
    polarity: str
    subject: str
    hook_point: str
    d_in: int


@dataclass(frozen=True, slots=True)
class EndpointContext:
    """The vocabulary, seed, dictionary and endpoint of one feature's request."""

    vocabulary: Vocabulary
    seed: int
    place: DictionaryPlace
    endpoint: LabelEndpoint


class EndpointExplainer:
    """`endpoint`: a program behind a URL, which gets the explain contexts and gives a label."""

    name = NAME
    version = 1

    def __init__(self, spec: ExplainerSpec) -> None:
        self.spec = spec

    async def explain(self, item: ExplainerInput, context: EndpointContext) -> Explanation:
        """Return the explanation, or a failure for a refusal or a failed call. Raises JobPausedError."""
        if (why := item.obstacle()) is not None:
            return self._failed(item, context, why)
        chosen = chosen_contexts(item, self.spec.contexts or CONTEXTS, context.seed)
        request = json.dumps(request_of(item, chosen, context), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
        try:
            answer = await context.endpoint.ask(request)
        except CallFailedError as error:
            return self._failed(item, context, str(error), calls=list(error.details.get("calls", ())))
        more = _answer_facts(answer) | {"contexts": chosen.identities()}
        if answer.label is None:
            return self._failed(item, context, f"The endpoint refused: {answer.refused}", **more)
        if says_nothing(answer.label):
            return self._failed(item, context, f"The endpoint has no explanation to give: it answered {answer.label!r}.", **more)
        provenance = self._provenance(context) | more | {"test_split": UNKNOWN_READING}
        return Explanation(item.feature, self.name, answer.label, provenance=provenance)

    def _failed(self, item: ExplainerInput, context: EndpointContext, why: str, **more: Any) -> Explanation:
        return Explanation(item.feature, self.name, text=None, failure=why, provenance=self._provenance(context) | more)

    def _provenance(self, context: EndpointContext) -> dict[str, Any]:
        return {
            "version": self.version,
            "settings": self.spec.options(),
            "seed": context.seed,
            "endpoint": context.endpoint.provenance,
            "schema": SCHEMA,
            "template": TEMPLATE,
        }


def chosen_contexts(item: ExplainerInput, number: int, seed: int) -> Contexts:
    """Return up to `number` firing contexts, strongest first, then up to as many silent ones.

    Each text comes once. More are drawn evenly over activation tenths; near misses are the first silent ones.
    """
    contexts, random = item.contexts, generator(item, seed)
    rows = spread(contexts, firing(contexts), number, random)
    others = silent(contexts, random)
    near_first = others[np.argsort(contexts.kinds[others] != ContextKind.NEAR_MISS, kind="stable")][:number]
    return contexts.select(np.concatenate([rows, near_first]))


def request_of(item: ExplainerInput, chosen: Contexts, context: EndpointContext) -> dict[str, Any]:
    """Return a feature's request, as docs/explainer-endpoint.md documents it."""
    place, vocabulary = context.place, context.vocabulary
    groups = _groups(item.contexts)
    written = address(item.feature, place.n_features, place.polarity)
    return {
        "schema": SCHEMA,
        "seed": context.seed,
        "feature": {
            "index": item.feature,
            "name": f"{place.dictionary}:{written}",
            "window_density": item.window_density,
            "firing_level": float(item.contexts.levels.max(initial=0.0)),
        },
        "dictionary": {"name": place.dictionary, "features": place.n_features},
        "subject": {"name": place.subject, "hook_point": place.hook_point, "d_in": place.d_in},
        "contexts": [_context(chosen, row, vocabulary, groups.get(identity, ())) for row, identity in enumerate(chosen.identities())],
        "promoted": list(item.promoted),
        "suppressed": list(item.suppressed),
    }


def _context(contexts: Contexts, row: int, vocabulary: Vocabulary, groups: tuple[str, ...]) -> dict[str, Any]:
    values = activations(contexts, row)
    fires = bool((values > contexts.levels[row]).any())
    before = [token for token in contexts.left_tokens(row) if token not in vocabulary.special]
    return {
        "groups": list(groups),
        "before": "".join(vocabulary.texts(before)).strip("\ufffd"),
        "tokens": pieces(contexts, row, vocabulary),
        "ids": contexts.tokens[row, : int(contexts.lengths[row])].tolist(),
        "activations": [round(float(value), DIGITS) for value in values.tolist()],
        "peak": int(values.argmax()) if fires else None,
    }


def _groups(contexts: Contexts) -> dict[str, tuple[str, ...]]:
    """Return the samples that each window is in, by its identity."""
    found: dict[str, set[int]] = {}
    for identity, kind in zip(contexts.identities(), contexts.kinds.tolist(), strict=True):
        found.setdefault(identity, set()).add(kind)
    return {identity: tuple(ContextKind(kind).name.lower() for kind in sorted(kinds)) for identity, kinds in found.items()}


def _answer_facts(answer: LabelAnswer) -> dict[str, Any]:
    usage = {"prompt_tokens": answer.usage.prompt_tokens, "completion_tokens": answer.usage.completion_tokens, "is_known": answer.usage.is_known}
    facts = {"calls": [answer.key], "usage": usage, "cost_usd": answer.cost_usd}
    return facts | ({} if answer.details is None else {"details": answer.details})
