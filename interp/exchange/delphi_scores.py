"""Figures of Delphi's score files, which hold questions and answers and no figure."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from interp.domain.errors import InputError
from interp.security.foreign_config import Foreign, Model, typed

Figures = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]
# The group of all sequences of a simulation, activating or not; the others are quantiles.
WHOLE = 0


class Question(Foreign):
    """One question of detection or fuzz: the right answer, and the judge's."""

    activating: bool
    prediction: bool | Annotated[int, Field(ge=0, le=1)] | None


class Simulated(Foreign):
    """Sequences of a simulation, and the correlation over their tokens; NaN is a text."""

    distance: int
    ev_correlation_score: float | str
    scored_sequence_simulations: Annotated[list[Any], Field(max_length=100_000)]


class Similarity(Foreign):
    """The similarity of a window to the explanation.

    `distance` is below 0 for a silent window.
    """

    distance: float
    similarity: float


class Surprisal(Foreign):
    """Losses at the tokens of a window with and without the explanation."""

    distance: float
    explanation: Annotated[list[float], Field(max_length=8192)]
    no_explanation: Annotated[list[float], Field(max_length=8192)]


class Intruder(Foreign):
    """One choice of the window that does not belong; a failed call has no sample."""

    correct: bool
    sample: Any = None


def figures_of(content: Any, file: Path) -> Figures | None:
    """Return the figure of a score file with its counts.

    None stands for an unknown scorer. A figure that is not defined is null. Raises InputError for a row that its own scorer does not write.
    """
    if not isinstance(content, list) or not content or not all(isinstance(row, Mapping) for row in content):
        return None
    found = next((read for names, read in FORMS if all(names <= set(row) for row in content)), None)
    return None if found is None else found(content, file)


def _binary(rows: Rows, file: Path) -> Figures:
    asked = _typed(Question, rows, file)
    answered = [row for row in asked if row.prediction is not None]
    sides = [[bool(row.prediction) == row.activating for row in answered if row.activating is so] for so in (True, False)]
    value = sum(sum(side) / len(side) for side in sides) / 2 if all(sides) else None
    return _figures("balanced_accuracy", value, len(answered), len(asked) - len(answered))


def _simulation(rows: Rows, file: Path) -> Figures:
    whole = next((row for row in _typed(Simulated, rows, file) if row.distance == WHOLE), None)
    value = whole.ev_correlation_score if whole is not None and isinstance(whole.ev_correlation_score, float) else None
    return _figures("correlation", value, 0 if whole is None else len(whole.scored_sequence_simulations), 0)


def _embedding(rows: Rows, file: Path) -> Figures:
    asked = _typed(Similarity, rows, file)
    return _ranked([row.distance for row in asked], [row.similarity for row in asked])


def _surprisal(rows: Rows, file: Path) -> Figures:
    asked = _typed(Surprisal, rows, file)
    return _ranked([row.distance for row in asked], [sum(row.no_explanation) - sum(row.explanation) for row in asked])


def _intruder(rows: Rows, file: Path) -> Figures:
    answered = [row for row in _typed(Intruder, rows, file) if row.sample is not None]
    value = sum(row.correct for row in answered) / len(answered) if answered else None
    return _figures("accuracy", value, len(answered), len(rows) - len(answered))


FORMS: tuple[tuple[frozenset[str], Callable[[Rows, Path], Figures]], ...] = (
    (frozenset({"activating", "prediction"}), _binary),
    (frozenset({"ev_correlation_score", "scored_sequence_simulations"}), _simulation),
    (frozenset({"distance", "similarity"}), _embedding),
    (frozenset({"distance", "explanation", "no_explanation"}), _surprisal),
    (frozenset({"correct", "correct_index"}), _intruder),
)


def _typed(kind: type[Model], rows: Rows, file: Path) -> list[Model]:
    return [typed(kind, row, f"{file}: question {number}", InputError, "Score it again.") for number, row in enumerate(rows)]


def _ranked(distances: Sequence[float], values: Sequence[float]) -> Figures:
    """Return the area under the ROC curve, ties counted as a half."""
    firing, all_values = np.array(distances) >= 0, np.array(values)
    positive, negative = all_values[firing], np.sort(all_values[~firing])
    value = None
    if len(positive) and len(negative) and np.isfinite(all_values).all():
        below = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
        value = float(below.mean() / 2 / len(negative))
    return _figures("auroc", value, len(values), 0)


def _figures(metric: str, value: float | None, answered: int, failed: int) -> Figures:
    return {"metric": metric, "value": value, "answered": answered, "failed": failed}
