"""Asking a language model to list, of 14 windows, those in which a feature fires (Karvonen et al., SAEBench, 2025, automated interpretability)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import CallFailedError
from interp.domain.evidence import ContextKind
from interp.judge.prompts import template
from interp.judge.yes_no import told
from interp.llm.base import Model, Prompt, Schema
from interp.llm.prompt_text import FENCE_RULE, fence, nonce_of
from interp.llm.replies.structured import ask_for, json_object
from interp.score.items.test_items import Questions

TOP, WEIGHTED, SILENT = 2, 2, 10
WINDOWS = TOP + WEIGHTED + SILENT
ROOM = 96
SCHEMA = Schema(
    "selection",
    {
        "type": "object",
        "properties": {"fires": {"type": "array", "items": {"type": "integer"}}},
        "required": ["fires"],
        "additionalProperties": False,
    },
)


@dataclass(frozen=True, slots=True)
class Selected:
    """What one call said: bool [14], or None and why there is no answer."""

    fires: NDArray[np.bool_] | None
    failure: str | None = None


def rounds_of(questions: Questions, most: int | None, seed: int) -> list[NDArray[np.intp]]:
    """As many calls as the windows allow, at most `most`: the rows of each, 14 in shuffled order, no window in two calls.

    Two top windows, two of the activation-weighted sample and ten that are silent: SAEBench draws those at random and takes them for silent, but of a
    feature that fires in a tenth of all windows one in ten is not; these were checked.
    """
    random = np.random.default_rng(seed)
    top = random.permutation(np.flatnonzero(questions.kept[ContextKind.TOP]))
    top = top[np.argsort(questions.kept[ContextKind.WEIGHTED][top], kind="stable")]  # those that could be asked about as weighted ones come last
    weighted = random.permutation(np.flatnonzero(questions.kept[ContextKind.WEIGHTED]))
    silent = random.permutation(np.flatnonzero(questions.kept[ContextKind.INACTIVE]))
    count = min(len(top) // TOP, len(silent) // SILENT, most if most is not None else len(silent))
    while count and len(np.setdiff1d(weighted, top[: TOP * count])) < WEIGHTED * count:
        count -= 1
    weighted = weighted[~np.isin(weighted, top[: TOP * count])]
    parts = zip(_dealt(top, TOP, count), _dealt(weighted, WEIGHTED, count), _dealt(silent, SILENT, count), strict=True)
    return [random.permutation(np.concatenate(part)) for part in parts]


def _dealt(rows: NDArray[np.intp], size: int, count: int) -> list[NDArray[np.intp]]:
    return [rows[size * number : size * (number + 1)] for number in range(count)]


async def select(model: Model, label: str | None, texts: Sequence[str], sample: int = 0) -> Selected:
    """In which of the texts (in the order shown) it fires; `label` None asks without an explanation. Raises JobMustPause."""
    nonce = nonce_of([label or "", *texts])
    source = template("select")
    shown = fence([(str(number), text) for number, text in enumerate(texts, start=1)], nonce)
    prompt = Prompt(
        messages=source.messages(fence_rule=FENCE_RULE, explanation=told(label, nonce), contexts=shown),
        template=source.title,
        typical='{"fires": [2, 5, 9, 12]}',
        max_tokens=ROOM,
        schema=SCHEMA,
        sample=sample,
    )
    try:
        read = await ask_for(model, prompt, lambda text: listed(text, len(texts)))
    except CallFailedError as error:
        return Selected(None, str(error))
    return Selected(read.value)


def listed(text: str, count: int) -> NDArray[np.bool_]:
    """bool [count] from the numbers of a reply. Raises ValueError where it is no list of numbers of texts."""
    reply: dict[str, Any] = json_object(text)
    numbers = reply.get("fires")
    if not isinstance(numbers, list):
        raise ValueError('it has no list under "fires"')
    fires = np.zeros(count, dtype=np.bool_)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= count:
            raise ValueError(f"it lists {json.dumps(number)[:60]}, and the texts are numbered 1 to {count}")
        fires[number - 1] = True
    return fires
