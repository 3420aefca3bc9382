"""Asking a language model how strongly a feature fires at each token of a window (Bills et al., Language models can explain neurons, 2023)."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import CallFailedError
from interp.domain.evidence import Contexts
from interp.domain.vocabulary import Vocabulary
from interp.judge.bisect import answered
from interp.judge.incomplete_replies import complete_once
from interp.judge.prompts import template
from interp.judge.yes_no import told
from interp.llm.base import Ability, Model, Prompt, Reply, Schema, TokenChoice
from interp.llm.gather import gather_all
from interp.llm.prompt_text import FENCE_RULE, escaped, fence, left_text, nonce_of, numbered, pieces
from interp.llm.replies.structured import ask_for, json_object

Floats = NDArray[np.float32]

HIGHEST = 10
LEVELS = {str(level): level for level in range(HIGHEST + 1)}
# As many alternatives as there are levels, and a few for what else a model may want to write there.
ALTERNATIVES = 15

_LINE = re.compile(r"^[ ]*(\d+)[\t :]+(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The content tokens of one window: `strings` [n] join to its text, `columns` intp [n] are their places in it, `before` is its left context."""

    strings: tuple[str, ...]
    columns: NDArray[np.intp]
    before: str = ""

    def __len__(self) -> int:
        return len(self.strings)


@dataclass(frozen=True, slots=True)
class Levels:
    """What a model said of one window: levels from 0 to 10, float32 [n], or None and why there are none."""

    values: Floats | None
    failure: str | None = None


def tokens_of(contexts: Contexts, vocabulary: Vocabulary) -> list[Tokens]:
    """One a window; special tokens are not asked about."""
    found = []
    for row in range(len(contexts)):
        ids = contexts.tokens[row, : int(contexts.lengths[row])]
        columns = np.flatnonzero(~np.isin(ids, list(vocabulary.special)))
        strings = pieces(contexts, row, vocabulary)
        found.append(Tokens(tuple(strings[column] for column in columns), columns, left_text(contexts, row, vocabulary)))
    return found


async def simulate(model: Model, label: str | None, windows: Sequence[Tokens], prompts: Sequence[Sequence[int]], sample: int = 0) -> list[Levels]:
    """The levels of each window, in order; `label` None asks without an explanation. `prompts` says which windows share a prompt, by place.
    Raises JobMustPause.

    Where the model is known to give log-probabilities one window a prompt is asked about, and a level is its expectation over the digits that the
    model weighed; else `prompts` are asked in JSON. What a reply leaves out is asked about again alone, and a prompt that fails by halves.
    """
    alone = [[place] for prompt in prompts for place in prompt]
    ask, dealt = (_ask_levels, alone) if Ability.LOGPROBS in model.abilities else (_ask_pairs, prompts)
    answers = await gather_all(ask(model, label, [windows[place] for place in prompt], sample) for prompt in dealt)
    found = {place: levels for prompt, part in zip(dealt, answers, strict=True) for place, levels in zip(prompt, part, strict=True)}
    return [found[place] for place in range(len(windows))]


def form_of(model: Model) -> str:
    """Title of the template that `simulate` uses."""
    return template("simulate_levels" if Ability.LOGPROBS in model.abilities else "simulate").title


def expected_level(alternatives: Iterable[tuple[str, float]]) -> float | None:
    """Mean level over (token, natural log-probability) pairs, each level weighted by its probability; what is no level from 0 to 10 is left out and
    the rest made to add up to 1. None where no level is among them. Source: Bills et al. (2023), the expectation over the predicted digits."""
    weights = [(LEVELS[token.strip()], math.exp(logprob)) for token, logprob in alternatives if token.strip() in LEVELS]
    whole = sum(weight for _, weight in weights)
    return sum(level * weight for level, weight in weights) / whole if whole > 0 else None


async def _ask_pairs(model: Model, label: str | None, windows: Sequence[Tokens], sample: int) -> list[Levels]:
    """The JSON form."""

    async def once(part: Sequence[Tokens]) -> list[Levels] | CallFailedError:
        return await _ask_once(model, label, part, sample)

    return await answered(once, windows, lambda error: Levels(None, str(error)))


async def _ask_once(model: Model, label: str | None, windows: Sequence[Tokens], sample: int) -> list[Levels] | CallFailedError:
    """One prompt. A reply that leaves many windows out is asked for them once more; those still left out follow, each in a prompt of its own."""
    sizes = [len(window) for window in windows]
    schema = Schema("simulation", _schema(len(windows)))
    prompt = _prompt("simulate", label, windows, _typical_pairs(windows), sum(32 + 4 * size for size in sizes), sample, schema)
    try:
        read = await ask_for(model, prompt, complete_once(lambda text: pairs_of(text, sizes), _left_out))
    except CallFailedError as error:
        return error
    found = _merged(read.replies, sizes)
    left_out = _left_out(found)
    alone = await gather_all(_ask_pairs(model, label, [windows[number - 1]], sample) for number in left_out)
    again = {number: levels for number, (levels,) in zip(left_out, alone, strict=True)}
    return [again[number] if values is None else Levels(values) for number, values in enumerate(found, start=1)]


def _left_out(found: Sequence[Floats | None]) -> list[int]:
    return [number for number, values in enumerate(found, start=1) if values is None]


def _merged(replies: Sequence[Reply], sizes: Sequence[int]) -> list[Floats | None]:
    """The levels of each window from the last reply that has them: a repair need not repeat what was read before."""
    found: list[Floats | None] = [None] * len(sizes)
    for reply in replies:
        try:
            said = pairs_of(reply.text, sizes) if reply.finish == "stop" else found
        except ValueError:
            continue
        found = [before if values is None else values for before, values in zip(found, said, strict=True)]
    return found


async def _ask_levels(model: Model, label: str | None, windows: Sequence[Tokens], sample: int) -> list[Levels]:
    """The log-prob form, of one window."""
    (window,) = windows
    typical = "\n".join(f"{number}\t0" for number in range(1, len(window) + 1))
    prompt = _prompt("simulate_levels", label, windows, typical, 32 + 6 * len(window), sample)
    try:
        read = await ask_for(model, prompt, lambda text: written_levels(text, len(window)))
    except CallFailedError as error:
        return [Levels(None, str(error))]
    return [Levels(expected_levels(read.reply, read.value))]


def pairs_of(text: str, sizes: Sequence[int]) -> list[Floats | None]:
    """float32 [n] for each window of n = sizes[i] tokens from a JSON reply; None for one that is left out or cannot be read.

    Raises ValueError where none can, with what is wrong with the first.
    """
    reply = json_object(text)
    found: list[Floats | None] = []
    wrong = ""
    for place, size in enumerate(sizes, start=1):
        try:
            found.append(_pairs(reply, str(place), size))
        except ValueError as error:
            found.append(None)
            wrong = wrong or str(error)
    if all(values is None for values in found):
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
        if token != int(token) or not 1 <= token <= size:
            raise ValueError(f'"{key}" names a token {token}, and there are tokens 1 to {size}')
        if not 0 <= level <= HIGHEST:
            raise ValueError(f'"{key}" has a level {level}, and levels go from 0 to {HIGHEST}')
        values[int(token) - 1] = level
    return values


def written_levels(text: str, count: int) -> Floats:
    """float32 [count]: the levels as a reply in lines `n<TAB>level` writes them. Raises ValueError where one is missing or no level."""
    levels = {int(line[1]): int(line[2]) for line in _LINE.finditer(text)}
    missing = [number for number in range(1, count + 1) if number not in levels]
    if missing:
        raise ValueError(f"it has no line for token {missing[0]} of {count}")
    if any(not 0 <= levels[number] <= HIGHEST for number in range(1, count + 1)):
        raise ValueError(f"it has levels that are not from 0 to {HIGHEST}")
    return np.array([levels[number] for number in range(1, count + 1)], dtype=np.float32)


def expected_levels(reply: Reply, written: Floats) -> Floats:
    """float32 [n]: the expectation at each token; the written level where the reply has no alternatives for it."""
    starts = np.cumsum([0] + [len(choice.token) for choice in reply.choices])
    text = "".join(choice.token for choice in reply.choices)
    levels = written.copy()
    for line in _LINE.finditer(text):
        number = int(line[1])
        if not 1 <= number <= len(levels):
            continue
        place = int(np.searchsorted(starts, line.start(2), side="right")) - 1
        level = expected_level(_weighed(reply.choices, place, line[2]))
        if level is not None:
            levels[number - 1] = level
    return levels


def _weighed(choices: Sequence[TokenChoice], place: int, written: str) -> list[tuple[str, float]]:
    """The alternatives where a level begins. A tokenizer of single digits writes 10 as 1 and 0: then the weight of 1 is shared between both."""
    choice = choices[place]
    pairs = list(dict([(choice.token, choice.logprob), *choice.alternatives]).items())
    if written != "10" or choice.token.strip() != "1" or place + 1 == len(choices):
        return pairs
    after = min(choices[place + 1].logprob, 0.0)
    shared = [(token, logprob) for token, logprob in pairs if token.strip() != "1"]
    one = max(-math.expm1(after), 1e-12)
    return [*shared, ("10", choice.logprob + after), ("1", choice.logprob + math.log(one))]


def _prompt(name: str, label: str | None, windows: Sequence[Tokens], typical: str, room: int, sample: int, schema: Schema | None = None) -> Prompt:
    texts = [(str(number), _lines(window)) for number, window in enumerate(windows, start=1)]
    nonce = nonce_of([label or "", *(text for _, text in texts)])
    source = template(name)
    return Prompt(
        messages=source.messages(fence_rule=FENCE_RULE, explanation=told(label, nonce), contexts=fence(texts, nonce)),
        template=source.title,
        typical=typical,
        max_tokens=room,
        schema=schema,
        top_logprobs=0 if schema else ALTERNATIVES,
        sample=sample,
    )


def _lines(window: Tokens) -> str:
    """The tokens one a line after their numbers; what stands before the window is number 0."""
    before = f"0\t{escaped(window.before)}\n" if window.before else ""
    return before + numbered(window.strings)


def _schema(count: int) -> dict[str, Any]:
    pairs = {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}
    keys = [str(number) for number in range(1, count + 1)]
    return {"type": "object", "properties": dict.fromkeys(keys, pairs), "required": keys, "additionalProperties": False}


def _typical_pairs(windows: Sequence[Tokens]) -> str:
    return json.dumps({str(number): [[1, 8], [len(window), 2]] if len(window) else [] for number, window in enumerate(windows, start=1)})
