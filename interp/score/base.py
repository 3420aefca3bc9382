"""Define scorers, their input and their figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import Contexts, FeatureEvidence, Split, Statistics
from interp.domain.explanation import Explanation
from interp.domain.score import Score
from interp.domain.spec import ScorerSpec
from interp.domain.vocabulary import Vocabulary
from interp.judge.writing import WrittenTexts
from interp.llm.base import Ability, Model
from interp.score.executable_judge import ExecutableJudge
from interp.stats.intervals import Bounds

LEVEL = 0.95
# The controls that a scorer with a language model makes itself, on its own items.
OWN_CONTROLS = frozenset({"empty", "baseline", "repeat", "judge_swap", "gold"})
# The ranges of figures: shares and areas, and correlations.
SHARE: Bounds = (0.0, 1.0)
CORRELATION: Bounds = (-1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Distractor:
    """Test contexts of another feature, for scorers that make the judge choose."""

    feature: int
    contexts: Contexts


@dataclass(frozen=True, slots=True)
class ProbedTexts:
    """Activations of a feature on texts that were written for labels.

    A text's number is the largest activation in it.

    level         the least activation that counts: the feature's median firing level; None for a feature that never fires
    firing_level  the feature fires above it
    fires, near   numbers of the texts written for its own label, to fire and to be silent
    others        numbers of the texts that were written to fire for other features' labels, by feature
    baseline      those of the feature's `pattern` explanation
    readings      of each own text, `fires` first: its kind, tokens and their activations
    failure       why there are no own texts; None where there are
    calls         keys of the calls that wrote the own texts
    """

    level: float | None
    firing_level: float
    fires: tuple[float, ...] = ()
    near: tuple[float, ...] = ()
    others: Mapping[int, tuple[float, ...]] = field(default_factory=dict)
    baseline: tuple[float, ...] = ()
    readings: tuple[Mapping[str, Any], ...] = ()
    failure: str | None = None
    calls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeatureEffect:
    """Shifts of the subject's predictions by a feature's direction, for each prompt.

    strength  of the direction of length 1; None without an effect, and `why` says so
    kl        mean divergence from the unpatched subject, in nats
    shifts    for each prompt the tokens that become likelier, and those that become less likely, the most moved first
    """

    feature: int
    strength: float | None
    kl: float | None
    shifts: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    why: str | None = None


@dataclass(frozen=True, slots=True)
class ScorerInput:
    """All data of one feature that a scorer may read.

    `contexts` are test contexts. `nulls` are explanations of other features. `baseline` is the feature's own `pattern` explanation, where the job
    asks for it. `probed` is for scorers that have texts written. `pool` holds test windows drawn at random, the same for all features of a job. Its
    activations are those of other features. `effects` are the feature's own and those of possible foils.
    """

    feature: int
    contexts: Contexts
    statistics: Statistics
    explanation: Explanation
    nulls: tuple[Explanation, ...]
    baseline: Explanation | None = None
    distractors: tuple[Distractor, ...] = ()
    pool: Contexts | None = None
    probed: ProbedTexts | None = None
    effects: tuple[FeatureEffect, ...] = ()

    @classmethod
    def of(
        cls,
        evidence: FeatureEvidence,
        explanation: Explanation,
        nulls: Sequence[Explanation],
        baseline: Explanation | None = None,
        distractors: Sequence[Distractor] = (),
        pool: Contexts | None = None,
        probed: ProbedTexts | None = None,
        effects: Sequence[FeatureEffect] = (),
    ) -> "ScorerInput":
        contexts = evidence.contexts.of(Split.TEST)
        return cls(
            evidence.feature, contexts, evidence.statistics, explanation, tuple(nulls), baseline, tuple(distractors), pool, probed, tuple(effects)
        )


class Scorer:
    """A scorer with the executable judge, without store, clock or global state."""

    name: str
    version: int
    metric: str

    def __init__(self, spec: ScorerSpec, judge: ExecutableJudge | None = None) -> None:
        self.spec = spec
        self.judge = judge or ExecutableJudge()

    def score(self, items: Sequence[ScorerInput], vocabulary: Vocabulary, seed: int) -> list[Score]:  # noqa: ARG002
        """Return one score per input, in the same order, without use of `seed`."""
        return [self.score_one(item, vocabulary) for item in items]

    def score_one(self, item: ScorerInput, vocabulary: Vocabulary) -> Score:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class ScoreContext:
    """The models and settings of a scorer that asks language models.

    `controls` are those that the scorer makes itself (`empty`, `baseline`, `repeat`, `judge_swap`, `gold`). Nulls come with the input.
    The judge of a scorer that only embeds is its embedder.
    """

    vocabulary: Vocabulary
    seed: int
    judge: Model
    second_judge: Model | None = None
    embedder: Model | None = None
    controls: frozenset[str] = frozenset()
    control_share: float = 0.1
    gold_items: int = 6


class LlmScorer:
    """A scorer that asks language models, and has no other side effect."""

    name: str
    version: int
    metric: str
    needs: frozenset[Ability] = frozenset()
    needs_distractors = False
    asks_judge = True
    # Whether the subject is run for the scorer before it scores, and on texts that it has written before that.
    probes = False
    writes = False

    def __init__(self, spec: ScorerSpec) -> None:
        self.spec = spec

    async def write(self, item: ScorerInput, context: ScoreContext) -> WrittenTexts:
        """Return texts written of the item's explanation, for scorers that have some written. Raises JobPausedError."""
        raise NotImplementedError

    async def score(self, item: ScorerInput, context: ScoreContext) -> Score:
        """Return the score. Raises JobPausedError.

        A failed call is a failure of each of its items. Without any answer the score is undefined. `provenance["calls"]` lists the keys of all calls
        by purpose: `{"detection": [...], "detection/null": [...]}`.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its interval, and its values without each document, float64 [m].

    `value` None is undefined, with a `reason`. A value without an interval has a reason, too. `span` is the range that the figure can have. `error`
    is its standard error, where that is not computed from the interval.
    """

    value: float | None
    bounds: Bounds | None = None
    replicates: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    reason: str | None = None
    span: Bounds = SHARE
    error: float | None = None
