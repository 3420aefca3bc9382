"""Compute figures of grades, which are higher where the feature should fire."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.score import ControlResult, Score
from interp.judge.verdicts import AnswerStatus, Verdicts
from interp.score.base import LEVEL, Figure, LlmScorer, ScorerInput
from interp.score.controls.tested import TestedExplanation
from interp.score.items.test_set import TestSet
from interp.score.measure import Measured, Places, items_of, score_of
from interp.score.scorers.binary_metrics import WindowMeasure, metrics_of
from interp.stats.ranking import auprc, auroc, auroc_bounds, auroc_replicates, pairs_won

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
METHOD = "auroc-score-cluster"
METRIC = "auc"


def grades_of(values: Floats, failures: Sequence[str | None]) -> Verdicts:
    """Return grades [E, N] as verdicts (NaN failed), with own `failures` [N]."""
    statuses = np.where(np.isnan(values), np.uint8(AnswerStatus.FAILED), np.uint8(AnswerStatus.ANSWERED))
    return Verdicts(values, statuses, failures)


def graded_score(
    scorer: LlmScorer,
    item: ScorerInput,
    test_set: TestSet,
    tested: Sequence[TestedExplanation],
    grades: Verdicts,
    *,
    controls: Sequence[ControlResult],
    provenance: dict[str, Any],
    metrics: dict[str, float | None] | None = None,
) -> Score:
    """Return the score of the tested explanation, with added `controls` and `metrics`."""
    measure = RocArea(test_set, grades)
    return score_of(
        scorer,
        item,
        measure,
        controls=(*measure.controls_of(tested), *controls),
        metrics=graded_metrics(test_set, grades) | (metrics or {}),
        items=items_of(test_set, grades),
        provenance=provenance,
    )


class RocArea(WindowMeasure):
    """The area under the ROC curve of grades."""

    method = METHOD

    def figure(self, place: int = 0, among: Mask | None = None) -> Figure:
        test_set, grades = self.test_set, self.verdicts
        use = test_set.scored & grades.answered[place]
        use = use if among is None else use & among
        found = self.measured(slice(place, place + 1), use[None])
        replicates = found.replicates[:, 0]
        if np.isnan(found.values[0]):
            missing = "firing" if not (test_set.positive & use).any() else "silent"
            why = f"No graded test window is {missing}, so there is nothing to rank."
            first = grades.first_failure() if place == 0 else None
            return Figure(None, None, replicates, why if first is None else f"{why} The first failure: {first}")
        bounds = auroc_bounds(grades.values[place][use], test_set.positive[use], test_set.clusters[use], LEVEL)
        return Figure(float(found.values[0]), bounds, replicates)

    def measured(self, places: Places, use: Mask) -> Measured:
        found = [self._area(scores, mask) for scores, mask in zip(self.verdicts.values[places], use & self.test_set.scored, strict=True)]
        values, replicates, parts = zip(*found, strict=True)
        return Measured(np.array(values), np.stack(replicates, axis=-1), np.stack(parts, axis=-1))

    def _area(self, scores: Floats, use: Mask) -> tuple[float, Floats, Floats]:
        """Return the AUROC over the windows `use` [N], with replicates and parts [m].

        Leaving out a document without an answer changes nothing. Half of a document's part is by its firing, half by its silent windows. Source: the
        structural components of DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988).
        """
        test_set = self.test_set
        figures, found = auroc_replicates(scores[None, use], test_set.positive[use], test_set.clusters[use])
        replicates = np.full(test_set.documents, figures[0])
        replicates[: len(found)] = found[:, 0]
        firing, silent = np.flatnonzero(test_set.positive & use), np.flatnonzero(test_set.negative & use)
        parts = np.full(test_set.documents, 0.0 if len(firing) and len(silent) else np.nan)
        won = pairs_won(scores[firing], scores[silent]) / max(2 * len(firing) * len(silent), 1)
        np.add.at(parts, test_set.clusters[firing], won.sum(axis=1))
        np.add.at(parts, test_set.clusters[silent], won.sum(axis=0))
        return float(figures[0]), replicates, parts


def graded_metrics(test_set: TestSet, grades: Verdicts) -> dict[str, float | None]:
    """Return all figures of the tested explanation.

    These are areas, areas by tenth of the firing windows against all silent ones, and the figures of yes or no at a threshold.
    """
    scores, truth = grades.values[0], test_set.positive
    use = test_set.scored & grades.answered[0]
    metrics: dict[str, float | None] = {
        METRIC: auroc(scores[use], truth[use]),
        "auprc": auprc(scores[use], truth[use]),
        "auprc_of_chance": float(truth[use].mean()) if use.any() else None,
    }
    silent = np.flatnonzero(test_set.negative & use)
    for number, tenth in enumerate(test_set.deciles(use), start=1):
        rows = np.concatenate([tenth, silent])
        metrics[f"{METRIC}_decile_{number}"] = auroc(scores[rows], truth[rows])
    said, decided = crossfitted(scores, test_set, use)
    statuses = np.where(decided, np.uint8(AnswerStatus.ANSWERED), np.uint8(AnswerStatus.FAILED))
    return metrics | metrics_of(test_set, Verdicts(said[None], statuses[None]))


def crossfitted(scores: Floats, test_set: TestSet, use: Mask) -> tuple[Mask, Mask]:
    """Return yes or no per window, and whether it could be decided, bool [N] both.

    A grade has no natural threshold, and one chosen on the judged windows is biased upwards. So the documents are halved, and each half is decided by
    the threshold with the best balanced accuracy on the other.
    """
    said, decided = np.zeros(len(scores), dtype=np.bool_), np.zeros(len(scores), dtype=np.bool_)
    for half in (0, 1):
        own, other = use & (test_set.clusters % 2 == half), use & (test_set.clusters % 2 != half)
        threshold = best_threshold(scores[other], test_set.positive[other])
        if threshold is not None:
            said[own], decided[own] = scores[own] > threshold, True
    return said, decided


def best_threshold(scores: Floats, truth: Mask) -> float | None:
    """Return the middle of two neighbouring grades with the best balanced accuracy.

    None without a firing and a silent window, or where all grades are equal.
    """
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
