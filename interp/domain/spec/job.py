"""Define the spec of a job."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from interp.domain.feature_ranges import ranges_of
from interp.domain.spec.base import LONGEST_WORD, Frozen
from interp.domain.spec.collection import CollectionSpec, CorpusSpec
from interp.domain.spec.explainers import ExplainerSpec
from interp.domain.spec.models import BudgetSpec, ModelsSpec
from interp.domain.spec.scorers import ScorerSpec
from interp.domain.spec.subject import DictionarySpec, SubjectSpec

MOST_PARTS = 32
MOST_RANGES = 100_000
# Features of a dictionary that a job maps without being asked: the nearest ones are searched among all pairs.
MOST_MAPPED = 131_072


class HealthSpec(Frozen):
    """What the health report of a dictionary measures; see docs/health.md."""

    tokens: int = Field(default=200_000, ge=256, le=2**31, description="Tokens of the sample that is read with the reconstruction in place, at most.")
    se: float = Field(default=0.002, ge=0, description="Standard error of the nats lost at which that reading stops earlier; 0: never.")
    token_class: tuple[Annotated[str, Field(max_length=LONGEST_WORD)], ...] = Field(
        default=(), max_length=10_000, description="Texts of whole tokens, leading space included: a class of tokens of one's own, called `own`."
    )


WebhookEvent = Literal["job.running", "job.paused", "job.cancelled", "job.completed", "job.failed"]


class WebhookSpec(Frozen):
    """Receiver of a job's events (docs/webhooks.md); it decides no result."""

    url: str = Field(
        max_length=2000,
        pattern=r"^https?://[^\s@#/?]+([/?][^\s#]*)?$",
        description="Takes a POST for each event. Without a user, password or fragment.",
        examples=["https://example.org/hooks/glossator"],
    )
    events: tuple[WebhookEvent, ...] = Field(
        default=("job.completed", "job.failed", "job.cancelled", "job.paused"),
        min_length=1,
        max_length=MOST_PARTS,
        description="Changes of the job to tell of.",
    )


Control = Literal["null", "empty", "baseline", "random_weights", "random_dictionary", "repeat", "judge_swap", "gold"]
RANGES = re.compile(r"^\s*\d+(\s*-\s*\d+)?(\s*,\s*\d+(\s*-\s*\d+)?)*\s*$")
OF_LIST = "list:"
LIST = re.compile(r"^list:[A-Za-z0-9._-]{1,64}$")


def _one_or_several(schema: dict[str, Any]) -> None:
    schema["required"] = [name for name in schema["required"] if name != "dictionary"]
    schema["anyOf"] = [{"required": ["dictionary"]}, {"required": ["dictionaries"]}]


class JobSpec(Frozen):
    """One job: features of dictionaries, a corpus, explainers and scorers."""

    model_config = ConfigDict(json_schema_extra=_one_or_several)

    subject: SubjectSpec
    dictionary: DictionarySpec
    # Left out where there is one: jobs of before keep the digest of their request.
    dictionaries: tuple[DictionarySpec, ...] = Field(
        default=(),
        max_length=MOST_PARTS,
        exclude_if=lambda dictionaries: not dictionaries,
        description="Several dictionaries of the subject, in place of `dictionary`: one forward pass feeds them all. Each has a run of its own; "
        "`features`, explainers and scorers are the same for all.",
    )
    corpus: CorpusSpec
    features: Literal["all"] | str | tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(
        default="all",
        description='`"all"`, ranges with both ends included (`"0-99,120"`), a list of indices, or `"list:odd"`: the features of a named list.',
        examples=["all", "0-99,120", [3, 5], "list:odd"],
    )
    collection: CollectionSpec = CollectionSpec()
    # Left out where it is not asked for: jobs of before keep the digest of their request.
    health: HealthSpec | None = Field(
        default=None,
        exclude_if=lambda health: health is None,
        description="Makes the dictionary's health report; `true` takes the defaults. A job without explainers makes it, too.",
    )
    # Left out where it is the default: jobs of before keep the digest of their request.
    map: bool | None = Field(
        default=None,
        exclude_if=lambda wanted: wanted is None,
        description="Whether the features are laid out in a plane, near directions near each other (docs/pages.md). By default where the dictionary "
        f"is trained, has no map yet, and has at most {MOST_MAPPED:,} features.",
    )
    explainers: tuple[ExplainerSpec, ...] = Field(default=(ExplainerSpec(name="pattern"),), max_length=MOST_PARTS)
    scorers: tuple[ScorerSpec, ...] = Field(default=(ScorerSpec(name="detection"), ScorerSpec(name="simulation")), max_length=MOST_PARTS)
    models: ModelsSpec = ModelsSpec()
    controls: tuple[Control, ...] = Field(
        default=("null",), max_length=MOST_PARTS, description="What each score is compared with; see docs/scores.md."
    )
    control_share: float = Field(default=0.1, gt=0, le=1, description="Share of the items that `repeat` and `judge_swap` ask again.")
    gold_items: int = Field(default=6, ge=2, le=100, description="Questions of known answer a feature, for `gold`.")
    budget: BudgetSpec = BudgetSpec()
    seed: int = Field(default=0, ge=0, lt=2**31)
    priority: int = Field(default=0, ge=-100, le=100, description="Higher goes first.")
    # Left out where there is none: jobs older than webhooks keep the digest of their request.
    webhook: WebhookSpec | None = Field(default=None, exclude_if=lambda webhook: webhook is None, description="Who is told when the job changes.")

    @model_validator(mode="before")
    @classmethod
    def _first_of_several(cls, content: Any) -> Any:
        """Take the first of `dictionaries` as `dictionary`."""
        several = content.get("dictionaries") if isinstance(content, dict) else None
        if isinstance(several, list | tuple) and several and "dictionary" not in content:
            return content | {"dictionary": several[0]}
        return content

    @model_validator(mode="before")
    @classmethod
    def _health_is_asked_for(cls, content: Any) -> Any:
        """Take `true` as the report's defaults, and make it where there are no explainers."""
        if not isinstance(content, dict):
            return content
        has_none = isinstance(content.get("explainers"), list | tuple) and not content["explainers"]
        health = content.get("health")
        if isinstance(health, bool):
            health = {} if health else None
        if has_none:
            content = {"scorers": ()} | content
            health = {} if health is None else health
        return content if health is None and "health" not in content else content | {"health": health}

    @model_validator(mode="after")
    def _labels_are_scored(self) -> "JobSpec":
        if self.scorers and not self.explainers:
            raise ValueError("a job without explainers has nothing to score: leave out scorers, too")
        return self

    @model_validator(mode="after")
    def _several_are_distinct(self) -> "JobSpec":
        if self.dictionaries and self.dictionary != self.dictionaries[0]:
            raise ValueError("a job has either `dictionary` or `dictionaries`")
        if len(set(self.dictionaries)) < len(self.dictionaries):
            raise ValueError("dictionaries names one twice")
        return self

    def with_random_dictionaries(self) -> "JobSpec":
        """Return the job with random dictionaries, where a control asks for them."""
        own, has_one = self.dictionaries or (self.dictionary,), {place for place, _ in self.random_pairs()}
        missing = [one.control for place, one in enumerate(own) if one.directions == "trained" and place not in has_one]
        if "random_dictionary" not in self.controls or not missing:
            return self
        return self.model_copy(update={"dictionaries": (*own, *missing)})

    def random_pairs(self) -> list[tuple[int, int]]:
        """Return the places of each trained dictionary and of that of random directions beside it."""
        own = [one.dictionary for one in self.each]
        bare = [one.model_copy(update={"name": None}) for one in own]
        return [(place, bare.index(one.control)) for place, one in enumerate(bare) if one.directions == "trained" and one.control in bare]

    @property
    def each(self) -> tuple["JobSpec", ...]:
        """Return a job for each dictionary alone."""
        if not self.dictionaries:
            return (self,)
        return tuple(self.model_copy(update={"dictionary": one, "dictionaries": ()}) for one in self.dictionaries)

    def maps(self, n_features: int) -> bool:
        """Return whether the job of one unmapped dictionary lays out its features."""
        return self.dictionary.directions == "trained" and n_features <= MOST_MAPPED if self.map is None else self.map

    def with_dictionaries(self, dictionaries: Sequence[DictionarySpec]) -> "JobSpec":
        """Return the job with other settings of its dictionaries, in their order."""
        return self.model_copy(update={"dictionary": dictionaries[0], "dictionaries": tuple(dictionaries) if self.dictionaries else ()})

    @field_validator("explainers", "scorers", mode="before")
    @classmethod
    def _names_are_specs(cls, value: Any) -> Any:
        """Accept `["detection"]` as `[{"name": "detection"}]`."""
        if isinstance(value, list | tuple):
            return tuple({"name": item} if isinstance(item, str) else item for item in value)
        return value

    @field_validator("features")
    @classmethod
    def _features_can_be_read(cls, value: str | tuple[int, ...]) -> str | tuple[int, ...]:
        if isinstance(value, str) and value.count(",") >= MOST_RANGES:
            raise ValueError(f"features names more than {MOST_RANGES:,} ranges: submit several jobs")
        if not isinstance(value, str) and len(value) > MOST_RANGES:
            raise ValueError(f'features lists more than {MOST_RANGES:,} indices: write ranges such as "0-99999", or submit several jobs')
        if isinstance(value, str) and value != "all" and not RANGES.match(value) and not LIST.match(value):
            raise ValueError('features is "all", ranges such as "0-99,120", a list of indices, or the name of a list: "list:odd"')
        if not value:
            raise ValueError("features names no feature")
        return value

    def model_post_init(self, _: Any) -> None:
        if self.named_list is None:
            self.feature_ranges()  # raises for a backward range at submission, not in a worker

    @property
    def named_list(self) -> str | None:
        """Return the list that names the features, until submission resolves it."""
        return self.features.removeprefix(OF_LIST) if isinstance(self.features, str) and self.features.startswith(OF_LIST) else None

    def feature_ranges(self) -> list[tuple[int, int]] | None:
        """Return the features as half-open, sorted, disjoint ranges; None for all."""
        return ranges_of(self.features)
