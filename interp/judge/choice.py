"""Ask a language model to choose one of several groups or texts."""

import json
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from interp.domain.errors import CallFailedError
from interp.domain.spec import PromptOrder
from interp.judge import prompts
from interp.judge.batch import ask_prompts, failed_verdict
from interp.judge.verdicts import Verdict
from interp.llm.base import Ability, Model, Prompt, Schema, TokenChoice, token_starts
from interp.llm.prompt_text import nonce_of, nonce_of_first
from interp.llm.replies.structured import ask_for, json_object

Kind = Literal["discriminate", "intrude", "output"]
KEYS = {"discriminate": "group", "intrude": "intruder", "output": "shift"}
ALTERNATIVES = 10
MAX_TOKENS = 48
# A choice is the number at the beginning of a text. A reason may follow.
_LEADING = re.compile(r"[\W_]*([0-9]{1,4})\b(?!\s*(?:[.,/|-]|\bor\b|\band\b)\s*[0-9])")


@dataclass(frozen=True, slots=True)
class ChoiceQuestion:
    """A question with several options, of which one is right.

    `texts` are (id, text) pairs; the id is `3`, or `2.1` for the first text of group 2. `answer` is the right option, 1 to `options`. `items` are the
    identities of the deciding windows. `kind` and `detail` are kept in its item.
    """

    texts: list[tuple[str, str]]
    answer: int
    options: int
    items: str
    kind: str
    detail: dict[str, Any] = field(default_factory=dict)


async def choose(
    asked: Sequence[tuple[Model, str | None]],
    kind: Kind,
    questions: Sequence[ChoiceQuestion],
    order: PromptOrder,
    sample: int = 0,
    wording: str | None = None,
) -> list[list[Verdict[int]]]:
    """Return the choices [E][N] of E models, each with its label, in N questions.

    Raises JobPausedError. A label of None asks without an explanation; `wording` is a template of the job's. All about one question go out together.
    """

    def ask_of(model: Model, label: str | None) -> Callable[[Sequence[ChoiceQuestion]], Coroutine[Any, Any, list[Verdict[int]]]]:
        has_odds = Ability.LOGPROBS in model.abilities

        async def ask(part: Sequence[ChoiceQuestion]) -> list[Verdict[int]]:
            return [await _choose(model, kind, question, prompt_of(kind, label, question, order, sample, has_odds, wording)) for question in part]

        return ask

    return await ask_prompts([ask_of(model, label) for model, label in asked], questions, [[place] for place in range(len(questions))])


async def _choose(model: Model, kind: Kind, question: ChoiceQuestion, prompt: Prompt) -> Verdict[int]:
    key, options = KEYS[kind], question.options
    try:
        read = await ask_for(model, prompt, lambda text: choice_of(text, key, options))
    except CallFailedError as error:
        return failed_verdict(error)
    return Verdict.answered(read.value, probability_of(read.reply.choices, key, question.answer, options), read.reply.key)


def prompt_of(
    kind: Kind,
    label: str | None,
    question: ChoiceQuestion,
    order: PromptOrder = "windows_first",
    sample: int = 0,
    with_odds: bool = False,
    wording: str | None = None,
) -> Prompt:
    """Return the prompt of a question; for an intruder without the explanation."""
    texts, own = [text for _, text in question.texts], order_of(kind, order)
    nonce = nonce_of_first(texts, label or "") if own == "windows_first" else nonce_of([*texts, label or ""])
    typical, schema = json.dumps({KEYS[kind]: 1}), _schema(KEYS[kind], question.options)
    return prompts.question(kind, label, question.texts, nonce, typical, MAX_TOKENS, schema, ALTERNATIVES if with_odds else 0, sample, own, wording)


def order_of(kind: Kind, order: PromptOrder) -> PromptOrder | None:
    """Return the order of a question's prompt; None for an intruder's, which has no label."""
    return None if kind == "intrude" else order


def choice_of(text: str, key: str, options: int) -> int:
    """Return the number under `key`, 1 to `options`. Raises ValueError where none is valid."""
    value = json_object(text).get(key)
    if isinstance(value, str) and (leading := _LEADING.match(value)) is not None:
        value = int(leading[1])
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= options:
        raise ValueError(f'it has no number from 1 to {options} under "{key}"')
    return value


def probability_of(choices: Sequence[TokenChoice], key: str, answer: int, options: int) -> float | None:
    """Return the answer's share of the probability of all options; None without log-probs."""
    text = "".join(choice.token for choice in choices)
    found = list(re.finditer(rf'"{key}"\s*:\s*"?(\d)', text))
    if not found:
        return None
    place, starts = found[-1].start(1), token_starts(choices)
    token = bisect_right(starts, place) - 1
    choice = choices[token]
    weights = [0.0] * (options + 1)
    for word, logprob in {choice.token: choice.logprob, **dict(choice.alternatives)}.items():
        number = re.sub(r"\D", "", word.removeprefix(text[starts[token] : place]))
        if 0 < len(number) < 10 and int(number) <= options:
            weights[int(number)] += math.exp(logprob)
    total = sum(weights[1:])
    return weights[answer] / total if total > 0 else None


@cache
def _schema(key: str, options: int) -> Schema:
    return Schema.of(f"{key}_of_{options}", {key: {"type": "integer", "enum": list(range(1, options + 1))}})
