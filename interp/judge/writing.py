"""Have a language model write texts that test a label."""

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from interp.domain.cleaning import lines
from interp.domain.errors import CallFailedError
from interp.judge.prompts import explanation_part, template
from interp.llm.base import Model, Prompt, Schema
from interp.llm.prompt_text import FENCE_RULE, nonce_of
from interp.llm.replies.structured import ask_for, json_object

KINDS = ("fires", "near")
# Characters of a text: what is longer is cut. Tokens that a reply may have for each text.
LONGEST, TOKENS_PER_TEXT = 1000, 90
TYPICAL = "She put the old lamp on the table by the {kind}, and number {number} of the letters lay beside it, unread since morning."


@dataclass(frozen=True, slots=True)
class WrittenTexts:
    """Texts that should make a feature fire if its label is right, and near ones.

    Without texts `failure` says why. `calls` are the keys of the calls.
    """

    fires: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    failure: str | None = None
    calls: tuple[str, ...] = ()


async def write(model: Model, label: str, count: int) -> WrittenTexts:
    """Return up to `count` texts of each kind, at least half as many. Raises JobPausedError."""
    try:
        read = await ask_for(model, prompt_of(label, count), lambda text: texts_of(text, count))
    except CallFailedError as error:
        return WrittenTexts(failure=str(error), calls=tuple(error.details.get("calls", ())))
    fires, near = read.value
    return WrittenTexts(fires, near, calls=tuple(read.calls))


def prompt_of(label: str, count: int) -> Prompt:
    source = template("write")
    messages = source.messages(fence_rule=FENCE_RULE, count=str(count), explanation=explanation_part(label, nonce_of([label])))
    typical = json.dumps({kind: [TYPICAL.format(kind=kind, number=number) for number in range(count)] for kind in KINDS})
    return Prompt(messages, source.title, typical, 2 * count * TOKENS_PER_TEXT, _schema(count))


def texts_of(reply: str, count: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return a reply's distinct texts of both kinds. Raises ValueError where half are missing."""
    answer = json_object(reply)
    fires, near = (_texts(answer.get(kind), kind) for kind in KINDS)
    # A text in both lists tests nothing.
    found = fires, tuple(text for text in near if text not in fires)
    for kind, texts in zip(KINDS, found, strict=True):
        if 2 * len(texts) < count:
            raise ValueError(f'it has {len(texts)} different texts under "{kind}", and {count} are asked for')
    return found[0][:count], found[1][:count]


def _texts(listed: Any, kind: str) -> tuple[str, ...]:
    if not isinstance(listed, list):
        raise ValueError(f'it has no list under "{kind}"')
    texts = (lines(text.encode(errors="replace").decode()[:LONGEST]) for text in listed if isinstance(text, str))
    return tuple(dict.fromkeys(text for text in texts if text.strip()))


@cache
def _schema(count: int) -> Schema:
    texts = {"type": "array", "items": {"type": "string"}}
    return Schema.of(f"texts_{count}", dict.fromkeys(KINDS, texts))
