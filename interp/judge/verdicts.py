"""Yes, no and unsure out of a reply: the schema that asks for them, the words, and the odds that the model gave them."""

import math
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from interp.llm.base import Schema, TokenChoice
from interp.llm.replies.structured import json_object

YES, NO, UNSURE = "yes", "no", "unsure"
WORDS = (YES, NO, UNSURE)
# A verdict is the word that a reply begins with; what follows it is a reason. "yes or no" and "no doubt" are no verdicts.
_LEADING = re.compile(
    r"[\W_]*(yes|no|unsure)\b(?!['’]|\s*(?:[/|,]|\bor\b|\band\b)\s*(?:yes|no|unsure)\b|\s+(?:doubt|question|idea|wonder)\b)", re.IGNORECASE
)
_VERDICT = re.compile(r'"(\d+)"\s*:\s*"?(yes|no|unsure|true|false)\b', re.IGNORECASE)


@cache
def schema_of(count: int) -> Schema:
    """An object with one verdict under each of the numbers 1..count."""
    numbers = [str(number) for number in range(1, count + 1)]
    properties: dict[str, Any] = {number: {"type": "string", "enum": list(WORDS)} for number in numbers}
    return Schema(f"verdicts_{count}", {"type": "object", "properties": properties, "required": numbers, "additionalProperties": False})


def verdicts_of(text: str, count: int) -> dict[int, str]:
    """The readable verdicts of a reply by number, of 1..count; what else it holds is passed over. Raises ValueError where there is none at all."""
    found: dict[int, str] = {}
    for name, value in json_object(text).items():
        word = _word(value)
        if name.strip().isdecimal() and 1 <= int(name) <= count and word is not None:
            found[int(name)] = word
    if not found:
        raise ValueError(f'it has no "yes", "no" or "unsure" under any of the numbers 1 to {count}')
    return found


def _word(value: object) -> str | None:
    """The verdict of a value: true, false, or a text that begins with one of the words; None for anything else."""
    if isinstance(value, str):
        if value in WORDS:
            return value
        found = _LEADING.match(value)
        return found[1].lower() if found else None
    return (YES if value else NO) if isinstance(value, bool) else None


def odds_of(choices: Sequence[TokenChoice], count: int) -> dict[int, float]:
    """P(yes) / (P(yes) + P(no)) by number, from the alternatives of the token with which each verdict begins.

    A number is left out where neither word is among the alternatives, or where the reply names it more than once: which of them counts, its
    log-probs cannot say.
    """
    text = "".join(choice.token for choice in choices)
    places = [(int(match[1]), match.start(2)) for match in _VERDICT.finditer(text)]
    numbers = [number for number, _ in places]
    starts = [0]
    for choice in choices:
        starts.append(starts[-1] + len(choice.token))
    odds: dict[int, float] = {}
    for number, place in places:
        token = next(index for index in range(len(choices)) if starts[index + 1] > place)
        share = _yes_share(choices[token], text[starts[token] : place])
        if share is not None and 1 <= number <= count and numbers.count(number) == 1:
            odds[number] = share
    return odds


def _yes_share(choice: TokenChoice, before: str) -> float | None:
    """`before` is what the chosen token holds ahead of the word (a quotation mark, a blank): an alternative may hold more or less of it."""
    weights = {YES: 0.0, NO: 0.0}
    alternatives = dict(choice.alternatives)
    alternatives.setdefault(choice.token, choice.logprob)
    for token, logprob in alternatives.items():
        word = token.removeprefix(before).lstrip(' "\n\t').lower()
        for name, others in ((YES, "true"), (NO, "false")):
            # A shorter token may be the beginning of the word; a longer one ends it with a quotation mark, a comma.
            if word and any(full.startswith(word) or word.startswith(full) for full in (name, others)):
                weights[name] += math.exp(logprob)
    total = weights[YES] + weights[NO]
    return weights[YES] / total if total > 0 else None
