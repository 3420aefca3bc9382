"""Ask a language model in which windows a feature fires (Karvonen et al., SAEBench, 2025)."""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import CallFailedError
from interp.domain.spec import PromptOrder
from interp.judge.batch import failed_verdict
from interp.judge.prompts import in_order, question
from interp.judge.verdicts import Verdict
from interp.llm.base import Model, Schema
from interp.llm.prompt_text import nonce_of, nonce_of_first
from interp.llm.replies.structured import ask_for, json_object

SELECT = "select"
MAX_TOKENS = 96
SCHEMA = Schema.of("selection", {"fires": {"type": "array", "items": {"type": "integer"}}})


async def select(
    model: Model, label: str | None, texts: Sequence[str], order: PromptOrder, sample: int = 0, wording: str | None = None
) -> Verdict[NDArray[np.bool_]]:
    """Return in which of N texts the feature fires, bool [N]. Raises JobPausedError."""
    nonce = nonce_of_first(texts, label or "") if order == "windows_first" else nonce_of([label or "", *texts])
    prompt = question(SELECT, label, in_order(texts), nonce, '{"fires": [2, 5, 9, 12]}', MAX_TOKENS, SCHEMA, 0, sample, order, wording)
    try:
        read = await ask_for(model, prompt, lambda text: listed(text, len(texts)))
    except CallFailedError as error:
        return failed_verdict(error)
    return Verdict.answered(read.value, key=read.reply.key)


def listed(text: str, count: int) -> NDArray[np.bool_]:
    """Return bool [count] from a reply's numbers. Raises ValueError on an invalid list."""
    numbers = json_object(text).get("fires")
    if not isinstance(numbers, list):
        raise ValueError('it has no list under "fires"')
    fires = np.zeros(count, dtype=np.bool_)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= count:
            raise ValueError(f"it lists {json.dumps(number)[:60]}, and the texts are numbered 1 to {count}")
        fires[number - 1] = True
    return fires
