"""Call a model for a label: prompt, result, and explanation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from interp.domain.errors import CallFailedError
from interp.domain.explanation import Explanation
from interp.domain.spec import ExplainerSpec
from interp.explain.base import ExplainContext, ExplainerInput, LlmExplainer
from interp.explain.label import LONGEST, read_label, schema, typical
from interp.llm.base import Model, Prompt, Reply
from interp.llm.own_templates import own_template
from interp.llm.prompt_text import FENCE_RULE
from interp.llm.replies.structured import ask_for
from interp.llm.templates import Template, filled, template

PACKAGE = "interp.explain"

# Tokens of a reply. A cut reply gets more (`interp.llm.replies.structured`).
MAX_TOKENS, MAX_TOKENS_REASONING = 200, 1000


@dataclass(frozen=True, slots=True)
class LabelPrompt:
    """A prompt for a label, with the identities of the contexts that it shows."""

    prompt: Prompt
    contexts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelResult:
    """The result of one prompt, with either `label` or `failure`, and its `calls`."""

    question: LabelPrompt
    label: str | None
    failure: str | None
    calls: tuple[str, ...]
    replies: tuple[Reply, ...] = ()


def prompt_of(name: str, spec: ExplainerSpec, **values: str) -> Prompt:
    """Return a label prompt from a template and `values`, whose texts must be fenced."""
    chosen = template_of(name, spec)
    messages = chosen.messages(fence_rule=FENCE_RULE, answer=answer_rule(spec), **values)
    return Prompt(messages, chosen.title, typical(spec.reasoning), MAX_TOKENS_REASONING if spec.reasoning else MAX_TOKENS, schema(spec.reasoning))


def template_of(name: str, spec: ExplainerSpec) -> Template:
    """Return an explainer's template, or the job's in its place; raises InputError."""
    builtin = template(PACKAGE, name)
    return builtin if spec.prompt is None else own_template(spec.prompt, builtin, f"The prompt of the explainer {spec.name!r}")


def answer_rule(spec: ExplainerSpec) -> str:
    """Return the instructions for the form of the answer."""
    return filled(template(PACKAGE, "answer").part("reasoning" if spec.reasoning else "plain"), {})


async def ask(model: Model, question: LabelPrompt, longest: int = LONGEST) -> LabelResult:
    """Return the result, a label of at most `longest` characters. Raises JobPausedError."""
    try:
        read = await ask_for(model, question.prompt, lambda text: read_label(text, question.prompt.messages, longest))
    except CallFailedError as error:
        return LabelResult(question, None, str(error), tuple(error.details.get("calls", ())))
    answer = read.value
    failure = None if answer.label is not None else f"The model has no explanation to give: it answered {answer.words!r}."
    return LabelResult(question, answer.label, failure, tuple(read.calls), read.replies)


class Asked(Protocol):
    """A question that was asked, with its calls' keys and the replies read."""

    @property
    def calls(self) -> tuple[str, ...]: ...

    @property
    def replies(self) -> tuple[Reply, ...]: ...


def explained(
    explainer: LlmExplainer, item: ExplainerInput, context: ExplainContext, winner: LabelResult, results: Sequence[Asked], **more: Any
) -> Explanation:
    """Return the winning answer as an explanation, with the provenance of all results."""
    prompt = winner.question.prompt
    shown = {"template": prompt.template, "prompt_digest": prompt.digest, "contexts": list(winner.question.contexts)}
    return Explanation(item.feature, explainer.name, winner.label, winner.failure, provenance=_provenance(explainer, context, results) | shown | more)


def failed(
    explainer: LlmExplainer, item: ExplainerInput, context: ExplainContext, why: str, results: Sequence[Asked] = (), **more: Any
) -> Explanation:
    """Return an explanation without text, with the reason and the results so far."""
    return Explanation(item.feature, explainer.name, text=None, failure=why, provenance=_provenance(explainer, context, results) | more)


def _provenance(explainer: LlmExplainer, context: ExplainContext, results: Sequence[Asked]) -> dict[str, Any]:
    """Return model, settings and cost; `cost_usd` is None where a price is unknown.

    Usage and cost count the replies that were read. Those of a failed prompt are stored with its calls.
    """
    replies = [reply for result in results for reply in result.replies]
    costs = [reply.cost_usd for reply in replies]
    return {
        "version": explainer.version,
        "settings": explainer.spec.options(),
        "seed": context.seed,
        "model": context.model.provenance,
        "calls": [key for result in results for key in result.calls],
        "usage": {
            "prompt_tokens": sum(reply.usage.prompt_tokens for reply in replies),
            "completion_tokens": sum(reply.usage.completion_tokens for reply in replies),
            "is_known": all(reply.usage.is_known for reply in replies),
        },
        "cost_usd": None if any(cost is None for cost in costs) else sum(cost for cost in costs if cost is not None),
    }
