"""Explain contexts that a label was not written from, put to the judge: how `best_of` and `refine` tell a better label from a worse one.

Always documents of the explain split, and others than those that the explainer was shown. What a label reaches here is how it was chosen, and the
winner's figure flatters it (the best of five random labels looks good); its score is measured on the test split, by scorers, like any other's.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Contexts
from interp.explain.base import ExplainContext, ExplainerInput
from interp.explain.choose import Rows, firing, generator, silent, spread
from interp.judge.verdicts import AnswerStatus, Verdict
from interp.judge.yes_no import Window, ask_windows
from interp.llm.base import Model
from interp.llm.prompt_text import plain_after_left
from interp.stats.agreement import Confusion

MOST = 20  # windows of either sort, at most
PER_PROMPT = 10


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Windows to try labels on: `rows` of `contexts`, `fires` bool [n] whether the feature does there."""

    contexts: Contexts
    rows: Rows
    fires: NDArray[np.bool_]

    @property
    def is_enough(self) -> bool:
        """Whether a label can be right and wrong here in both ways."""
        return bool(self.fires.any() and not self.fires.all())

    def identities(self) -> list[str]:
        return self.contexts.select(self.rows).identities()


@dataclass(frozen=True, slots=True)
class Trial:
    """What the judge made of a label on held-out windows. `balanced_accuracy` is None where one sort of window has no answer."""

    label: str
    verdicts: tuple[Verdict[bool], ...]
    balanced_accuracy: float | None
    failure: str | None

    @property
    def calls(self) -> list[str]:
        """Keys of the calls that answered, each once."""
        return list(dict.fromkeys(verdict.key for verdict in self.verdicts if verdict.key is not None))

    def mistakes(self, held_out: HeldOut) -> tuple[list[int], list[int]]:
        """(missed, false alarms): rows of the contexts on which the judge, going by the label, was wrong."""
        wrong: tuple[list[int], list[int]] = ([], [])
        for row, fires, verdict in zip(held_out.rows.tolist(), held_out.fires.tolist(), self.verdicts, strict=True):
            if verdict.status == AnswerStatus.ANSWERED and verdict.value != fires:
                wrong[0 if fires else 1].append(row)
        return wrong


def held_out(item: ExplainerInput, part: NDArray[np.bool_], seed: int) -> HeldOut:
    """The windows of a part (mask [N]) to try labels on: firing ones over all tenths, and silent ones, half of them near misses if possible."""
    contexts, random = item.contexts, generator(item, seed)
    own = [row for row in firing(contexts).tolist() if part[row]]
    others = [row for row in silent(contexts, random).tolist() if part[row]]
    fires = spread(contexts, np.array(own, dtype=np.intp), MOST, random)
    stays = np.array(others[: MOST // 2] + others[::-1][: max(0, min(MOST, len(others)) - MOST // 2)], dtype=np.intp)
    rows = np.concatenate([fires, stays]).astype(np.intp)
    return HeldOut(contexts, rows, np.arange(len(rows)) < len(fires))


async def try_label(judge: Model, label: str, windows: HeldOut, desk: ExplainContext) -> Trial:
    """The judge's verdicts with this label. Any two labels get the same prompts but for the label. Raises JobMustPause."""
    asked = [
        Window(str(row), plain_after_left(windows.contexts, row, desk.vocabulary), int(fires))
        for row, fires in zip(windows.rows.tolist(), windows.fires.tolist(), strict=True)
    ]
    verdicts = await ask_windows(judge, "detect", label, asked, desk.seed, PER_PROMPT)
    answered = np.array([verdict.status == AnswerStatus.ANSWERED for verdict in verdicts], dtype=np.bool_)
    said = np.array([bool(verdict.value) for verdict in verdicts], dtype=np.bool_)
    figure = Confusion.of(windows.fires[answered], said[answered]).balanced_accuracy
    failure = next((verdict.failure for verdict in verdicts if verdict.status != AnswerStatus.ANSWERED), None)
    return Trial(label, tuple(verdicts), figure, failure)


def without(item: ExplainerInput, part: NDArray[np.bool_]) -> ExplainerInput:
    """The feature as its explainer sees it: a part (mask [N]) of the explain contexts."""
    return ExplainerInput(item.feature, item.contexts.select(part), item.promoted, item.suppressed, item.is_dead)
