"""Ask a language model yes/no questions about windows, several per prompt."""

import json
import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from interp.domain.spec import PromptOrder
from interp.judge.batch import BatchQuestion, ask_prompts
from interp.judge.prompt_packing import prompts_of
from interp.judge.prompts import in_order, question
from interp.judge.verdicts import AnswerStatus, Verdict
from interp.llm.base import Ability, Model, Prompt, Reply, Schema, TokenChoice, token_starts
from interp.llm.prompt_text import nonce_of, nonce_of_first
from interp.llm.replies.structured import json_object

Question = Literal["detect", "fuzz"]

YES, NO, UNSURE = "yes", "no", "unsure"
WORDS = (YES, NO, UNSURE)
ALTERNATIVES = 5
MAX_TOKENS, MAX_TOKENS_PER_WINDOW = 32, 12
# A verdict is the first word of a reply. A reason may follow. "yes or no" and "no doubt" are no verdicts.
_LEADING = re.compile(
    r"[\W_]*(yes|no|unsure)\b(?!['’]|\s*(?:[/|,]|\bor\b|\band\b)\s*(?:yes|no|unsure)\b|\s+(?:doubt|question|idea|wonder)\b)", re.IGNORECASE
)
_VERDICT = re.compile(r'"(\d{1,9})"\s*:\s*"?(yes|no|unsure|true|false)\b', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Window:
    """A text as the judge sees it (`interp.llm.prompt_text.plain` or `mark`).

    Windows of one `group` are spread evenly over prompts and places in them, so that no order reveals a group that is the right answer.
    """

    text: str
    group: int = 0


async def ask_windows(
    model: Model,
    kind: Question,
    label: str | None,
    windows: Sequence[Window],
    seed: int,
    per_prompt: int,
    order: PromptOrder,
    sample: int = 0,
    wording: str | None = None,
) -> list[Verdict[bool]]:
    """Return one verdict per window, in order, as `ask_labels` of one label."""
    return (await ask_labels([(model, label)], kind, windows, seed, per_prompt, order, sample, wording))[0]


async def ask_labels(
    asked: Sequence[tuple[Model, str | None]],
    kind: Question,
    windows: Sequence[Window],
    seed: int,
    per_prompt: int,
    order: PromptOrder,
    sample: int = 0,
    wording: str | None = None,
) -> list[list[Verdict[bool]]]:
    """Return the verdicts [E][N] of E models, each with its label, on N windows.

    Raises JobPausedError. A label of None asks without an explanation; `wording` is a template of the job's. The same windows, seed and `per_prompt`
    give prompts that differ in the label only, so that two labels are judged alike, and all about the same windows go out together. See
    `BatchQuestion.ask` for incomplete replies and failed calls.
    """
    batches = [_batch_of(model, kind, label, order, sample, wording) for model, label in asked]
    return await ask_prompts([batch.ask for batch in batches], windows, prompts_of([window.group for window in windows], per_prompt, seed))


def _batch_of(
    model: Model, kind: Question, label: str | None, order: PromptOrder, sample: int, wording: str | None
) -> BatchQuestion[Window, str, bool]:
    has_odds = Ability.LOGPROBS in model.abilities
    return BatchQuestion(
        model,
        lambda part: prompt_of(kind, label, [window.text for window in part], order, sample, has_odds, wording),
        lambda text, part: words_of(text, len(part)),
        _verdicts,
    )


def prompt_of(
    kind: Question,
    label: str | None,
    texts: Sequence[str],
    order: PromptOrder = "windows_first",
    sample: int = 0,
    with_odds: bool = False,
    wording: str | None = None,
) -> Prompt:
    """Return the question about these texts, numbered from 1 in their order.

    `windows_first` puts the texts before the label, in a fence whose nonce depends on the texts alone: the questions of all labels begin alike.
    """
    count = len(texts)
    nonce = nonce_of_first(texts, label or "") if order == "windows_first" else nonce_of([*texts, label or ""])
    typical = json.dumps(dict.fromkeys(map(str, range(1, count + 1)), NO))
    max_tokens = MAX_TOKENS + MAX_TOKENS_PER_WINDOW * count
    alternatives = ALTERNATIVES if with_odds else 0
    return question(kind, label, in_order(texts), nonce, typical, max_tokens, schema_of(count), alternatives, sample, order, wording)


@cache
def schema_of(count: int) -> Schema:
    """Return the schema of an object with verdicts under 1 to `count`."""
    return Schema.of(f"verdicts_{count}", {str(number): {"type": "string", "enum": list(WORDS)} for number in range(1, count + 1)})


def words_of(text: str, count: int) -> dict[int, str]:
    """Return a reply's readable words by number, 1 to `count`. Raises ValueError without any."""
    found: dict[int, str] = {}
    for name, value in json_object(text).items():
        word = _word(value)
        if name.strip().isdecimal() and 1 <= int(name) <= count and word is not None:
            found[int(name)] = word
    if not found:
        raise ValueError(f'it has no "yes", "no" or "unsure" under any of the numbers 1 to {count}')
    return found


def _word(value: object) -> str | None:
    """Return the word of a value (true, false, or a text's first word), or None."""
    if isinstance(value, str):
        found = _LEADING.match(value)
        return found[1].lower() if found else None
    return (YES if value else NO) if isinstance(value, bool) else None


def _verdicts(words: Mapping[int, str], reply: Reply) -> dict[int, Verdict[bool]]:
    odds = odds_of(reply.choices)
    return {number: _verdict(word, odds.get(number), reply.key) for number, word in words.items()}


def _verdict(word: str, odds: float | None, key: str) -> Verdict[bool]:
    if word == UNSURE:
        return Verdict(AnswerStatus.ABSTAINED, None, odds, key, "The judge is unsure.")
    return Verdict.answered(word == YES, odds, key)


def odds_of(choices: Sequence[TokenChoice]) -> dict[int, float]:
    """Return P(yes) / (P(yes) + P(no)) by number, from each verdict's first token.

    A number is left out where neither word is among the alternatives, or where the reply names it more than once, since then the log-probs are
    ambiguous.
    """
    text = "".join(choice.token for choice in choices)
    places = [(int(match[1]), match.start(2)) for match in _VERDICT.finditer(text)]
    numbers = [number for number, _ in places]
    starts, odds = token_starts(choices), dict[int, float]()
    for number, place in places:
        token = bisect_right(starts, place) - 1
        share = _yes_share(choices[token], text[starts[token] : place])
        if share is not None and numbers.count(number) == 1:
            odds[number] = share
    return odds


def _yes_share(choice: TokenChoice, before: str) -> float | None:
    """Return the share of yes; `before` is the chosen token's part before the word."""
    weights = {YES: 0.0, NO: 0.0}
    alternatives = dict(choice.alternatives)
    alternatives.setdefault(choice.token, choice.logprob)
    for token, logprob in alternatives.items():
        word = token.removeprefix(before).lstrip(' "\n\t').lower()
        for name, others in ((YES, "true"), (NO, "false")):
            # A shorter token may be the beginning of the word. A longer one ends with a quotation mark or a comma.
            if word and any(full.startswith(word) or word.startswith(full) for full in (name, others)):
                weights[name] += math.exp(logprob)
    total = weights[YES] + weights[NO]
    return weights[YES] / total if total > 0 else None
