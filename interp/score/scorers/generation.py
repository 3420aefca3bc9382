"""Score generation: does the feature fire in texts that were written from its label alone?

Source: arXiv 2509.23717, which measures the sensitivity of features on texts that a language model writes; SAGE and FADE test labels alike.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from interp.domain.score import Item, Score
from interp.judge.prompts import template
from interp.judge.recorder import RecordingModel
from interp.judge.verdicts import AnswerStatus, Verdicts
from interp.judge.writing import WrittenTexts, write
from interp.score.base import LEVEL, LlmScorer, ProbedTexts, ScoreContext, ScorerInput
from interp.score.controls.tested import not_made, provenance_of, tested_of
from interp.score.measure import score_of
from interp.score.scorers.choice import ShareOfRight
from interp.stats.ranking import auroc, auroc_bounds

Floats = NDArray[np.float64]
TEXTS = 10
# Controls that are made of the texts alone.
CONTROLS = frozenset({"baseline"})
NOT_READ = "The texts of this label were not run through the subject: the chunk that runs them failed."
NO_LEVEL = "The feature never fires on the corpus, so that no activation is its median."
TOO_FEW = "The reply holds fewer texts than were asked for."
SAME_TEXTS = "The subject reads a text alike each time."
NO_LABEL = "Texts are written from a label."


class Generation(LlmScorer):
    """Sensitivity: the share of the texts in which the feature reaches its median firing level.

    From the label alone the judge writes texts that should make the feature fire, and near ones that should not; the subject reads them. Nulls are
    the texts that were written for other features' labels.
    """

    name = "generation"
    version = 2
    metric = "sensitivity"
    probes = True
    writes = True

    @property
    def count(self) -> int:
        """Return the number of texts of each kind."""
        return self.spec.texts or TEXTS

    async def write(self, item: ScorerInput, context: ScoreContext) -> WrittenTexts:
        (own, *_) = tested_of(item, (), context.vocabulary)
        if own.label is None:
            return WrittenTexts(failure=own.failure)
        return await write(context.judge, own.label, self.count)

    async def score(self, item: ScorerInput, context: ScoreContext) -> Score:
        judge = RecordingModel(context.judge, self.name)
        tested, probed = tested_of(item, CONTROLS & context.controls, context.vocabulary), item.probed
        numbers = [_numbers(probed, place, item) for place in range(len(tested))]
        failure = _failure(probed)
        verdicts = verdicts_of(numbers, self.count, probed, failure)
        measure = ShareOfRight(verdicts, lambda share: share)
        made = provenance_of(self, item, context, judge, template("write").title)
        return score_of(
            self,
            item,
            measure,
            reason=failure,
            controls=(
                *measure.controls_of(tested),
                *not_made(item, context, repeat=SAME_TEXTS, judge_swap=SAME_TEXTS, gold=SAME_TEXTS, empty=NO_LABEL),
            ),
            metrics={} if probed is None or failure is not None else metrics_of(probed),
            items=() if probed is None else _items(probed),
            provenance=made | {"texts": self.count, "level": probed and probed.level, "calls": {self.name: list(probed.calls)} if probed else {}},
        )


def verdicts_of(numbers: Sequence[Sequence[float]], count: int, probed: ProbedTexts | None, failure: str | None) -> Verdicts:
    """Return whether the feature reaches its level in each text, bool [E, N].

    `numbers` [E][up to N] are the texts' largest activations.

    The n-th texts of two labels are a pair. A text that was not written is failed.
    """
    values, statuses = np.zeros((len(numbers), count), np.bool_), np.full((len(numbers), count), AnswerStatus.FAILED, np.uint8)
    if probed is not None and failure is None:
        for row, found in enumerate(numbers):
            own = np.array(found[:count], dtype=np.float64)
            values[row, : len(own)] = reached(own, probed)
            statuses[row, : len(own)] = AnswerStatus.ANSWERED
    return Verdicts(values, statuses, [failure or TOO_FEW] * count, reason=failure)


def reached(numbers: Floats, probed: ProbedTexts) -> NDArray[np.bool_]:
    """Return in which texts the feature reaches its median firing level, bool [N]."""
    level = np.inf if probed.level is None else probed.level
    found: NDArray[np.bool_] = (numbers >= level) & (numbers > probed.firing_level)
    return found


def metrics_of(probed: ProbedTexts) -> dict[str, float | None]:
    """Compute the other figures of the texts.

    `auc` compares the texts that should fire with the near ones, by their largest activations; `auc_others` with those written for other features.
    `firing` and `near_firing` are the shares in which the feature fires at all, `near_reached` that of near texts at its median.
    """
    fires, near = np.array(probed.fires), np.array(probed.near)
    others = np.array([number for numbers in probed.others.values() for number in numbers])
    scores, truth = np.concatenate([fires, near]), np.arange(len(fires) + len(near)) < len(fires)
    bounds = auroc_bounds(scores, truth, np.arange(len(scores), dtype=np.intp), LEVEL) if len(fires) and len(near) else None
    both = np.concatenate([fires, others])
    return {
        "auc": auroc(scores, truth),
        "auc_low": None if bounds is None else bounds[0],
        "auc_high": None if bounds is None else bounds[1],
        "auc_others": auroc(both, np.arange(len(both)) < len(fires)),
        "firing": _mean(fires > probed.firing_level),
        "near_firing": _mean(near > probed.firing_level),
        "near_reached": _mean(reached(near, probed)),
        "median_level": probed.level,
    }


def _failure(probed: ProbedTexts | None) -> str | None:
    if probed is None:
        return NOT_READ
    return NO_LEVEL if probed.level is None else probed.failure


def _numbers(probed: ProbedTexts | None, place: int, item: ScorerInput) -> Sequence[float]:
    """Return the numbers of one tested explanation's texts: the own, a null, or the baseline."""
    if probed is None:
        return ()
    if place == 0:
        return probed.fires
    return probed.others.get(item.nulls[place - 1].feature, ()) if place <= len(item.nulls) else probed.baseline


def _mean(found: NDArray[np.bool_]) -> float | None:
    return float(found.mean()) if len(found) else None


def _items(probed: ProbedTexts) -> tuple[Item, ...]:
    """Return one item for each text, with its tokens and their activations."""
    if probed.level is None:
        return ()
    numbers = np.array([*probed.fires, *probed.near])
    said = reached(numbers, probed).tolist()
    return tuple(
        Item(
            context=f"text:{place}",
            kind=str(reading["kind"]),
            truth=float(reading["kind"] == "fires"),
            prediction=float(said[place]),
            detail={"tokens": reading["tokens"], "activations": reading["activations"], "max": float(numbers[place])},
        )
        for place, reading in enumerate(probed.readings)
    )
