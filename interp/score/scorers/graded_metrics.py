"""From grades of windows to figures: what `embedding` and `surprisal` share. A grade is any number that is higher where the feature should fire."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.explanation import Explanation
from interp.domain.score import ControlResult, Interval, Item, NullResult, Score
from interp.domain.spec import ScorerSpec
from interp.judge.outcome import AnswerStatus
from interp.score.base import LlmScorer, ScorerInput
from interp.score.controls.explanation_set import TestedExplanation
from interp.score.controls.fewest import with_enough
from interp.score.controls.null_comparison import LEVEL, Rivals, on_both
from interp.score.controls.paired import Figure, against_control, against_nulls
from interp.score.scorers.binary_metrics import BinaryTestSet, VerdictMatrix, answered_of, metrics_of
from interp.stats.intervals import fewest_degrees
from interp.stats.ranking import auprc, auroc, auroc_bounds, auroc_replicates, pairs_won

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
METHOD = "auroc-score-cluster"
METRIC = "auc"
DECILES = 10


@dataclass(frozen=True, slots=True)
class Grades:
    """What E explanations gave N windows: `values` float64 [E, N], NaN where there is no answer; `failures` [N] are the own explanation's.

    Row e belongs to `tested[e]`; the first is the explanation under test.
    """

    exam: BinaryTestSet
    tested: list[TestedExplanation]
    values: Floats
    failures: list[str | None]

    @property
    def answered(self) -> Mask:
        """bool [E, N]."""
        return ~np.isnan(self.values)

    @property
    def own(self) -> Figure:
        return figure_of(self, 0)

    def count(self) -> tuple[int, int]:
        """Windows that the own explanation answered and failed."""
        answered = int(self.answered[0].sum())
        return answered, len(self.exam) - answered


def score_of(
    scorer: LlmScorer,
    item: ScorerInput,
    grades: Grades,
    controls: Sequence[ControlResult],
    provenance: dict[str, Any],
    metrics: dict[str, float | None] | None = None,
) -> Score:
    """The score of the explanation under test. `controls` and `metrics` are those that the scorer has beside the common ones."""
    own, (answered, failed) = grades.own, grades.count()
    return Score(
        feature=item.feature,
        explainer=item.explanation.explainer,
        scorer=scorer.name,
        metric=METRIC,
        value=own.value,
        interval=interval_of(own),
        reason=own.reason,
        answered=answered,
        failed=failed,
        abstained=0,
        null=null_of(grades, item.nulls, own),
        controls=(*held_against(grades), *controls),
        metrics=graded_metrics(grades) | (metrics or {}),
        items=items_of(grades),
        provenance=provenance,
    )


def figure_of(grades: Grades, place: int, among: Mask | None = None) -> Figure:
    """AUROC of one explanation over the windows that it answered, of those in the mask `among` [N] where there is one."""
    exam, scores = grades.exam, grades.values[place]
    use = (exam.positive | exam.negative) & grades.answered[place]
    use = use if among is None else use & among
    value, replicates = _area(exam, scores, use)
    if np.isnan(value):
        return Figure(None, None, replicates, why_undefined(grades, place, use))
    return Figure(value, auroc_bounds(scores[use], exam.positive[use], exam.clusters[use], LEVEL), replicates)


def _area(exam: BinaryTestSet, scores: Floats, use: Mask) -> tuple[float, Floats]:
    """The AUROC over the windows `use` [N], NaN where undefined, and the same without each document, float64 [m]; leaving out one without an answer
    changes nothing."""
    figures, found = auroc_replicates(scores[None, use], exam.positive[use], exam.clusters[use])
    replicates = np.full(int(exam.clusters.max(initial=-1)) + 1, figures[0])
    replicates[: len(found)] = found[:, 0]
    return float(figures[0]), replicates


def why_undefined(grades: Grades, place: int, use: Mask) -> str:
    """Why there is no AUROC over the windows `use` [N]."""
    missing = "firing" if not (grades.exam.positive & use).any() else "silent"
    why = f"No graded test window is {missing}, so there is nothing to rank."
    first = next((failure for failure in grades.failures if failure), None) if place == 0 else None
    return why if first is None else f"{why} The first failure: {first}"


def interval_of(figure: Figure) -> Interval | None:
    return None if figure.bounds is None else Interval(*figure.bounds, LEVEL, METHOD)


def null_of(grades: Grades, borrowed: Sequence[Explanation], own: Figure) -> NullResult | None:
    """The borrowed explanations' figures, beside the own one."""
    places = [place for place, one in enumerate(grades.tested) if one.part == "null"]
    if not places:
        return None
    null = against_nulls(own, _rivals(grades, places, own), borrowed)
    return with_enough(null, *answered_of(grades.exam, grades.answered[0]))


def _rivals(grades: Grades, places: Sequence[int], own: Figure) -> Rivals:
    """The borrowed explanations at `places` beside the own one, each on the windows that both graded."""
    exam, scored = grades.exam, grades.exam.positive | grades.exam.negative
    found = []
    for place in places:
        use = scored & grades.answered[0] & grades.answered[place]
        ours, theirs = _area(exam, grades.values[0], use), _area(exam, grades.values[place], use)
        found.append((*ours, *theirs, _parts(exam, grades.values[0], use) - _parts(exam, grades.values[place], use)))
    own_both, own_both_replicates, nulls, replicates, differences = (np.stack(column, axis=-1) for column in zip(*found, strict=True))
    values, moved = on_both(own.value, own.replicates, own_both, own_both_replicates, nulls, replicates)
    firing, silent = (np.bincount(exam.clusters[side & grades.answered[0]]) for side in (exam.positive, exam.negative))
    return Rivals(values, moved, differences, fewest_degrees(firing, silent))


def _parts(exam: BinaryTestSet, scores: Floats, use: Mask) -> Floats:
    """float64 [m]: each document's part of the AUROC, half by its firing and half by its silent windows (the structural components of DeLong, DeLong
    and Clarke-Pearson, Biometrics 44, 1988); NaN where it is undefined."""
    firing, silent = np.flatnonzero(exam.positive & use), np.flatnonzero(exam.negative & use)
    found = np.zeros(int(exam.clusters.max(initial=-1)) + 1)
    if not len(firing) or not len(silent):
        return np.full_like(found, np.nan)
    won = pairs_won(scores[firing], scores[silent]) / (2 * len(firing) * len(silent))
    np.add.at(found, exam.clusters[firing], won.sum(axis=1))
    np.add.at(found, exam.clusters[silent], won.sum(axis=0))
    return found


def held_against(grades: Grades) -> list[ControlResult]:
    """`empty` and `baseline`, as far as they were asked, on the windows that both graded."""
    found = []
    for place, one in enumerate(grades.tested):
        if one.part in ("empty", "baseline"):
            both = grades.answered[0] & grades.answered[place]
            found.append(against_control(one.part, figure_of(grades, 0, both), figure_of(grades, place, both), {"items": int(both.sum())}))
    return found


def graded_metrics(grades: Grades) -> dict[str, float | None]:
    """All figures of the explanation under test: areas, areas by tenth of the firing windows, and what a yes or no at a threshold would be worth."""
    exam, scores = grades.exam, grades.values[0]
    use = (exam.positive | exam.negative) & grades.answered[0]
    said, decided = crossfitted(scores, exam, use)
    outcomes = np.where(decided, np.uint8(AnswerStatus.ANSWERED), np.uint8(AnswerStatus.FAILED))
    areas = {
        METRIC: auroc(scores[use], exam.positive[use]),
        "auprc": auprc(scores[use], exam.positive[use]),
        "auprc_of_chance": float(exam.positive[use].mean()) if use.any() else None,
    }
    return areas | _by_decile(exam, scores, use) | metrics_of(exam, VerdictMatrix(said[None], outcomes[None], {}))


def _by_decile(exam: BinaryTestSet, scores: Floats, use: Mask) -> dict[str, float | None]:
    """AUROC of each tenth of the firing windows, from the weakest (1) to the strongest (10), against all silent ones."""
    rows = np.flatnonzero(exam.positive & use)
    rows = rows[np.argsort(exam.strengths[rows], kind="stable")]
    silent = np.flatnonzero(exam.negative & use)
    found = {}
    for number, tenth in enumerate(np.array_split(rows, DECILES), start=1):
        both = np.concatenate([tenth, silent])
        found[f"{METRIC}_decile_{number}"] = auroc(scores[both], exam.positive[both])
    return found


def crossfitted(scores: Floats, exam: BinaryTestSet, use: Mask) -> tuple[Mask, Mask]:
    """Yes or no for each window, and whether it could be decided, bool [N] both.

    A grade has no natural threshold, and one that is chosen on the windows that it is judged by flatters itself. So the documents are halved, and
    each half is decided by the threshold that has the best balanced accuracy on the other.
    """
    said, decided = np.zeros(len(scores), dtype=np.bool_), np.zeros(len(scores), dtype=np.bool_)
    for half in (0, 1):
        own, other = use & (exam.clusters % 2 == half), use & (exam.clusters % 2 != half)
        threshold = best_threshold(scores[other], exam.positive[other])
        if threshold is not None:
            said[own], decided[own] = scores[own] > threshold, True
    return said, decided


def best_threshold(scores: Floats, truth: Mask) -> float | None:
    """The middle between two neighbouring grades at which balanced accuracy is best; None without a firing and a silent window, or at one grade."""
    firing, silent = int(truth.sum()), int((~truth).sum())
    if not firing or not silent:
        return None
    order = np.argsort(scores, kind="stable")
    graded, hits = scores[order], truth[order]
    cuts = np.flatnonzero(graded[1:] > graded[:-1])
    if not len(cuts):
        return None
    recall, specificity = 1 - np.cumsum(hits)[cuts] / firing, np.cumsum(~hits)[cuts] / silent
    best = cuts[int(np.argmax(recall + specificity))]
    return float(graded[best] + graded[best + 1]) / 2


def items_of(grades: Grades) -> tuple[Item, ...]:
    """One a window: `truth` 0 or 1, `prediction` its grade."""
    exam, answered, values = grades.exam, grades.answered[0], grades.values[0].tolist()
    return tuple(
        Item(
            context=context,
            kind=exam.kinds[row],
            truth=float(exam.truth[row]),
            prediction=values[row] if answered[row] else None,
            failure=None if answered[row] else grades.failures[row] or "failed",
        )
        for row, context in enumerate(exam.contexts)
    )


def limits(spec: ScorerSpec, positives: int, negatives: int) -> tuple[int, int]:
    """Windows asked about at most: the options', else the scorer's own."""
    return spec.positives or positives, spec.negatives or negatives
