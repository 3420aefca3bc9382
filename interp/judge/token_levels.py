"""Ask for levels per token (Bills et al., Language models can explain neurons, 2023)."""

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import CallFailedError
from interp.domain.evidence import Contexts
from interp.domain.spec import PromptOrder
from interp.domain.vocabulary import Vocabulary
from interp.judge.batch import BatchQuestion, ask_prompts, failed_verdict
from interp.judge.prompts import in_order, question, template
from interp.judge.verdicts import Verdict
from interp.llm.base import Ability, Model, Prompt, Reply, Schema, TokenChoice, token_starts
from interp.llm.prompt_text import escaped, left_text, nonce_of, nonce_of_first, numbered, pieces
from interp.llm.replies.structured import ask_for, json_object

Floats = NDArray[np.float32]

HIGHEST = 10
LEVELS = {str(level): level for level in range(HIGHEST + 1)}
# As many alternatives as there are levels, and a few for other tokens.
ALTERNATIVES = 15

_LINE = re.compile(r"^[ ]*(\d{1,9})[\t :]+(\d{1,9})", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The content tokens of one window.

    `strings` [n] join to its text, `columns` intp [n] are their places in it, `before` is its left context.
    """

    strings: tuple[str, ...]
    columns: NDArray[np.intp]
    before: str = ""

    def __len__(self) -> int:
        return len(self.strings)


def tokens_of(contexts: Contexts, vocabulary: Vocabulary) -> list[Tokens]:
    """Return the tokens of each window without the special ones."""
    found = []
    for row in range(len(contexts)):
        ids = contexts.tokens[row, : int(contexts.lengths[row])]
        columns = np.flatnonzero(~np.isin(ids, list(vocabulary.special)))
        strings = pieces(contexts, row, vocabulary)
        found.append(Tokens(tuple(strings[column] for column in columns), columns, left_text(contexts, row, vocabulary)))
    return found


async def simulate(
    asked: Sequence[tuple[Model, str | None]],
    windows: Sequence[Tokens],
    prompts: Sequence[Sequence[int]],
    order: PromptOrder = "windows_first",
    sample: int = 0,
) -> list[list[Verdict[Floats]]]:
    """Return the levels [E][N] by E models with labels, float32 [n] from 0 to 10.

    Raises JobPausedError. The models have the same abilities. A label of None asks without an explanation. `prompts` lists the places of the windows
    that share a prompt. Where the models give log-probabilities, each window has its own prompt, and a level is the expectation over the digits. Else
    the reply is JSON; see `BatchQuestion.ask` for incomplete replies.
    """
    if any(Ability.LOGPROBS in model.abilities for model, _ in asked):
        alone = [[place] for prompt in prompts for place in prompt]
        return await ask_prompts([partial(_ask_levels, model, label, order, sample) for model, label in asked], windows, alone)
    return await ask_prompts([_batch_of(model, label, order, sample).ask for model, label in asked], windows, prompts)


def _batch_of(model: Model, label: str | None, order: PromptOrder, sample: int) -> BatchQuestion[Tokens, Floats, Floats]:
    return BatchQuestion(
        model,
        lambda part: _pairs_prompt(label, part, order, sample),
        lambda text, part: pairs_of(text, [len(window) for window in part]),
        lambda levels, reply: {number: Verdict.answered(values, key=reply.key) for number, values in levels.items()},
    )


def template_of(model: Model, order: PromptOrder) -> str:
    """Return the title of the template that `simulate` uses."""
    return template("simulate_levels" if Ability.LOGPROBS in model.abilities else "simulate", order).title


async def _ask_levels(model: Model, label: str | None, order: PromptOrder, sample: int, windows: Sequence[Tokens]) -> list[Verdict[Floats]]:
    """Return the levels of one window from a line per token, with log-probabilities."""
    (window,) = windows
    typical = "\n".join(f"{number}\t0" for number in range(1, len(window) + 1))
    prompt = _prompt("simulate_levels", label, windows, typical, 32 + 6 * len(window), order, sample)
    try:
        read = await ask_for(model, prompt, lambda text: written_levels(text, len(window)))
    except CallFailedError as error:
        return [failed_verdict(error)]
    return [Verdict.answered(expected_levels(read.reply, read.value), key=read.reply.key)]


def _pairs_prompt(label: str | None, windows: Sequence[Tokens], order: PromptOrder, sample: int) -> Prompt:
    numbers = range(1, len(windows) + 1)
    typical = json.dumps({str(number): [[1, 8], [len(window), 2]] if len(window) else [] for number, window in zip(numbers, windows, strict=True)})
    max_tokens = sum(32 + 4 * len(window) for window in windows)
    pairs = {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}
    schema = Schema.of("simulation", dict.fromkeys(map(str, numbers), pairs))
    return _prompt("simulate", label, windows, typical, max_tokens, order, sample, schema)


def _prompt(
    name: str,
    label: str | None,
    windows: Sequence[Tokens],
    typical: str,
    max_tokens: int,
    order: PromptOrder,
    sample: int,
    schema: Schema | None = None,
) -> Prompt:
    texts = [_lines(window) for window in windows]
    nonce = nonce_of_first(texts, label or "") if order == "windows_first" else nonce_of([label or "", *texts])
    return question(name, label, in_order(texts), nonce, typical, max_tokens, schema, 0 if schema else ALTERNATIVES, sample, order)


def _lines(window: Tokens) -> str:
    """Return a numbered line per token; the text before the window is number 0."""
    before = f"0\t{escaped(window.before)}\n" if window.before else ""
    return before + numbered(window.strings)


def pairs_of(text: str, sizes: Sequence[int]) -> dict[int, Floats]:
    """Return the levels of each window by number from a JSON reply, float32 [n].

    n is sizes[number - 1]. A missing or unreadable window is left out. Raises ValueError where none is readable, with the first fault.
    """
    reply = json_object(text)
    found: dict[int, Floats] = {}
    wrong = ""
    for number, size in enumerate(sizes, start=1):
        try:
            found[number] = _pairs(reply, str(number), size)
        except ValueError as error:
            wrong = wrong or str(error)
    if not found:
        raise ValueError(wrong)
    return found


def _pairs(reply: dict[str, Any], key: str, size: int) -> Floats:
    if key not in reply:
        raise ValueError(f'it has no key "{key}"')
    values = np.zeros(size, dtype=np.float32)
    pairs = reply[key]
    if not isinstance(pairs, list):
        raise ValueError(f'what stands under "{key}" is no list')
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or any(isinstance(part, bool) or not isinstance(part, int | float) for part in pair):
            raise ValueError(f'"{key}" holds {json.dumps(pair)[:60]}, which is no pair of two numbers')
        token, level = pair
        if not 1 <= token <= size or token != int(token):
            raise ValueError(f'"{key}" names a token {token}, and there are tokens 1 to {size}')
        if not 0 <= level <= HIGHEST:
            raise ValueError(f'"{key}" has a level {level}, and levels go from 0 to {HIGHEST}')
        values[int(token) - 1] = level
    return values


def written_levels(text: str, count: int) -> Floats:
    """Return the levels of lines `n<TAB>level`, float32 [count]. Raises ValueError on missing or invalid levels."""
    levels = {int(line[1]): int(line[2]) for line in _LINE.finditer(text)}
    missing = [number for number in range(1, count + 1) if number not in levels]
    if missing:
        raise ValueError(f"it has no line for token {missing[0]} of {count}")
    if any(not 0 <= levels[number] <= HIGHEST for number in range(1, count + 1)):
        raise ValueError(f"it has levels that are not from 0 to {HIGHEST}")
    return np.array([levels[number] for number in range(1, count + 1)], dtype=np.float32)


def expected_level(alternatives: Iterable[tuple[str, float]]) -> float | None:
    """Return the mean level of (token, natural log-probability) pairs; None without a level.

    Each level is weighted by its probability. Tokens that are no level from 0 to 10 are left out, and the rest are scaled to a sum of 1. Source:
    Bills et al. (2023), the expectation over the predicted digits.
    """
    weights = [(LEVELS[token.strip()], math.exp(logprob)) for token, logprob in alternatives if token.strip() in LEVELS]
    whole = sum(weight for _, weight in weights)
    return sum(level * weight for level, weight in weights) / whole if whole > 0 else None


def expected_levels(reply: Reply, written: Floats) -> Floats:
    """Return the expectation at each token, float32 [n], or the written level without alternatives."""
    text = "".join(choice.token for choice in reply.choices)
    levels, starts = written.copy(), token_starts(reply.choices)
    for line in _LINE.finditer(text):
        number = int(line[1])
        if not 1 <= number <= len(levels):
            continue
        place = bisect_right(starts, line.start(2)) - 1
        level = expected_level(_weighed(reply.choices, place, line[2]))
        if level is not None:
            levels[number - 1] = level
    return levels


def _weighed(choices: Sequence[TokenChoice], place: int, written: str) -> list[tuple[str, float]]:
    """Return the alternatives where a level begins.

    A tokenizer of single digits writes 10 as 1 and 0. Then the weight of 1 is shared between both.
    """
    choice = choices[place]
    pairs = list(dict([(choice.token, choice.logprob), *choice.alternatives]).items())
    if written != "10" or choice.token.strip() != "1" or place + 1 == len(choices):
        return pairs
    after = min(choices[place + 1].logprob, 0.0)
    shared = [(token, logprob) for token, logprob in pairs if token.strip() != "1"]
    one = max(-math.expm1(after), 1e-12)
    return [*shared, ("10", choice.logprob + after), ("1", choice.logprob + math.log(one))]
