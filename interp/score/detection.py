"""Detection: of shuffled windows, in which does the feature fire? (Paulo et al., arXiv 2410.13928, section 4.1.)"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from interp.evidence import Kind, Split
from interp.score.base import Interval, Item, NullResult, Score, ScorerInput
from interp.score.compare import LEVEL, compare
from interp.score.judge import Answers, Judge, Outcome
from interp.score.questions import Questions, questions_of
from interp.spec import ScorerSpec
from interp.stats.agreement import Confusion, f1_of, precision_at_rate
from interp.stats.intervals import Bounds, clustered_proportion, leave_one_out, mover_mean
from interp.vocabulary import Vocabulary

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
METHOD = "wilson-cluster-mover"
DECILES = 10


class Detection:
    """`value` is balanced accuracy on firing (uniform, weighted) against silent (inactive, near-miss) windows."""

    name = "detection"
    version = 1
    metric = "balanced_accuracy"

    def __init__(self, spec: ScorerSpec, judge: Judge) -> None:
        self.spec = spec
        self.judge = judge

    def score(self, items: Sequence[ScorerInput], vocabulary: Vocabulary, seed: int) -> list[Score]:  # noqa: ARG002
        """One score an input, in the same order. The executable judge needs no `seed`."""
        return [self._score(item, vocabulary) for item in items]

    def _score(self, item: ScorerInput, vocabulary: Vocabulary) -> Score:
        questions = questions_of(item.contexts)
        answers = self.judge.detect((item.explanation, *item.nulls), questions.contexts, vocabulary)
        answered = answers.answered()
        said = answers.values > 0.5
        own = Confusion.of(*_asked(questions, answered[0], said[0]))
        value, reason = own.balanced_accuracy, _why_undefined(own, answers)
        bounds = None if value is None else _bounds(questions, answered[0], said[0])
        return Score(
            feature=item.feature,
            explainer=item.explanation.explainer,
            scorer=self.name,
            metric=self.metric,
            value=value,
            interval=None if bounds is None else Interval(*bounds, LEVEL, METHOD),
            reason=reason,
            answered=int(answered[0].sum()),
            failed=int((answers.outcomes[0] == Outcome.FAILED).sum()),
            abstained=int((answers.outcomes[0] == Outcome.ABSTAINED).sum()),
            null=self._null(item, questions, answered, said, value, bounds) if item.nulls else None,
            metrics=_metrics(own, questions, answered[0], said[0], item),
            items=_items(questions, answers, said[0]),
            provenance={**self.judge.provenance, "scorer_version": self.version, "nulls_asked": self.spec.nulls},
        )

    def _null(self, item: ScorerInput, questions: Questions, answered: Mask, said: Mask, value: float | None, bounds: Bounds | None) -> NullResult:
        figures, replicates = _figures(questions, answered, said)
        return compare(value, bounds, figures[1:], replicates[:, 0], replicates[:, 1:], item.nulls)


def _asked(questions: Questions, answered: Mask, said: Mask) -> tuple[Mask, Mask]:
    """Truth and answer of the windows that count."""
    use = questions.scored & answered
    return questions.positive[use], said[use]


def _why_undefined(own: Confusion, answers: Answers) -> str | None:
    if own.balanced_accuracy is not None:
        return None
    if 0 in answers.reasons:
        return answers.reasons[0]
    missing = "firing" if own.recall is None else "silent"
    return f"No answered test window is {missing}, so one of the two rates has no items."


def _bounds(questions: Questions, answered: Mask, said: Mask) -> Bounds:
    """95% interval of the balanced accuracy: Wilson's at the effective size for each rate, joined by MOVER."""
    firing, silent = questions.positive & answered, questions.negative & answered
    recall = clustered_proportion(said[firing], questions.clusters[firing], LEVEL)
    specificity = clustered_proportion(~said[silent], questions.clusters[silent], LEVEL)
    return mover_mean(float(said[firing].mean()), recall, 1 - float(said[silent].mean()), specificity)


def _figures(questions: Questions, answered: Mask, said: Mask) -> tuple[Floats, Floats]:
    """Balanced accuracy of each explanation, float64 [E], and the same without each document, [m, E]; NaN where undefined."""
    firing, silent = questions.positive & answered, questions.negative & answered
    counts = np.stack([firing & said, firing, silent & ~said, silent], axis=-1).astype(np.float64)
    documents = np.eye(int(questions.clusters.max(initial=-1)) + 1)[questions.clusters]
    totals = np.einsum("nm,ens->mes", documents, counts)
    return _balanced(totals.sum(axis=0)), leave_one_out(totals, _balanced)


def _balanced(totals: Floats) -> Floats:
    """float64 [...] from counts [..., 4]: hits and items among firing, then among silent windows."""
    with np.errstate(divide="ignore", invalid="ignore"):
        figures: Floats = (totals[..., 0] / totals[..., 1] + totals[..., 2] / totals[..., 3]) / 2
    return figures


def _metrics(own: Confusion, questions: Questions, answered: Mask, said: Mask, item: ScorerInput) -> dict[str, float | None]:
    metrics: dict[str, float | None] = {
        "balanced_accuracy": own.balanced_accuracy,
        "f1": own.f1,
        "precision": own.precision,
        "recall": own.recall,
        "specificity": own.specificity,
    }
    for kind in Kind:
        use = questions.kept[kind] & answered
        firing = kind in (Kind.TOP, Kind.UNIFORM, Kind.WEIGHTED)
        metrics[f"{'recall' if firing else 'specificity'}_{kind.name.lower()}"] = _share(said[use] if firing else ~said[use])
    return metrics | _at_true_rate(questions, answered, said, item.statistics.window_density(Split.TEST)) | _by_decile(questions, answered, said)


def _share(hits: Mask) -> float | None:
    return float(hits.mean()) if len(hits) else None


def _at_true_rate(questions: Questions, answered: Mask, said: Mask, rate: float) -> dict[str, float | None]:
    """Precision and F1 over the corpus: the uniform firing and the inactive windows, each weighted to its true share of all windows.

    `precision_at_rate_low` puts the upper end of its interval in place of the false-positive rate: forty inactive windows without a false alarm
    prove little about a feature that fires in one window of a thousand.
    """
    firing, silent = questions.kept[Kind.UNIFORM] & answered, questions.kept[Kind.INACTIVE] & answered
    if not firing.any() or not silent.any():
        return {"window_rate": rate, "precision_at_rate": None, "precision_at_rate_low": None, "f1_at_rate": None}
    recall, alarms = float(said[firing].mean()), float(said[silent].mean())
    most_alarms = clustered_proportion(said[silent], questions.clusters[silent], LEVEL)[1]
    precision = precision_at_rate(recall, alarms, rate)
    return {
        "window_rate": rate,
        "precision_at_rate": precision,
        "precision_at_rate_low": precision_at_rate(recall, most_alarms, rate),
        "f1_at_rate": f1_of(precision, recall),
    }


def _by_decile(questions: Questions, answered: Mask, said: Mask) -> dict[str, float | None]:
    """Recall by tenth of the firing windows, from the weakest (1) to the strongest (10)."""
    rows = np.flatnonzero(questions.positive & answered)
    rows = rows[np.argsort(questions.contexts.maxima()[rows], kind="stable")]
    return {f"recall_decile_{number}": _share(said[tenth]) for number, tenth in enumerate(np.array_split(rows, DECILES), start=1)}


def _items(questions: Questions, answers: Answers, said: Mask) -> tuple[Item, ...]:
    outcomes = answers.outcomes[0]
    return tuple(
        Item(
            context=context,
            kind=kind,
            truth=float(truth > 0),
            prediction=float(said[row]) if outcomes[row] == Outcome.ANSWERED else None,
            failure=None if outcomes[row] == Outcome.ANSWERED else answers.reasons.get(0, Outcome(outcomes[row]).name.lower()),
        )
        for row, (context, kind, truth) in enumerate(
            zip(questions.contexts.identities(), questions.kinds(), questions.contexts.maxima(), strict=True)
        )
    )
