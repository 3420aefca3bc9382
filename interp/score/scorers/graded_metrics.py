"""Compute figures of grades, which are higher where the feature should fire."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.score import ControlResult, Item, NullResult, Score
from interp.judge.verdicts import AnswerStatus, Verdicts
from interp.score.base import LEVEL, Figure, LlmScorer, ScorerInput, score_of
from interp.score.controls.comparison import NullFigures, compare_with_controls, compare_with_nulls
from interp.score.controls.min_windows import with_enough
from interp.score.controls.tested import TestedExplanation
from interp.score.items.test_set import TestSet
from interp.score.scorers.binary_metrics import answered_of, metrics_of
from interp.stats.intervals import least_degrees
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
    own = figure_of(test_set, grades)
    compared = compare_with_controls(tested, grades.answered, lambda place, both: figure_of(test_set, grades, place, both))
    return score_of(
        scorer,
        item,
        own,
        grades,
        method=METHOD,
        null=null_of(test_set, grades, own, item),
        controls=(*compared, *controls),
        metrics=graded_metrics(test_set, grades) | (metrics or {}),
        items=items_of(test_set, grades),
        provenance=provenance,
    )


def figure_of(test_set: TestSet, grades: Verdicts, place: int = 0, among: Mask | None = None) -> Figure:
    """Return the AUROC of one explanation over its answered windows in `among` [N]."""
    use = test_set.scored & grades.answered[place]
    use = use if among is None else use & among
    value, replicates = _area(test_set, grades.values[place], use)
    if np.isnan(value):
        missing = "firing" if not (test_set.positive & use).any() else "silent"
        why = f"No graded test window is {missing}, so there is nothing to rank."
        first = grades.first_failure() if place == 0 else None
        return Figure(None, None, replicates, why if first is None else f"{why} The first failure: {first}")
    return Figure(value, auroc_bounds(grades.values[place][use], test_set.positive[use], test_set.clusters[use], LEVEL), replicates)


def _area(test_set: TestSet, scores: Floats, use: Mask) -> tuple[float, Floats]:
    """Return the AUROC over the windows `use` [N], and replicates [m]; NaN where undefined.

    Leaving out a document without an answer changes nothing.
    """
    figures, found = auroc_replicates(scores[None, use], test_set.positive[use], test_set.clusters[use])
    replicates = np.full(test_set.documents, figures[0])
    replicates[: len(found)] = found[:, 0]
    return float(figures[0]), replicates


def null_of(test_set: TestSet, grades: Verdicts, own: Figure, item: ScorerInput) -> NullResult | None:
    """Return the own figure's comparison with the nulls, which follow it in `grades`."""
    if not item.nulls:
        return None
    answered, scores, found = grades.answered, grades.values, []
    for place in range(1, 1 + len(item.nulls)):
        use = test_set.scored & answered[0] & answered[place]
        parts = _parts(test_set, scores[0], use) - _parts(test_set, scores[place], use)
        found.append((*_area(test_set, scores[0], use), *_area(test_set, scores[place], use), parts))
    columns = [np.stack(column, axis=-1) for column in zip(*found, strict=True)]
    firing, silent = (np.bincount(test_set.clusters[side & answered[0]]) for side in (test_set.positive, test_set.negative))
    null = compare_with_nulls(own, NullFigures.of(own, *columns, degrees=least_degrees(firing, silent)), item.nulls)
    return with_enough(null, *answered_of(test_set, answered[0]))


def _parts(test_set: TestSet, scores: Floats, use: Mask) -> Floats:
    """Return each document's part of the AUROC, float64 [m]; NaN where it is undefined.

    Half is by its firing, half by its silent windows. Source: the structural components of DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988).
    """
    firing, silent = np.flatnonzero(test_set.positive & use), np.flatnonzero(test_set.negative & use)
    found = np.zeros(test_set.documents)
    if not len(firing) or not len(silent):
        return np.full_like(found, np.nan)
    won = pairs_won(scores[firing], scores[silent]) / (2 * len(firing) * len(silent))
    np.add.at(found, test_set.clusters[firing], won.sum(axis=1))
    np.add.at(found, test_set.clusters[silent], won.sum(axis=0))
    return found


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


def items_of(test_set: TestSet, grades: Verdicts) -> tuple[Item, ...]:
    """Return one item per window: `truth` 0 or 1, `prediction` its grade."""
    answered, values = grades.answered[0], grades.values[0].tolist()
    return tuple(
        Item(context, test_set.kinds[row], float(test_set.truth[row]), values[row] if answered[row] else None, grades.failure(row))
        for row, context in enumerate(test_set.contexts.identities())
    )
