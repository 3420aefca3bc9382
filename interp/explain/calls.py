"""One question for a label, asked; and what all explainers that ask a language model share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from interp.domain.errors import CallFailedError
from interp.domain.explanation import Explanation
from interp.domain.spec import ExplainerSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainContext, ExplainerInput
from interp.explain.label import LONGEST, Said, read_label, schema, typical
from interp.llm.base import Ability, Message, Model, Prompt, Reply
from interp.llm.prompt_text import FENCE_RULE
from interp.llm.replies.structured import ask_for
from interp.llm.templates import Template, filled, template

PACKAGE = "interp.explain"

# Room for a reply, in tokens; a reply that needs more gets more (`interp.llm.replies.structured`).
ROOM, ROOM_TO_THINK = 200, 1000


@dataclass(frozen=True, slots=True)
class LabelPrompt:
    """A prompt that asks for a label, and the identities of the contexts that it shows."""

    prompt: Prompt
    contexts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelResult:
    """What came of one question. Exactly one of `label` and `failure` is set; `calls` are the keys of all calls made for it."""

    question: LabelPrompt
    label: str | None
    failure: str | None
    calls: tuple[str, ...]
    replies: tuple[Reply, ...] = ()


class LabelPrompter(Protocol):
    """What a failure or an explanation needs to know of its explainer."""

    name: str
    version: int
    spec: ExplainerSpec


class OneCall:
    """An explainer that asks one question. `question` is pure, so that `best_of` and `refine` can build on it."""

    name: str
    version: int
    needs: frozenset[Ability] = frozenset()

    def __init__(self, spec: ExplainerSpec) -> None:
        self.spec = spec

    def obstacle(self, item: ExplainerInput) -> str | None:
        """Why there is nothing to ask; None where there is."""
        return nothing_to_show(item)

    def question(self, item: ExplainerInput, vocabulary: Vocabulary, seed: int) -> LabelPrompt:
        """The question, deterministic in its arguments. `obstacle` must be None."""
        raise NotImplementedError

    async def explain(self, item: ExplainerInput, desk: ExplainContext) -> Explanation:
        """The explanation, or the reason why there is none. Raises JobMustPause."""
        if (why := self.obstacle(item)) is not None:
            return failed(self, item, desk, why)
        asked = await ask(desk.model, self.question(item, desk.vocabulary, desk.seed))
        return explained(self, item, desk, asked, [asked])


def nothing_to_show(item: ExplainerInput) -> str | None:
    """Why a feature cannot be explained from contexts, whoever explains it; None where it can."""
    if item.is_dead:
        return "The feature never fired on the corpus."
    if not item.contexts.fires().any():
        return "The feature fires in no explain context, so there is nothing to explain it from."
    return None


def prompt_of(name: str, spec: ExplainerSpec, **values: str) -> Prompt:
    """A template of this package as a question for a label. The texts among `values` must be fenced."""
    chosen = template(PACKAGE, name)
    return label_prompt(chosen, spec, chosen.messages(fence_rule=FENCE_RULE, answer=answer_rule(spec), **values))


def label_prompt(chosen: Template, spec: ExplainerSpec, messages: tuple[Message, ...]) -> Prompt:
    """Messages that end by asking for a label."""
    room = ROOM_TO_THINK if spec.reasoning else ROOM
    return Prompt(messages, chosen.title, typical(spec.reasoning), room, schema(spec.reasoning))


def answer_rule(spec: ExplainerSpec) -> str:
    """How the answer is to be written."""
    return filled(template(PACKAGE, "answer").part("reasoning" if spec.reasoning else "plain"), {})


async def ask(model: Model, question: LabelPrompt, longest: int = LONGEST) -> LabelResult:
    """The label, or why there is none. Raises JobMustPause."""

    def parse(text: str) -> Said:
        return read_label(text, question.prompt.messages, longest)

    try:
        read = await ask_for(model, question.prompt, parse)
    except CallFailedError as error:
        return LabelResult(question, None, str(error), tuple(error.details.get("calls", ())))
    said = read.value
    failure = None if said.label is not None else f"The model has no explanation to give: it answered {said.words!r}."
    return LabelResult(question, said.label, failure, tuple(read.calls), read.replies)


def explained(
    explainer: LabelPrompter, item: ExplainerInput, desk: ExplainContext, winner: LabelResult, all_asked: Sequence[LabelResult], **more: Any
) -> Explanation:
    """The winning answer with the provenance of all that was asked on the way to it."""
    prompt = winner.question.prompt
    kept = {"template": prompt.template, "prompt_digest": prompt.digest, "contexts": list(winner.question.contexts)}
    return Explanation(item.feature, explainer.name, winner.label, winner.failure, provenance=provenance(explainer, desk, all_asked) | kept | more)


def failed(
    explainer: LabelPrompter, item: ExplainerInput, desk: ExplainContext, why: str, all_asked: Sequence[LabelResult] = (), **more: Any
) -> Explanation:
    """No explanation, with the reason and what was asked before it was clear."""
    return Explanation(item.feature, explainer.name, text=None, failure=why, provenance=provenance(explainer, desk, all_asked) | more)


def provenance(explainer: LabelPrompter, desk: ExplainContext, asked: Sequence[LabelResult]) -> dict[str, Any]:
    """Who was asked, with what settings, and what it cost: `cost_usd` is None where any price is unknown.

    Usage and cost count the replies that were read; those of a question that failed stand with its calls in the book.
    """
    replies = [reply for each in asked for reply in each.replies]
    costs = [reply.cost_usd for reply in replies]
    return {
        "version": explainer.version,
        "settings": explainer.spec.options(),
        "seed": desk.seed,
        "model": desk.model.provenance,
        "calls": [key for each in asked for key in each.calls],
        "usage": {
            "prompt_tokens": sum(reply.usage.prompt_tokens for reply in replies),
            "completion_tokens": sum(reply.usage.completion_tokens for reply in replies),
            "is_known": all(reply.usage.is_known for reply in replies),
        },
        "cost_usd": None if any(cost is None for cost in costs) else sum(cost for cost in costs if cost is not None),
    }
