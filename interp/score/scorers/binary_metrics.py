"""From yes/no answers to figures: what `detection` and `fuzz` share, whoever judges."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import ACTIVE_KINDS, Split, Statistics
from interp.domain.score import Interval, Item
from interp.judge.outcome import AnswerStatus
from interp.score.controls.null_comparison import LEVEL, Rivals, on_both
from interp.score.items.test_items import Questions
from interp.stats.agreement import Confusion, f1_of, precision_at_rate
from interp.stats.intervals import Bounds, clustered_proportion, fewest_degrees, leave_one_out, mover_mean, weighted_proportion
from interp.stats.ranking import auprc, auroc, auroc_bounds

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
METHOD = "wilson-cluster-mover"
DECILES = 10
# Bands of a firing window's peak, as shares of the feature's largest activation: from the first up to below the second.
BANDS = {"weak": (0.0, 0.25), "medium": (0.25, 0.5), "strong": (0.5, np.inf)}
FIRING = frozenset(kind.name.lower() for kind in ACTIVE_KINDS)


@dataclass(frozen=True, slots=True)
class BinaryTestSet:
    """N yes/no questions about one feature, as columns.

    contexts   the windows' identities; `kinds` why each was asked about (`uniform+weighted`)
    truth      bool [N]  the right answer
    positive, negative  bool [N]  those that the value counts; the rest is reported apart
    groups     bool [N] each: windows of one kind, by its name
    clusters   intp [N]  documents, numbered
    strengths  float32 [N]  the largest activation of each window
    rate       share of all test windows in which the feature fires; None where the question is another one
    ceiling    the feature's largest activation; 0 where it is not known: then the largest of the windows stands for it
    """

    contexts: list[str]
    kinds: list[str]
    truth: Mask
    positive: Mask
    negative: Mask
    groups: dict[str, Mask]
    clusters: NDArray[np.intp]
    strengths: NDArray[np.float32]
    rate: float | None
    ceiling: float = 0.0

    def __len__(self) -> int:
        return len(self.contexts)

    def select(self, rows: NDArray[np.intp]) -> "BinaryTestSet":
        """The questions of these rows, in that order, with their documents numbered anew."""
        _, clusters = np.unique(self.clusters[rows], return_inverse=True)
        return BinaryTestSet(
            contexts=[self.contexts[row] for row in rows],
            kinds=[self.kinds[row] for row in rows],
            truth=self.truth[rows],
            positive=self.positive[rows],
            negative=self.negative[rows],
            groups={name: mask[rows] for name, mask in self.groups.items()},
            clusters=clusters.ravel().astype(np.intp),
            strengths=self.strengths[rows],
            rate=self.rate,
            ceiling=self.ceiling,
        )

    @classmethod
    def of(cls, questions: Questions, statistics: Statistics) -> "BinaryTestSet":
        """Does the feature fire somewhere in the window?"""
        strengths = questions.contexts.maxima()
        return cls(
            contexts=questions.contexts.identities(),
            kinds=questions.kinds(),
            truth=questions.contexts.fires(),
            positive=questions.positive,
            negative=questions.negative,
            groups={kind.name.lower(): mask for kind, mask in questions.kept.items()},
            clusters=questions.clusters,
            strengths=strengths,
            rate=statistics.window_density(Split.TEST),
            ceiling=statistics.max_activation,
        )


@dataclass(frozen=True, slots=True)
class VerdictMatrix:
    """What a judge said of an exam with E explanations, of which the first is under test.

    said      bool [E, N]; meaningless where not answered
    outcomes  uint8 [E, N]  `AnswerStatus`
    reasons   why an explanation has no answers at all, by its place
    odds      float64 [E, N]  the judge's probability of a yes, NaN where it gave none; None where there are none
    failures, details  of the explanation under test, one a window
    """

    said: Mask
    outcomes: NDArray[np.uint8]
    reasons: dict[int, str]
    odds: Floats | None = None
    failures: Sequence[str | None] = field(default=())
    details: Sequence[dict[str, object] | None] = field(default=())

    @property
    def answered(self) -> Mask:
        """bool [E, N]."""
        answered: Mask = self.outcomes == AnswerStatus.ANSWERED
        return answered

    def count(self, outcome: AnswerStatus) -> int:
        """Of the explanation under test."""
        return int((self.outcomes[0] == outcome).sum())


def balanced_accuracy(exam: BinaryTestSet, answered: Mask, said: Mask) -> float | None:
    """Of one explanation; `answered` and `said` are [N]."""
    return _confusion(exam, answered, said).balanced_accuracy


def answered_of(exam: BinaryTestSet, answered: Mask) -> tuple[int, int]:
    """Firing and silent windows that one explanation answered, of the mask [N]."""
    return int((exam.positive & answered).sum()), int((exam.negative & answered).sum())


def why_undefined(exam: BinaryTestSet, sheet: VerdictMatrix) -> str:
    """Why the explanation under test has no balanced accuracy."""
    if 0 in sheet.reasons:
        return sheet.reasons[0]
    answered = sheet.answered[0]
    missing = "firing" if not (exam.positive & answered).any() else "silent"
    why = f"No answered test window is {missing}, so one of the two rates has no items."
    first = next((failure for failure in sheet.failures if failure), None)
    return why if answered.any() or first is None else f"{why} The first failure: {first}"


def bounds_of(exam: BinaryTestSet, answered: Mask, said: Mask) -> Bounds:
    """95% interval of the balanced accuracy: Wilson's at the effective size for each rate, joined by MOVER."""
    firing, silent = exam.positive & answered, exam.negative & answered
    recall = clustered_proportion(said[firing], exam.clusters[firing], LEVEL)
    specificity = clustered_proportion(~said[silent], exam.clusters[silent], LEVEL)
    return mover_mean(float(said[firing].mean()), recall, 1 - float(said[silent].mean()), specificity)


def figures_of(exam: BinaryTestSet, answered: Mask, said: Mask) -> tuple[Floats, Floats]:
    """Balanced accuracy of each explanation, float64 [E], and the same without each document, [m, E]; NaN where undefined."""
    firing, silent = exam.positive & answered, exam.negative & answered
    counts = np.stack([firing & said, firing, silent & ~said, silent], axis=-1).astype(np.float64)
    documents = np.eye(int(exam.clusters.max(initial=-1)) + 1)[exam.clusters]
    totals = np.einsum("nm,ens->mes", documents, counts)
    return _balanced(totals.sum(axis=0)), leave_one_out(totals, _balanced)


def rivals_of(exam: BinaryTestSet, answered: Mask, said: Mask, own: float | None, is_fixed: bool = True) -> Rivals:
    """The borrowed explanations beside the own one, which is the first of `answered` and `said` [1 + R, N]; `own` is its figure.

    `is_fixed`: how many windows were asked about was fixed before, so that a paired test holds.
    """
    both = answered[:1] & answered[1:]
    nulls, replicates = figures_of(exam, both, said[1:])
    own_both, own_both_replicates = figures_of(exam, both, np.broadcast_to(said[:1], both.shape))
    _, own_replicates = figures_of(exam, answered[:1], said[:1])
    values, moved = on_both(own, own_replicates[:, 0], own_both, own_both_replicates, nulls, replicates)
    firing, silent = (np.bincount(exam.clusters[side & answered[0]]) for side in (exam.positive, exam.negative))
    return Rivals(values, moved, _differences(exam, both, said) if is_fixed else None, fewest_degrees(firing, silent))


def _differences(exam: BinaryTestSet, both: Mask, said: Mask) -> Floats:
    """float64 [m, R]: each document's part of the difference of two balanced accuracies, NaN where these are undefined."""
    parts = []
    better = said[0].astype(np.float64) - said[1:]
    for side, sign in ((exam.positive, 1.0), (exam.negative, -1.0)):
        use = both & side
        with np.errstate(divide="ignore", invalid="ignore"):
            parts.append(sign * np.where(use, better, 0.0) / use.sum(axis=1, keepdims=True) / 2)
    documents = np.eye(int(exam.clusters.max(initial=-1)) + 1)[exam.clusters]
    found: Floats = documents.T @ (parts[0] + parts[1]).T
    return found


def _balanced(totals: Floats) -> Floats:
    """float64 [...] from counts [..., 4]: hits and items among firing, then among silent windows."""
    with np.errstate(divide="ignore", invalid="ignore"):
        figures: Floats = (totals[..., 0] / totals[..., 1] + totals[..., 2] / totals[..., 3]) / 2
    return figures


def interval_of(bounds: Bounds | None, method: str = METHOD) -> Interval | None:
    return None if bounds is None else Interval(*bounds, LEVEL, method)


def metrics_of(exam: BinaryTestSet, sheet: VerdictMatrix) -> dict[str, float | None]:
    """All figures of the explanation under test."""
    answered, said = sheet.answered[0], sheet.said[0]
    own = _confusion(exam, answered, said)
    metrics: dict[str, float | None] = {
        "balanced_accuracy": own.balanced_accuracy,
        "f1": own.f1,
        "precision": own.precision,
        "recall": own.recall,
        "specificity": own.specificity,
    }
    for name, mask in exam.groups.items():
        use = mask & answered
        metrics[f"{'recall' if name in FIRING else 'specificity'}_{name}"] = _share(said[use] if name in FIRING else ~said[use])
    return metrics | _at_true_rate(exam, answered, said) | by_strength(exam, answered, said) | _by_decile(exam, answered, said) | _graded(exam, sheet)


def _confusion(exam: BinaryTestSet, answered: Mask, said: Mask) -> Confusion:
    use = (exam.positive | exam.negative) & answered
    return Confusion.of(exam.positive[use], said[use])


def _share(hits: Mask) -> float | None:
    return np.count_nonzero(hits) / len(hits) if len(hits) else None


def _at_true_rate(exam: BinaryTestSet, answered: Mask, said: Mask) -> dict[str, float | None]:
    """Precision and F1 over the corpus: the uniform firing and the inactive windows, each weighted to its true share of all windows.

    `precision_at_rate_low` puts the upper end of its interval in place of the false-positive rate: forty inactive windows without a false alarm
    prove little about a feature that fires in one window of a thousand. Nothing where the question is not whether the feature fires.
    """
    if exam.rate is None:
        return {}
    firing, silent = exam.groups["uniform"] & answered, exam.groups["inactive"] & answered
    if not firing.any() or not silent.any():
        return {"window_rate": exam.rate, "precision_at_rate": None, "precision_at_rate_low": None, "f1_at_rate": None}
    recall, alarms = float(said[firing].mean()), float(said[silent].mean())
    most_alarms = clustered_proportion(said[silent], exam.clusters[silent], LEVEL)[1]
    precision = precision_at_rate(recall, alarms, exam.rate)
    return {
        "window_rate": exam.rate,
        "precision_at_rate": precision,
        "precision_at_rate_low": precision_at_rate(recall, most_alarms, exam.rate),
        "f1_at_rate": f1_of(precision, recall),
    }


def by_strength(exam: BinaryTestSet, answered: Mask, said: Mask) -> dict[str, float | None]:
    """Compute recall in bands of a window's peak, and of all firing windows.

    The bands are of the peak relative to the feature's largest activation; `share_...` is each one's part of the positives.
    """
    firing = exam.positive & answered
    peaks, hits = exam.strengths[firing].astype(np.float64), said[firing]
    relative = peaks / max(exam.ceiling, float(peaks.max(initial=0.0)), 1e-12)
    found: dict[str, float | None] = {}
    for name, (low, high) in BANDS.items():
        inside = (relative >= low) & (relative < high)
        found |= {f"recall_{name}": _share(hits[inside]), f"share_{name}": _share(inside)}
    return found | _of_the_corpus(exam, firing, hits, peaks)


def _of_the_corpus(exam: BinaryTestSet, firing: Mask, hits: Mask, peaks: Floats) -> dict[str, float | None]:
    """Estimate recall among all firing windows, by their number and by their peaks, with intervals.

    Both are estimated from both samples at once. With u uniform and w activation-weighted windows, one of peak a was drawn in proportion to
    u + w a / mean a (the balance heuristic of Veach and Guibas, SIGGRAPH 1995), and weighs 1 or a over that (Horvitz and Thompson, J. Am. Stat.
    Assoc. 47, 1952); the mean peak of all firing windows is that of the uniform ones. None without a uniform window.
    """
    uniform, weighted = (exam.groups[name][firing] if name in exam.groups else np.zeros_like(hits) for name in ("uniform", "weighted"))
    found: dict[str, float | None] = {}
    drawn = uniform.sum() + weighted.sum() * peaks / peaks[uniform].mean() if uniform.any() else None
    for name, amounts in (("recall_of_windows", np.ones_like(peaks)), ("recall_of_strength", peaks)):
        if drawn is None:
            found |= dict.fromkeys((name, f"{name}_low", f"{name}_high"))
            continue
        weights = amounts / drawn
        low, high = weighted_proportion(hits, weights, exam.clusters[firing], LEVEL)
        found |= {name: float(weights @ hits / weights.sum()), f"{name}_low": low, f"{name}_high": high}
    return found


def _by_decile(exam: BinaryTestSet, answered: Mask, said: Mask) -> dict[str, float | None]:
    """Recall by tenth of the firing windows, from the weakest (1) to the strongest (10)."""
    rows = np.flatnonzero(exam.positive & answered)
    rows = rows[np.argsort(exam.strengths[rows], kind="stable")]
    return {f"recall_decile_{number}": _share(said[tenth]) for number, tenth in enumerate(np.array_split(rows, DECILES), start=1)}


def _graded(exam: BinaryTestSet, sheet: VerdictMatrix) -> dict[str, float | None]:
    """Areas under the curves, where the judge gave probabilities for every answer that counts: of a part of them they would be of other items."""
    if sheet.odds is None:
        return {}
    use = (exam.positive | exam.negative) & sheet.answered[0]
    odds, truth = sheet.odds[0, use], exam.positive[use]
    if np.isnan(odds).any():
        return {"auc": None, "auc_low": None, "auc_high": None, "auprc": None}
    bounds = auroc_bounds(odds, truth, exam.clusters[use], LEVEL)
    return {
        "auc": auroc(odds, truth),
        "auc_low": None if bounds is None else bounds[0],
        "auc_high": None if bounds is None else bounds[1],
        "auprc": auprc(odds, truth),
    }


def items_of(exam: BinaryTestSet, sheet: VerdictMatrix) -> tuple[Item, ...]:
    """One a window, with the answer of the explanation under test."""
    answered, said, truths = sheet.answered[0].tolist(), sheet.said[0].tolist(), exam.truth.tolist()
    return tuple(
        Item(
            context=context,
            kind=kind,
            truth=float(truths[row]),
            prediction=float(said[row]) if answered[row] else None,
            failure=None if answered[row] else _failure(sheet, row),
            detail=sheet.details[row] if sheet.details else None,
        )
        for row, (context, kind) in enumerate(zip(exam.contexts, exam.kinds, strict=True))
    )


def _failure(sheet: VerdictMatrix, row: int) -> str:
    own = sheet.failures[row] if sheet.failures else None
    return own or sheet.reasons.get(0, AnswerStatus(sheet.outcomes[0, row]).name.lower())
