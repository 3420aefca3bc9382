"""Try labels on held-out explain contexts, for `best_of` and `refine`.

The documents are of the explain split, and not those that the explainer was shown. The winner's figure here is biased upwards (the best of five
random labels looks good). Its score is measured by scorers on the test split, like any other's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Contexts
from interp.domain.spec import PromptOrder
from interp.explain.base import ExplainContext, ExplainerInput
from interp.explain.context_selection import Rows, firing, generator, silent, spread
from interp.explain.label_call import LabelResult
from interp.judge.verdicts import AnswerStatus, Verdict
from interp.judge.yes_no import Window, ask_windows
from interp.llm.base import Model
from interp.llm.gather import gather_all
from interp.llm.prompt_text import plain_after_left
from interp.stats.agreement import yes_no_figures

MOST = 20  # windows of either kind, at most
PER_PROMPT = 10
# As these explainers' labels were chosen before there was another order: they keep their version.
ORDER: PromptOrder = "label_first"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Windows for trials: `rows` of `contexts`, and `fires` bool [n]."""

    contexts: Contexts
    rows: Rows
    fires: NDArray[np.bool_]

    @property
    def is_enough(self) -> bool:
        """Return whether there are windows of both kinds."""
        return bool(self.fires.any() and not self.fires.all())

    def identities(self) -> list[str]:
        return self.contexts.select(self.rows).identities()


@dataclass(frozen=True, slots=True)
class Trial:
    """A label's verdicts; `balanced_accuracy` is None where a kind of window is unanswered."""

    label: str
    verdicts: tuple[Verdict[bool], ...]
    balanced_accuracy: float | None
    failure: str | None

    @property
    def calls(self) -> list[str]:
        """Return the distinct keys of the calls that answered."""
        return list(dict.fromkeys(verdict.key for verdict in self.verdicts if verdict.key is not None))

    def mistakes(self, held_out: HeldOut) -> tuple[list[int], list[int]]:
        """Return (missed, false alarms): context rows with a wrong verdict."""
        wrong: tuple[list[int], list[int]] = ([], [])
        for row, fires, verdict in zip(held_out.rows.tolist(), held_out.fires.tolist(), self.verdicts, strict=True):
            if verdict.status == AnswerStatus.ANSWERED and verdict.value != fires:
                wrong[0 if fires else 1].append(row)
        return wrong


def held_out(item: ExplainerInput, part: NDArray[np.bool_], seed: int) -> HeldOut:
    """Return windows of a part [N]: firing of all tenths, silent, half near misses."""
    contexts, random = item.contexts, generator(item, seed)
    own = [row for row in firing(contexts).tolist() if part[row]]
    others = [row for row in silent(contexts, random).tolist() if part[row]]
    fires = spread(contexts, np.array(own, dtype=np.intp), MOST, random)
    stays = np.array(others[: MOST // 2] + others[::-1][: max(0, min(MOST, len(others)) - MOST // 2)], dtype=np.intp)
    rows = np.concatenate([fires, stays]).astype(np.intp)
    return HeldOut(contexts, rows, np.arange(len(rows)) < len(fires))


async def try_label(judge: Model, label: str, windows: HeldOut, context: ExplainContext) -> Trial:
    """Return a trial of the label, in otherwise equal prompts. Raises JobPausedError."""
    asked = [
        Window(plain_after_left(windows.contexts, row, context.vocabulary), int(fires))
        for row, fires in zip(windows.rows.tolist(), windows.fires.tolist(), strict=True)
    ]
    verdicts = await ask_windows(judge, "detect", label, asked, context.seed, PER_PROMPT, ORDER)
    answered = np.array([verdict.status == AnswerStatus.ANSWERED for verdict in verdicts], dtype=np.bool_)
    says = np.array([bool(verdict.value) for verdict in verdicts], dtype=np.bool_)
    figure = yes_no_figures(windows.fires[answered], says[answered])["balanced_accuracy"]
    failure = next((verdict.failure for verdict in verdicts if verdict.status != AnswerStatus.ANSWERED), None)
    return Trial(label, tuple(verdicts), figure, failure)


async def try_all(results: Sequence[LabelResult], windows: HeldOut, context: ExplainContext) -> dict[str, Trial]:
    """Return a trial of each distinct label. Raises JobPausedError."""
    judge = context.judge.for_purpose("choose")
    labels = dict.fromkeys(result.label for result in results if result.label is not None)
    return {trial.label: trial for trial in await gather_all(try_label(judge, label, windows, context) for label in labels)}


def best_of(results: Sequence[LabelResult], trials: dict[str, Trial]) -> LabelResult | None:
    """Return the result with the best balanced accuracy, the first of equal ones, or None."""
    figures = {label: trial.balanced_accuracy for label, trial in trials.items() if trial.balanced_accuracy is not None}
    tried = [(figures[result.label], result) for result in results if result.label in figures]
    return max(tried, key=lambda pair: pair[0])[1] if tried else None


def why_undecided(trials: dict[str, Trial]) -> str:
    return next((trial.failure for trial in trials.values() if trial.failure), "it answered one sort of window alone")
