"""Everything of one feature that leaves the service, and the run that it belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from interp.domain.polarity import address

if TYPE_CHECKING:
    from interp.domain.evidence import FeatureEvidence
    from interp.domain.score import Item
    from interp.domain.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class ScoreRecord:
    """One score of an explanation, with the names and meanings of its stored columns."""

    scorer: str
    settings_digest: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    interval_method: str | None
    shrunken_value: float | None
    reason: str | None
    answered: int
    failed: int
    abstained: int
    null_value: float | None
    null_reason: str | None
    lift: float | None
    lift_low: float | None
    lift_high: float | None
    lift_method: str | None
    lift_reason: str | None
    p_value: float | None
    p_method: str | None
    p_paired: float | None
    p_paired_reason: str | None
    q_value: float | None
    null_values: list[Any] | None = None
    controls: list[Any] | None = None
    details: dict[str, Any] = field(default_factory=dict)


def judge_of(details: Mapping[str, Any]) -> str | None:
    """Return who answered a score's questions, by its details: a language model's name, or `executable`."""
    made = details.get("provenance") or {}
    for name in ("judge_model", "model"):
        if isinstance(made.get(name), dict):
            return str(made[name].get("model"))
    judge = made.get("judge")
    return judge if isinstance(judge, str) else None


@dataclass(frozen=True, slots=True)
class ExplanationRecord:
    """One explanation of a feature with its scores; `best` is the one that listings show.

    `items` are the questions of its scores, by scorer, where they were asked for.
    """

    explainer: str
    settings_digest: str
    best: bool
    text: str | None
    failure: str | None
    rule: dict[str, Any] | None
    provenance: dict[str, Any]
    scores: tuple[ScoreRecord, ...] = ()
    job: str | None = None
    items: Mapping[str, "tuple[Item, ...]"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FeatureRecord:
    """One feature of a run.

    `listed` are the figures of its row in listings, by name (`LISTED`). `evidence` is None where it was not asked for, or cannot be read.
    `unreadable` says why evidence or questions cannot be read.
    """

    index: int
    listed: Mapping[str, Any]
    evidence: "FeatureEvidence | None" = None
    explanations: tuple[ExplanationRecord, ...] = ()
    unreadable: str | None = None


LISTED = (
    "state",
    "label",
    "explainer",
    "scorer",
    "score",
    "shrunken_score",
    "lift",
    "p_value",
    "q_value",
    "density",
    "tokens_active",
    "max_activation",
    "mean_active",
    "firing_level",
)


@dataclass(frozen=True, slots=True)
class RunSource:
    """The dictionary and the run that features are of, with the subject's vocabulary."""

    dictionary: str
    dictionary_digest: str
    hook_point: str
    architecture: str
    d_in: int
    n_features: int
    polarity: str
    config: Mapping[str, Any]
    subject: str
    subject_digest: str
    run_id: int
    run: str
    run_digest: str
    identity: Mapping[str, Any]
    corpus: Mapping[str, Any]
    tokens: int
    vocabulary: "Vocabulary"

    def address(self, index: int) -> str:
        """Return a feature's number as it is written, `123` or `123-`."""
        return address(index, self.n_features, self.polarity)

    @property
    def corpus_name(self) -> str:
        """Return the last part of the corpus' path; else the start of its digest."""
        return corpus_name(self.corpus, self.identity)

    @property
    def subject_name(self) -> str:
        """Return the part of the dictionary's name before the `@`."""
        return self.dictionary.partition("@")[0]

    @property
    def source_name(self) -> str:
        """Return the part of the dictionary's name after the `@`: layer and set."""
        return self.dictionary.partition("@")[2] or self.dictionary


def corpus_name(corpus: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """Return the last part of a corpus' path; else the start of its digest."""
    path = str(corpus.get("path") or "").rstrip("/")
    return path.rpartition("/")[2] or str((identity.get("corpus") or {}).get("digest", "unknown"))[:12]
