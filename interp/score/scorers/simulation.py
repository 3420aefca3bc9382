"""Simulation: how strongly does the feature fire at each token? (Bills et al., Language models can explain neurons, 2023.)"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from interp.domain.score import Interval, Item, NullResult, Score
from interp.domain.spec import ScorerSpec
from interp.domain.vocabulary import Vocabulary
from interp.judge.outcome import Answers, AnswerStatus, Judge
from interp.score.base import ScorerInput
from interp.score.controls.null_comparison import CORRELATION, LEVEL, Rivals, compare, on_both
from interp.score.items.test_items import Questions, questions_of
from interp.stats.agreement import SUMS, pearson_of, r_squared, sums
from interp.stats.correlation import FEWEST_DOCUMENTS, firing_documents, pearson_bounds, pearson_error, ranks_above_lowest
from interp.stats.intervals import Bounds, leave_one_out

Floats = NDArray[np.float64]
METHOD = "fisher-hall-cluster"


class Simulation:
    """`value` is Pearson's r of predicted and real activations over all tokens of the scored windows, put one after the other."""

    name = "simulation"
    version = 5
    metric = "pearson"

    def __init__(self, spec: ScorerSpec, judge: Judge) -> None:
        self.spec = spec
        self.judge = judge

    def score(self, items: Sequence[ScorerInput], vocabulary: Vocabulary, seed: int) -> list[Score]:  # noqa: ARG002
        """One score an input, in the same order. The executable judge needs no `seed`."""
        return [self._score(item, vocabulary) for item in items]

    def _score(self, item: ScorerInput, vocabulary: Vocabulary) -> Score:
        everything = questions_of(item.contexts)
        questions = everything.select(everything.scored)
        answers = self.judge.simulate((item.explanation, *item.nulls), questions.contexts, vocabulary)
        content = content_of(questions, vocabulary)
        totals = totals_of(questions, answers, content)
        figures, replicates = pearson_of(totals[:, :1].sum(axis=0)), leave_one_out(totals[:, :1], pearson_of)
        value = None if np.isnan(figures[0]) else float(figures[0])
        bounds = None if value is None else pearson_bounds(totals[:, 0], LEVEL)
        return Score(
            feature=item.feature,
            explainer=item.explanation.explainer,
            scorer=self.name,
            metric=self.metric,
            value=value,
            interval=None if bounds is None else Interval(*bounds, LEVEL, METHOD),
            reason=why_undefined(questions, answers, content) if value is None else why_no_interval(totals[:, 0], bounds),
            answered=int((answers.outcomes[0] == AnswerStatus.ANSWERED).sum()),
            failed=int((answers.outcomes[0] == AnswerStatus.FAILED).sum()),
            abstained=int((answers.outcomes[0] == AnswerStatus.ABSTAINED).sum()),
            null=_null(item, rivals_of(questions, answers, content, value), value, bounds, replicates[:, 0]) if item.nulls else None,
            metrics={"pearson": value, "r2": r2_of(questions, answers, content)} | spearman_of(questions, answers, content),
            items=items_of(questions, answers, content, _failures(answers)),
            provenance={**self.judge.provenance, "scorer_version": self.version, "nulls_asked": self.spec.nulls},
        )


def _null(item: ScorerInput, rivals: Rivals, value: float | None, bounds: Bounds | None, replicates: Floats) -> NullResult:
    error = None if value is None else pearson_error(value, replicates)
    return compare(value, bounds, replicates, rivals, item.nulls, CORRELATION, error)


def content_of(questions: Questions, vocabulary: Vocabulary) -> NDArray[np.bool_]:
    """bool [N, W]: the tokens that count; special ones do not."""
    return questions.contexts.valid() & ~np.isin(questions.contexts.tokens, list(vocabulary.special))


def totals_of(questions: Questions, answers: Answers, content: NDArray[np.bool_]) -> Floats:
    """float64 [m, E, 6]: the sums that Pearson's r needs, for each document and explanation, over answered windows.

    The predictions of a rule are 0 at most tokens, so the moments of the windows are one matrix product each.
    """
    use = (content[None] & answers.answered()[:, :, None]).astype(np.float64)
    predicted = answers.values.astype(np.float64) * use
    real = np.where(content, questions.contexts.activations, 0).astype(np.float64)
    real_windows = np.stack([content, real, real**2], axis=-1).sum(axis=1)[None] * answers.answered()[:, :, None]
    window = np.empty((*answers.outcomes.shape, SUMS))
    window[..., 0], window[..., 2], window[..., 4] = np.moveaxis(real_windows, -1, 0)
    window[..., 1] = predicted.sum(axis=2)
    window[..., 3] = np.einsum("enw,enw->en", predicted, predicted)
    window[..., 5] = np.einsum("enw,nw->en", predicted, real)
    documents = np.eye(int(questions.clusters.max(initial=-1)) + 1)[questions.clusters]
    return np.tensordot(documents, window, axes=(0, 1))


def rivals_of(questions: Questions, answers: Answers, content: NDArray[np.bool_], own: float | None) -> Rivals:
    """The borrowed explanations beside the own one, which is the first of `answers`; `own` is its figure."""
    answered = answers.answered()
    both = np.where(answered[:1] & answered[1:], np.uint8(AnswerStatus.ANSWERED), np.uint8(AnswerStatus.FAILED))
    theirs = totals_of(questions, Answers(answers.values[1:], both, {}), content)
    alone = totals_of(questions, Answers(answers.values[:1], answers.outcomes[:1], {}), content)
    # Where both answered the same windows, as rules always do, the own sums are those on both.
    is_same = bool((answered[:1] == (answered[:1] & answered[1:])).all())
    own_values = np.broadcast_to(answers.values[:1], answers.values[1:].shape)
    ours = np.broadcast_to(alone, theirs.shape) if is_same else totals_of(questions, Answers(own_values, both, {}), content)
    values, replicates = on_both(
        own,
        leave_one_out(alone, pearson_of)[:, 0],
        pearson_of(ours.sum(axis=0)),
        leave_one_out(ours, pearson_of),
        pearson_of(theirs.sum(axis=0)),
        leave_one_out(theirs, pearson_of),
    )
    return Rivals(values, replicates, _parts(ours) - _parts(theirs))


def _parts(totals: Floats) -> Floats:
    """float64 [m, R]: each document's part of r, Σ (x - mean x)(y - mean y) / (n sd x sd y) over its tokens, from sums [m, R, 6]; NaN where r is."""
    n, x, y, _, _, xy = np.moveaxis(totals, -1, 0)
    whole = totals.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_x, mean_y = whole[:, 1] / whole[:, 0], whole[:, 2] / whole[:, 0]
        covariance = xy - mean_x * y - mean_y * x + mean_x * mean_y * n
        spread = np.sqrt((whole[:, 3] - whole[:, 1] * mean_x) * (whole[:, 4] - whole[:, 2] * mean_y))
        return np.where(np.isnan(pearson_of(whole)), np.nan, covariance / spread)


def r2_of(questions: Questions, answers: Answers, content: NDArray[np.bool_]) -> float | None:
    """R2 of the first explanation's predictions."""
    use = content & answers.answered()[0][:, None]
    return r_squared(answers.values[0][use].astype(np.float64), questions.contexts.activations[use].astype(np.float64))


def spearman_of(questions: Questions, answers: Answers, content: NDArray[np.bool_]) -> dict[str, float | None]:
    """Spearman's rank correlation of the first explanation's predictions with the real values, and its interval, made as Pearson's is.

    Ranks are counted from that of the lowest value, so that silence is 0. A few very strong tokens weigh no more in it than others.
    """
    use = content & answers.answered()[0][:, None]
    predicted, real = (ranks_above_lowest(values[use]) for values in (answers.values[0], questions.contexts.activations))
    documents = np.broadcast_to(questions.clusters[:, None], use.shape)[use]
    totals = sums(predicted, real, documents, int(questions.clusters.max(initial=-1)) + 1)
    value = float(pearson_of(totals.sum(axis=0)))
    low, high = (None if np.isnan(value) else pearson_bounds(totals, LEVEL)) or (None, None)
    return {"spearman": None if np.isnan(value) else value, "spearman_low": low, "spearman_high": high}


def why_no_interval(totals: Floats, bounds: Bounds | None) -> str | None:
    """Why a correlation of documents with these sums [m, 6] has no interval; None where it has one."""
    if bounds is not None:
        return None
    found = firing_documents(totals)
    if found < FEWEST_DOCUMENTS:
        return f"No interval: the feature fires in {found} documents of those asked about, and one needs {FEWEST_DOCUMENTS}."
    return "No interval: without one of its documents nothing is left to correlate."


def why_undefined(questions: Questions, answers: Answers, content: NDArray[np.bool_]) -> str:
    """Why the first explanation's r is undefined."""
    if 0 in answers.reasons:
        return answers.reasons[0]
    use = content & answers.answered()[0][:, None]
    if not use.any():
        return "No token was answered."
    if np.ptp(questions.contexts.activations[use].astype(np.float32)) == 0:
        return "The real activations are the same at every token, so nothing can correlate with them."
    return "The prediction is the same at every token, so it correlates with nothing."


def _failures(answers: Answers) -> list[str]:
    """Why the first explanation has no answer to a window, as far as that is known."""
    return [answers.reasons.get(0, AnswerStatus(outcome).name.lower()) for outcome in answers.outcomes[0].tolist()]


def items_of(questions: Questions, answers: Answers, content: NDArray[np.bool_], failures: Sequence[str | None]) -> tuple[Item, ...]:
    """The first explanation's. `truth` and `prediction` are the window's largest values; `detail` lists [column, value] of the tokens that are not 0.
    `failures` [N] are read where a window was not answered."""
    real = np.where(content, questions.contexts.activations, 0).astype(np.float32)
    said = np.where(content, answers.values[0], 0)
    answered = answers.answered()[0]
    real_pairs, said_pairs = _sparse(real), _sparse(said)
    truths, predictions = real.max(axis=1, initial=0).tolist(), said.max(axis=1, initial=0).tolist()
    return tuple(
        Item(
            context=context,
            kind=kind,
            truth=truths[row],
            prediction=predictions[row] if answered[row] else None,
            failure=None if answered[row] else failures[row],
            detail={"real": real_pairs[row], "predicted": said_pairs[row]} if answered[row] else None,
        )
        for row, (context, kind) in enumerate(zip(questions.contexts.identities(), questions.kinds(), strict=True))
    )


def _sparse(values: NDArray[np.float32]) -> list[list[list[float]]]:
    """[column, value] of the non-zero entries of each row of [N, W]."""
    rows: list[list[list[float]]] = [[] for _ in range(len(values))]
    places, columns = np.nonzero(values)
    for row, column, value in zip(places.tolist(), columns.tolist(), np.round(values[places, columns].astype(np.float64), 4).tolist(), strict=True):
        rows[row].append([column, value])
    return rows
