"""Write the scorers' prompts from their templates."""

from collections.abc import Sequence

from interp.llm import templates
from interp.llm.base import Prompt, Schema
from interp.llm.prompt_text import FENCE_RULE, fence, fence_label

NO_EXPLANATION = "No explanation is given this time. Answer as well as you can without one."


def template(name: str) -> templates.Template:
    """Return a template of `interp/score/templates`."""
    return templates.template("interp.score", name)


def explanation_part(label: str | None, nonce: str) -> str:
    """Return the prompt's part about the tested explanation; None means that there is none."""
    return NO_EXPLANATION if label is None else f"What the feature reacts to:\n{fence_label(label, nonce)}"


def question(
    name: str,
    label: str | None,
    texts: Sequence[tuple[str, str]],
    nonce: str,
    typical: str,
    max_tokens: int,
    schema: Schema | None,
    top_logprobs: int,
    sample: int,
) -> Prompt:
    """Return the prompt of a template about a label and fenced (id, text) pairs."""
    source = template(name)
    messages = source.messages(fence_rule=FENCE_RULE, explanation=explanation_part(label, nonce), contexts=fence(texts, nonce))
    return Prompt(messages, source.title, typical, max_tokens, schema, top_logprobs, sample=sample)


def in_order(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return (id, text) pairs with the numbers from 1."""
    return [(str(number), text) for number, text in enumerate(texts, start=1)]
