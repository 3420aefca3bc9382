"""Score explanations by embedding similarity (Paulo et al., arXiv 2410.13928, section 4.5)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import AbilityMissingError, CallFailedError
from interp.domain.score import Score
from interp.judge.batch import bisect
from interp.judge.recorder import RecordingModel
from interp.llm.base import Ability, Model
from interp.llm.gather import gather_all
from interp.llm.prompt_text import plain
from interp.score.base import LlmScorer, ScoreContext, ScorerInput
from interp.score.controls.tested import not_made, provenance_of, tested_of
from interp.score.items.sampling import counts_of, sample
from interp.score.items.test_set import TestSet
from interp.score.scorers.graded_metrics import METRIC, graded_score, grades_of

Vector = NDArray[np.float32]
POSITIVES, NEGATIVES = 50, 50
# Replaces a missing explanation: not every model embeds an empty text.
NOTHING = "text"
CURE = "Install one with `pip install 'glossator[search]'`, or name one as models.embedding."
SAME_EACH_TIME = "The embedding of a text comes out the same each time."
NO_SECOND_EMBEDDER = "A second judge reads and answers; the job has one embedding model."


class Embedding(LlmScorer):
    """AUROC of the cosine of explanation and window, for firing against silent windows.

    At most 50 windows of each kind are used. Both sides are embedded alike: prefixes for queries and documents are left to the endpoint.
    """

    name = "embedding"
    version = 7
    metric = METRIC
    needs = frozenset({Ability.EMBEDDINGS})
    asks_judge = False

    async def score(self, item: ScorerInput, context: ScoreContext) -> Score:
        """Return the score. Raises AbilityMissingError where there is no embedder."""
        if context.embedder is None:
            raise AbilityMissingError("The scorer embedding has no embedding model.", cure=CURE, scorer=self.name)
        embedder = RecordingModel(context.embedder, self.name)
        counts = counts_of(self.spec, POSITIVES, NEGATIVES)
        test_set = sample(TestSet.of(item.contexts, item.statistics), *counts, context.seed, item.feature)
        texts = [plain(test_set.contexts, row, context.vocabulary) for row in range(len(test_set))]
        tested = tested_of(item, context.controls, context.vocabulary, with_legend=False)
        parts = list(dict.fromkeys(one.part for one in tested))
        labels = [[one.label or NOTHING for one in tested if one.part == part and one.failure is None] for part in parts]
        windows, *found = await gather_all(
            [vectors_of(embedder, texts)]
            + [vectors_of(embedder.for_purpose(part) if part else embedder, said) for part, said in zip(parts, labels, strict=True)]
        )
        vectors = {part: iter(group) for part, group in zip(parts, found, strict=True)}
        cosines = [[cosine(label, window) for window in windows] for label in (one.failure or next(vectors[one.part]) for one in tested)]
        values = np.array([[grade if isinstance(grade, float) else np.nan for grade in row] for row in cosines], dtype=np.float64)
        failures = [None if isinstance(grade, float) else grade for grade in cosines[0]]
        return graded_score(
            self,
            item,
            test_set,
            tested,
            grades_of(values.reshape(len(tested), len(texts)), failures),
            controls=not_made(item, context, repeat=SAME_EACH_TIME, judge_swap=NO_SECOND_EMBEDDER),
            provenance=provenance_of(self, item, context, embedder, None),
        )


async def vectors_of(model: Model, texts: Sequence[str]) -> list[Vector | str]:
    """Return a vector per text, or why it fails alone. Raises JobPausedError."""

    async def embed(part: Sequence[str]) -> list[Vector | str] | CallFailedError:
        try:
            return list(await model.embed(part))
        except CallFailedError as error:
            return error

    return await bisect(embed, texts, str) if texts else []


def cosine(label: Vector | str, window: Vector | str) -> float | str:
    """Return the cosine of two vectors of unit length, or why there is none."""
    if isinstance(label, str) or isinstance(window, str):
        return label if isinstance(label, str) else str(window)
    if label.shape != window.shape:
        return f"The explanation's embedding has {len(label)} numbers and the window's {len(window)}."
    return float(label @ window)
