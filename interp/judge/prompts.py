"""Write the scorers' prompts from their templates."""

import hashlib
from collections.abc import Sequence

from interp.domain.spec import PromptOrder
from interp.llm import templates
from interp.llm.base import Prompt, Schema
from interp.llm.own_templates import own_template
from interp.llm.prompt_text import FENCE_RULE, fence, fence_label

NO_EXPLANATION = "No explanation is given this time. Answer as well as you can without one."

# The templates that show the label first, as all did before there was another order.
LABEL_FIRST_FOLDER = "label_first/"
PREFIX_DIGITS = 32


def template(name: str, order: PromptOrder | None = None) -> templates.Template:
    """Return a template of `interp/score/templates`, in an order where it has two."""
    return templates.template("interp.score", f"{LABEL_FIRST_FOLDER if order == 'label_first' else ''}{name}")


def template_of(name: str, wording: str | None, order: PromptOrder | None = None, scorer: str = "") -> templates.Template:
    """Return a template, or the job's wording in its place; raises InputError."""
    if wording is None:
        return template(name, order)
    return own_template(wording, template(name), f"The prompt of the scorer {scorer or name!r}")


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
    order: PromptOrder | None = None,
    wording: str | None = None,
) -> Prompt:
    """Return the prompt about a label and fenced (id, text) pairs.

    `name` is its template, `wording` one of the job's in its place. With the windows first its `prefix` names what all prompts about these windows
    begin with, for a nonce of the windows (`nonce_of_first`).
    """
    source, contexts = template_of(name, wording, order), fence(texts, nonce)
    answer = dict(template(name).parts).get("answer", "")
    messages = source.messages(fence_rule=FENCE_RULE, answer=answer, explanation=explanation_part(label, nonce), contexts=contexts)
    prefix = _digest(source.title, contexts) if order == "windows_first" and _is_label_last(source) else ""
    return Prompt(messages, source.title, typical, max_tokens, schema, top_logprobs, sample=sample, prefix=prefix)


def _is_label_last(source: templates.Template) -> bool:
    """Return whether the texts precede the label; a job's own wording may differ."""
    words = "".join(text for _, text in source.parts)
    return words.find("{{contexts}}") < words.find("{{explanation}}")


def _digest(title: str, contexts: str) -> str:
    return hashlib.sha256(f"{title}\n{contexts}".encode("utf-8", "surrogatepass")).hexdigest()[:PREFIX_DIGITS]


def in_order(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return (id, text) pairs with the numbers from 1."""
    return [(str(number), text) for number, text in enumerate(texts, start=1)]
