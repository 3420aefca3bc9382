"""The spec of a job: all settings that decide a result."""

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from interp.domain.polarity import Polarity

if TYPE_CHECKING:
    from interp.domain.evidence import ContextKind


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _without_nul(cls, value: Any) -> Any:
        """Refuse NUL, which no path and no database accepts."""
        if any(isinstance(text, str) and "\0" in text for text in (value if isinstance(value, tuple) else (value,))):
            raise ValueError("holds a NUL character")
        return value


Glob = Annotated[str, Field(max_length=256)]
# The longest path of any system.
LONGEST_PATH = 4096
# Limits of registries and databases on names, and of git on revisions.
LONGEST_NAME, LONGEST_WORD = 64, 255
DEVICE = r"^(auto|spread|cpu|mps|(cuda|xpu)(:[0-9]{1,3})?)$"
# More than any corpus or budget has; sums stay within the databases' integers.
MOST_TOKENS = 10**15
# Amounts are stored in millionths of a millionth of a dollar, in 64 bits.
MOST_USD = 9e6
# Per million tokens: ten times the price of the most expensive model.
MOST_PRICE = 1e4
# Bytes of JSON of the additional fields of a request body, which are sent with each prompt.
MOST_EXTRA = 64 * 1024
MOST_PARTS = 32


class SubjectSpec(Frozen):
    """The language model under study."""

    model: str = Field(
        min_length=1,
        max_length=LONGEST_PATH,
        description="A folder in Hugging Face form, or a model name of the Hub.",
        examples=["examples/pystdlib/subject"],
    )
    revision: str | None = Field(default=None, max_length=LONGEST_WORD, description="Commit or tag, for a model of the Hub.")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = Field(
        default="auto",
        pattern=DEVICE,
        description="`auto` takes the first GPU, else the CPU. `spread` places a large model on all GPUs, then in memory, then on disk (accelerate).",
        examples=["auto", "cpu", "cuda:0"],
    )
    load_in: Literal["8bit", "4bit"] | None = Field(
        default=None, description="Quantises the weights as they are loaded (bitsandbytes); it changes the numbers, and so the evidence."
    )
    weights: Literal["trained", "random"] = Field(
        default="trained", description="`random` re-initialises the model: what the same dictionary makes of a subject that has learned nothing."
    )
    backend: Literal["auto", "bridge", "huggingface"] = Field(
        default="auto",
        description="`bridge` is TransformerLens' TransformerBridge; `huggingface` a plain forward hook (sdpa attention). `auto` takes `huggingface` "
        "for architectures of which every hook point is known to agree, else `bridge`.",
    )

    def model_post_init(self, _: Any) -> None:
        if self.backend == "bridge" and (self.load_in or self.device == "spread"):
            raise ValueError("the backend `bridge` neither quantises nor spreads a model; use `auto`")
        if self.weights == "random" and (self.load_in or self.device == "spread"):
            raise ValueError("random weights are drawn on one device, unquantised")


class DictionarySpec(Frozen):
    """The sparse dictionary and the place in the subject that it reads."""

    source: str = Field(
        min_length=1,
        max_length=LONGEST_PATH,
        description="A folder or file of weights, for the format `neurons` the subject's folder; or `hf://organisation/repository@revision/path`, "
        "`s3://bucket/folder`, `wandb://entity/project/run`, `saelens:RELEASE/ID`, or a Neuronpedia id or URL.",
        examples=["examples/pystdlib/dictionary", "hf://jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre"],
    )
    format: str = Field(
        default="auto", max_length=LONGEST_NAME, description="A weight family's name; `auto` finds it out.", examples=["auto", "saelens"]
    )
    name: str | None = Field(
        default=None,
        max_length=LONGEST_WORD,
        pattern=r"^[A-Za-z0-9._-]+@[A-Za-z0-9._-]+$",
        description="`model@layer-set`; made from the files when not given.",
    )
    hook_point: str | None = Field(
        default=None,
        min_length=1,
        max_length=LONGEST_PATH,
        description="In TransformerLens names; needed only when the files don't say. Several are joined by `+`, in the order of training.",
        examples=["blocks.3.mlp.hook_post", "blocks.0.hook_resid_post+blocks.1.hook_resid_post"],
    )
    # Left out where it is the default: jobs of before keep the digest of their request.
    polarity: Polarity = Field(
        default="positive",
        exclude_if=lambda polarity: polarity == "positive",
        description="`both` gives the negative side of each neuron or direction an address of its own (`123-`), with its own evidence, label and "
        "scores; `features` then names both sides of each.",
    )
    norm_scaling_factor: float | None = Field(
        default=None,
        gt=0,
        exclude_if=lambda factor: factor is None,
        description="The factor of a SAELens dictionary's inputs, where its config says `expected_average_only_in` and its files lack the factor.",
    )

    @property
    def sides(self) -> int:
        """Return how many features each neuron or direction has."""
        return 2 if self.polarity == "both" else 1


class CorpusSpec(Frozen):
    """The text of a job; a hash of each distinct document decides its split."""

    path: str = Field(
        min_length=1,
        max_length=LONGEST_PATH,
        description="A folder or a file: text (documents of a single file are set apart by <|endoftext|>), .jsonl, .ndjson or .parquet, perhaps "
        "compressed as .gz or .zst. Or `s3://bucket/folder`, or a dataset of the Hugging Face Hub: `hf://datasets/organisation/name@revision`.",
        examples=["/usr/lib/python3.11", "hf://datasets/roneneldan/TinyStories"],
    )
    subset: str | None = Field(default=None, max_length=LONGEST_WORD, description="The subset (configuration) of a Hub dataset.")
    split: str | None = Field(
        default=None, max_length=LONGEST_WORD, description="The split of a Hub dataset; without one, `include` chooses files of its repository."
    )
    include: tuple[Glob, ...] = Field(default=("**/*",), max_length=64, description="Glob patterns under a folder.")
    exclude: tuple[Glob, ...] = Field(default=(), max_length=64, description="Glob patterns left out of a folder.")
    text_field: str = Field(
        default="text", max_length=LONGEST_WORD, description="The field of a JSON line, or the column of a Parquet file, that holds the text."
    )
    chat: bool = Field(
        default=False,
        exclude_if=lambda chat: not chat,
        description="`text_field` holds a list of messages with `role` and `content`, rendered by the subject's chat template.",
    )
    broken_share: float = Field(
        default=0.01, ge=0, le=1, description="Share of JSON lines that may be unreadable or without text; they are counted and left out."
    )
    max_documents: int | None = Field(
        default=None, ge=1, le=MOST_TOKENS, description="Read no more documents than this: the first in the order of the files."
    )
    max_tokens: int | None = Field(
        default=None, ge=1, le=MOST_TOKENS, description="Stop after so many tokens; documents come in the order of their hash."
    )
    undecodable: Literal["error", "skip"] = Field(default="error", description="What to do with a file that is not UTF-8 text.")
    test_share: float = Field(default=0.5, gt=0, lt=1, description="Share of documents in the `test` split.")


class SplitCounts(Frozen):
    """Numbers of windows to keep per kind, for one split of a feature."""

    top: int = Field(default=10, ge=0, le=1000)
    uniform: int = Field(default=15, ge=0, le=1000)
    weighted: int = Field(default=15, ge=0, le=1000)
    inactive: int = Field(default=20, ge=0, le=1000)
    near_miss: int = Field(default=10, ge=0, le=1000)

    def of(self, kind: "ContextKind") -> int:
        count: int = getattr(self, kind.name.lower())
        return count


TEST_COUNTS = SplitCounts(top=10, uniform=20, weighted=20, inactive=40, near_miss=10)


class CollectionSpec(Frozen):
    """Settings of collection: the evidence's identity, except `batch_tokens` and `shard_tokens`."""

    row_tokens: int = Field(default=256, ge=16, le=8192, description="Tokens of a row that the subject reads at once, BOS included.")
    window: int = Field(default=32, ge=8, le=512, description="Tokens of a context; divides row_tokens.")
    explain: SplitCounts = SplitCounts()
    test: SplitCounts = TEST_COUNTS
    neighbours: int = Field(default=8, ge=0, le=64, description="Nearest features listed.")
    near_miss_neighbours: int = Field(default=3, ge=1, le=16, description="How many of the nearest features make a window a near miss.")
    output_tokens: int = Field(default=10, ge=0, le=100, description="Promoted and suppressed tokens listed.")
    left_context: int = Field(default=16, ge=0, le=64, description="Tokens before each window that are kept for reading: never marked nor counted.")
    firing_level: Literal["auto", "zero", "quantile"] = Field(
        default="auto",
        description="The activation above which a feature fires: 0, or a quantile of each feature's activations; `auto` takes the quantile for "
        "dense dictionaries (neurons, directions without a threshold, or a mean density above 0.1).",
    )
    firing_rate: float = Field(default=0.01, gt=0, le=0.5, description="Share of tokens at which a feature fires, where its level is a quantile.")
    encode_dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="bfloat16 is faster where the machine has it, and keeps about 99% of the same windows."
    )
    batch_tokens: int = Field(default=8192, ge=16, le=2**24, description="Tokens a batch: memory and speed, never the result.")
    shard_tokens: int = Field(default=524_288, ge=1024, le=2**31, description="Tokens a collect chunk: what a killed worker repeats at most.")

    @field_validator("test", mode="before")
    @classmethod
    def _test_counts(cls, value: Any) -> Any:
        """Fill counts that a job does not name with the test split's defaults."""
        return TEST_COUNTS.model_dump() | value if isinstance(value, dict) else value

    @field_validator("row_tokens")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 8:
            raise ValueError("row_tokens must be a multiple of 8")
        return value

    def model_post_init(self, _: Any) -> None:
        if self.row_tokens % self.window:
            raise ValueError(f"window ({self.window}) must divide row_tokens ({self.row_tokens})")

    def identity(self) -> dict[str, Any]:
        """Return the settings that decide the evidence."""
        return self.model_dump(mode="json", exclude={"batch_tokens", "shard_tokens"})


class Price(Frozen):
    """USD per million tokens, for models missing or wrong in the price list."""

    input: float = Field(ge=0, le=MOST_PRICE)
    output: float = Field(ge=0, le=MOST_PRICE)


class ModelSpec(Frozen):
    """A language model at an OpenAI-compatible endpoint; the server has its key, by base URL."""

    model: str = Field(min_length=1, max_length=255, description="The name that the endpoint knows the model by.", examples=["gpt-5-mini"])
    base_url: str | None = Field(
        default=None,
        max_length=2000,
        pattern=r"^https?://[^\s]+$",
        description="The endpoint; the server's own when not given.",
        examples=["http://127.0.0.1:11434/v1"],
    )
    transport: Literal["live", "batch"] = Field(default="live", description="`batch` hands calls in as files, at half the price, within a day.")
    temperature: float | None = Field(default=0.0, ge=0, le=2, description="null leaves it to the endpoint, as some reasoning models insist.")
    structured: Literal["auto", "json_schema", "json_object", "text"] = Field(
        default="auto", description="How to ask for JSON; `auto` tries a schema first and remembers what the endpoint takes."
    )
    logprobs: bool = Field(
        default=False,
        description="The model gives log-probabilities: `simulation` takes expected levels, one window a prompt, and a yes comes with its odds.",
    )
    max_tokens: int | None = Field(default=None, ge=1, le=1_000_000, description="Most tokens of a reply, in place of what each question asks for.")
    context_window: int | None = Field(
        default=None, ge=256, le=2**31 - 1, description="Tokens of prompt and reply together, where the endpoint does not say."
    )
    timeout_seconds: float = Field(default=120.0, gt=0, le=3600, description="Of one attempt.")
    price: Price | None = None
    extra: dict[str, JsonValue] = Field(default_factory=dict, description="More fields of the request body.", examples=[{"reasoning_effort": "low"}])

    @field_validator("extra")
    @classmethod
    def _extra_is_small(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if len(json.dumps(value)) > MOST_EXTRA:
            raise ValueError(f"extra holds more than {MOST_EXTRA:,} bytes of JSON")
        return value

    @model_validator(mode="after")
    def _extra_is_extra(self) -> "ModelSpec":
        taken = sorted(set(self.extra) & OWN_FIELDS)
        if taken:
            raise ValueError(f"extra holds {', '.join(taken)}, which have a setting of their own")
        return self


OWN_FIELDS = frozenset(
    {"model", "messages", "temperature", "max_tokens", "max_completion_tokens", "response_format", "logprobs", "top_logprobs", "n", "stream"}
)


# The roles of a job's models: the fields of `ModelsSpec`.
ROLES = ("explainer", "judge", "second_judge", "embedding")


class ModelsSpec(Frozen):
    """Models that write explanations, judge them, judge some again, and embed text."""

    explainer: ModelSpec | None = None
    judge: ModelSpec | None = None
    second_judge: ModelSpec | None = None
    embedding: ModelSpec | None = None


class BudgetSpec(Frozen):
    """Hard caps, which no call may pass; a job that reaches one pauses."""

    calls: int | None = Field(default=None, ge=0, le=MOST_TOKENS)
    tokens: int | None = Field(default=None, ge=0, le=MOST_TOKENS, description="Prompt and reply together.")
    usd: float | None = Field(default=None, ge=0, le=MOST_USD)


class ExplainerSpec(Frozen):
    """An explainer by name, with its options; None means its own default."""

    name: str = Field(max_length=LONGEST_NAME)
    contexts: int | None = Field(default=None, ge=1, le=500, description="Contexts shown.")
    reasoning: bool = Field(default=False, description="Let the model think in words before it answers.")
    base: str = Field(default="contexts", max_length=LONGEST_NAME, description="The explainer that `best_of` and `refine` build on.")
    samples: int = Field(default=5, ge=2, le=50, description="Explanations that `best_of` chooses from.")
    rounds: int = Field(default=2, ge=1, le=10, description="Times that `refine` shows counterexamples.")
    clusters: int = Field(default=4, ge=2, le=16, description="Meanings that `clusters` looks for at most.")

    def options(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, for digests."""
        return self.model_dump(mode="json", exclude_defaults=True)


class ScorerSpec(Frozen):
    """A scorer by name, with its options; None means its own default."""

    name: str = Field(max_length=LONGEST_NAME)
    judge: Literal["auto", "executable", "llm"] = Field(default="auto", description="`auto` is the job's judge model where it has one.")
    nulls: int | None = Field(
        default=None, ge=0, le=200, description="Other features' explanations that answer the same items; 20 of the executable judge, else 2."
    )
    positives: int | None = Field(default=None, ge=2, le=500, description="Firing windows that a language model is asked about, at most.")
    negatives: int | None = Field(default=None, ge=2, le=500, description="Silent windows, a quarter of them near misses where there are so many.")
    per_prompt: int = Field(default=10, ge=1, le=100, description="Windows a prompt.")
    foils: int = Field(default=4, ge=1, le=16, description="Other features that `discrimination` and `intruder` choose among.")
    stop: Literal["fixed", "sequential"] = Field(default="fixed", description="`sequential` stops asking once the interval says enough.")
    threshold: float | None = Field(default=None, ge=-1e9, le=1e9, description="`sequential` stops when its interval lies on one side of this.")
    width: float | None = Field(default=None, gt=0, description="`sequential` stops when its interval is narrower than this.")

    @model_validator(mode="after")
    def _sequential_has_a_goal(self) -> "ScorerSpec":
        if self.stop == "sequential" and self.threshold is None and self.width is None:
            raise ValueError("stop: sequential needs a threshold, a width, or both")
        return self


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


Control = Literal["null", "empty", "baseline", "random_weights", "repeat", "judge_swap", "gold"]


RANGES = re.compile(r"^\s*\d+(\s*-\s*\d+)?(\s*,\s*\d+(\s*-\s*\d+)?)*\s*$")


class JobSpec(Frozen):
    """One job: features of a dictionary, a corpus, explainers and scorers."""

    subject: SubjectSpec
    dictionary: DictionarySpec
    corpus: CorpusSpec
    features: Literal["all"] | str | tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(
        default="all",
        description='`"all"`, ranges with both ends included (`"0-99,120"`), or a list of indices.',
        examples=["all", "0-99,120", [3, 5]],
    )
    collection: CollectionSpec = CollectionSpec()
    explainers: tuple[ExplainerSpec, ...] = Field(default=(ExplainerSpec(name="pattern"),), min_length=1, max_length=MOST_PARTS)
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
        if isinstance(value, str) and value != "all" and not RANGES.match(value):
            raise ValueError('features is "all", ranges such as "0-99,120", or a list of indices')
        if not value:
            raise ValueError("features names no feature")
        return value

    def model_post_init(self, _: Any) -> None:
        self.feature_ranges()  # raises for a backward range at submission, not in a worker

    def feature_ranges(self) -> list[tuple[int, int]] | None:
        """Return the features as half-open, sorted, disjoint ranges; None for all."""
        if self.features == "all":
            return None
        if isinstance(self.features, str):
            pairs = [part.split("-") for part in self.features.replace(" ", "").split(",")]
            spans = [(int(pair[0]), int(pair[-1]) + 1) for pair in pairs]
        else:
            spans = [(index, index + 1) for index in self.features]
        merged: list[tuple[int, int]] = []
        for start, stop in sorted(spans):
            if stop <= start:
                raise ValueError(f"the range {start}-{stop - 1} runs backwards")
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
            else:
                merged.append((start, stop))
        return merged
