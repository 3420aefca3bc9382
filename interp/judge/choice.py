"""One choice among several, put to a language model: which group, which text?"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from interp.domain.errors import CallFailedError
from interp.judge.prompts import template
from interp.judge.yes_no import told
from interp.llm.base import Ability, Model, Prompt, Schema, TokenChoice
from interp.llm.prompt_text import FENCE_RULE, fence, nonce_of
from interp.llm.replies.structured import ask_for, json_object

Kind = Literal["discriminate", "intrude"]
KEYS = {"discriminate": "group", "intrude": "intruder"}
ALTERNATIVES = 10
# A choice is the number that a text begins with; what follows it is a reason.
_LEADING = re.compile(r"[\W_]*([0-9]{1,4})\b(?!\s*(?:[.,/|-]|\bor\b|\band\b)\s*[0-9])")
ROOM = 48


@dataclass(frozen=True, slots=True)
class ChoiceQuestion:
    """One question: texts by id (`3`, or `2.1` for the first of group 2), of which the `answer`, 1 to `options`, is right. `items` are the identities
    of the windows shown, the ones that decide first; `detail` goes with the item."""

    texts: list[tuple[str, str]]
    answer: int
    options: int
    items: str
    kind: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, or None and why. `probability` is what the model gave the right answer, where it shows log-probs."""

    says: int | None
    probability: float | None = None
    key: str | None = None
    failure: str | None = None


async def choose(model: Model, kind: Kind, label: str | None, question: ChoiceQuestion, sample: int = 0) -> Choice:
    """The model's choice; a call that failed is a failure with its reason. `label` None asks without an explanation. Raises JobMustPause."""
    prompt = prompt_of(kind, label, question, sample, Ability.LOGPROBS in model.abilities)
    try:
        read = await ask_for(model, prompt, lambda text: choice_of(text, KEYS[kind], question.options))
    except CallFailedError as error:
        keys = error.details.get("calls") or [None]
        return Choice(None, key=keys[-1], failure=str(error))
    return Choice(read.value, weight_of(read.reply.choices, KEYS[kind], question.answer, question.options), read.reply.key)


def prompt_of(kind: Kind, label: str | None, question: ChoiceQuestion, sample: int = 0, with_odds: bool = False) -> Prompt:
    wording = template(kind)
    nonce = nonce_of([text for _, text in question.texts] + [label or ""])
    values = {"fence_rule": FENCE_RULE, "contexts": fence(question.texts, nonce)}
    if kind == "discriminate":
        values["explanation"] = told(label, nonce)
    return Prompt(
        messages=wording.messages(**values),
        template=wording.title,
        typical=json.dumps({KEYS[kind]: 1}),
        max_tokens=ROOM,
        schema=_schema(KEYS[kind], question.options),
        top_logprobs=ALTERNATIVES if with_odds else 0,
        sample=sample,
    )


def choice_of(text: str, key: str, options: int) -> int:
    """The number under `key`, 1 to `options`. Raises ValueError where there is none."""
    value = json_object(text).get(key)
    if isinstance(value, str) and (leading := _LEADING.match(value)) is not None:
        value = int(leading[1])
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= options:
        raise ValueError(f'it has no number from 1 to {options} under "{key}"')
    return value


def weight_of(choices: Sequence[TokenChoice], key: str, answer: int, options: int) -> float | None:
    """The answer's share of the probability that the model gave the numbers 1 to `options` where it wrote one; None without log-probs for any."""
    text = "".join(choice.token for choice in choices)
    found = list(re.finditer(rf'"{key}"\s*:\s*"?(\d)', text))
    if not found:
        return None
    place, end = found[-1].start(1), 0
    for choice in choices:
        start, end = end, end + len(choice.token)
        if end > place:
            break
    weights = [0.0] * (options + 1)
    for token, logprob in {choice.token: choice.logprob, **dict(choice.alternatives)}.items():
        number = re.sub(r"\D", "", token.removeprefix(text[start:place]))
        if number and int(number) <= options:
            weights[int(number)] += math.exp(logprob)
    total = sum(weights[1:])
    return weights[answer] / total if total > 0 else None


@cache
def _schema(key: str, options: int) -> Schema:
    properties = {key: {"type": "integer", "enum": list(range(1, options + 1))}}
    return Schema(f"{key}_of_{options}", {"type": "object", "properties": properties, "required": [key], "additionalProperties": False})
