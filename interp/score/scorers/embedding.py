"""Embedding: are windows in which the feature fires nearer to the explanation than silent ones? (Paulo et al., arXiv 2410.13928, section 4.5.)"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import AbilityMissingError, CallFailedError
from interp.domain.score import Score
from interp.domain.spec import ScorerSpec
from interp.judge.bisect import answered
from interp.judge.recorder import RecordingModel
from interp.llm.base import Ability, Model
from interp.llm.gather import gather_all
from interp.llm.prompt_text import plain
from interp.score.base import ScoreContext, ScorerInput
from interp.score.controls.explanation_set import not_made, provenance_of, tested_of
from interp.score.items.sampling import sample
from interp.score.items.test_items import questions_of
from interp.score.scorers.binary_metrics import BinaryTestSet
from interp.score.scorers.graded_metrics import METRIC, Grades, limits, score_of

Vector = NDArray[np.float32]
POSITIVES, NEGATIVES = 50, 50
# What stands in the place of no explanation: an empty text cannot be embedded everywhere.
NOTHING = "text"
SAME_EACH_TIME = "The embedding of a text comes out the same each time."
NO_SECOND_EMBEDDER = "A second judge reads and answers; the job has one embedding model."


class Embedding:
    """`value` is the AUROC of the cosine of explanation and window, firing against silent windows: all of them up to 50 each.

    Models that want a prefix for queries and documents get it from the endpoint or not at all: both sides are embedded alike.
    """

    name = "embedding"
    version = 7
    metric = METRIC
    needs: frozenset[Ability] = frozenset({Ability.EMBEDDINGS})
    needs_foils = False

    def __init__(self, spec: ScorerSpec) -> None:
        self.spec = spec

    async def score(self, item: ScorerInput, desk: ScoreContext) -> Score:
        """As `LlmScorer.score`. Raises AbilityMissing where the job names no embedding model."""
        if desk.embedder is None:
            raise AbilityMissingError("The scorer embedding has no embedding model.", cure="Name one as models.embedding.", scorer=self.name)
        embedder = RecordingModel(desk.embedder, self.name)
        grades = await self._ask(item, desk, embedder)
        controls = not_made(item, desk, repeat=SAME_EACH_TIME, judge_swap=NO_SECOND_EMBEDDER)
        return score_of(self, item, grades, controls, provenance_of(self, item, desk, embedder, None))

    async def _ask(self, item: ScorerInput, desk: ScoreContext, embedder: RecordingModel) -> Grades:
        questions = sample(questions_of(item.contexts), *limits(self.spec, POSITIVES, NEGATIVES), desk.seed, item.feature)
        texts = [plain(questions.contexts, row, desk.vocabulary) for row in range(len(questions))]
        tested = tested_of(item, desk.controls, desk.vocabulary, with_legend=False)
        parts = list(dict.fromkeys(one.part for one in tested))
        labels = [[one.label or NOTHING for one in tested if one.part == part and one.failure is None] for part in parts]
        windows, *found = await gather_all(
            [vectors_of(embedder, texts)]
            + [vectors_of(embedder.for_purpose(part) if part else embedder, said) for part, said in zip(parts, labels, strict=True)]
        )
        vectors = {part: iter(group) for part, group in zip(parts, found, strict=True)}
        rows = [next(vectors[one.part]) if one.failure is None else one.failure for one in tested]
        cosines = [[cosine(label, window) for window in windows] for label in rows]
        values = np.array([[grade if isinstance(grade, float) else np.nan for grade in row] for row in cosines], dtype=np.float64)
        failures = [None if isinstance(grade, float) else grade for grade in cosines[0]]
        return Grades(BinaryTestSet.of(questions, item.statistics), tested, values.reshape(len(tested), len(texts)), failures)


async def vectors_of(model: Model, texts: Sequence[str]) -> list[Vector | str]:
    """A vector for each text, or why it has none: one text that is too long costs the others nothing. Raises JobMustPause."""

    async def once(part: Sequence[str]) -> list[Vector | str] | CallFailedError:
        try:
            return list(await model.embed(part))
        except CallFailedError as error:
            return error

    return await answered(once, texts, str) if texts else []


def cosine(label: Vector | str, window: Vector | str) -> float | str:
    """Of two vectors of unit length; or why there is none."""
    if isinstance(label, str) or isinstance(window, str):
        return label if isinstance(label, str) else str(window)
    if label.shape != window.shape:
        return f"The explanation's embedding has {len(label)} numbers and the window's {len(window)}."
    return float(label @ window)
