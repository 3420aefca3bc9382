"""The spec of a job: all settings that decide a result."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from interp.domain.feature_ranges import ranges_of
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
# Characters of a prompt template, ten times the longest of our own.
MOST_PROMPT = 20_000
MOST_RANGES = 100_000
# Labels that stand in a job; more are imported first.
MOST_LABELS = 5_000
# Rounds of an explainer that tries texts: each is two chunks for every range of features, one after the other.
MOST_TRIALS = 5
# Features of a dictionary that a job maps without being asked: the nearest ones are searched among all pairs.
MOST_MAPPED = 131_072
FeatureText = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
LabelText = Annotated[str, Field(min_length=1, max_length=10_000)]
# End of the names of dictionaries of random directions.
RANDOM = "-random"
# Tokens a batch where the job does not say: the fastest on a CPU (`python -m benches.collect --batch-tokens`).
AUTO_BATCH_TOKENS = 8192


class SubjectSpec(Frozen):
    """The language model under study."""

    model: str = Field(
        min_length=1,
        max_length=LONGEST_PATH,
        description="A folder in Hugging Face form, a GGUF file, `upload://ID` of either, or a model name of the Hub.",
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
        "`upload://ID/path`, `s3://bucket/folder`, `wandb://entity/project/run`, `saelens:RELEASE/ID`, or a Neuronpedia id or URL.",
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
    directions: Literal["trained", "random"] = Field(
        default="trained",
        exclude_if=lambda directions: directions == "trained",
        description="`random` draws the directions, and finds biases with which each feature fires as often as the trained one of its number; the "
        "control `random_dictionary` adds such a dictionary for each.",
    )

    @property
    def control(self) -> "DictionarySpec":
        """Return the dictionary of random directions beside this one."""
        name = f"{self.name[: LONGEST_WORD - len(RANDOM)]}{RANDOM}" if self.name else None
        return self.model_copy(update={"directions": "random", "name": name})

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
        "compressed as .gz or .zst. Or `upload://ID/path`, `s3://bucket/folder`, or a dataset of the Hugging Face Hub: "
        "`hf://datasets/organisation/name@revision`.",
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
    shuffled: bool = Field(
        default=False,
        exclude_if=lambda shuffled: not shuffled,
        description="A control: the tokens of each document in random order, with the same frequencies and no syntax.",
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
    packing: bool = Field(
        default=False,
        exclude_if=lambda packing: not packing,
        description="Documents of a split share rows, a BOS between them, and attention goes across documents, as in packed training data. Without "
        "it each document has rows of its own.",
    )
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
    batch_tokens: Literal["auto"] | Annotated[int, Field(ge=16, le=2**24)] = Field(
        default="auto",
        description="Tokens a batch: memory and speed, and no more than the last bits of the result. `auto` is 8192 on a CPU, and on a GPU what fits "
        "beside models and features, from 2048 to 65536.",
    )
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

    @property
    def tokens_at_once(self) -> int:
        """Return `batch_tokens`, or what `auto` is on a CPU."""
        return AUTO_BATCH_TOKENS if self.batch_tokens == "auto" else self.batch_tokens

    def in_batches_of(self, tokens: int) -> "CollectionSpec":
        """Return the settings with this number of tokens a batch."""
        return self.model_copy(update={"batch_tokens": tokens})

    def identity(self) -> dict[str, Any]:
        """Return the settings that decide the evidence."""
        return self.model_dump(mode="json", exclude={"batch_tokens", "shard_tokens"})


class Price(Frozen):
    """USD per million tokens, for models missing or wrong in the price list."""

    input: float = Field(ge=0, le=MOST_PRICE)
    output: float = Field(ge=0, le=MOST_PRICE)
    # Left out where it is not given: jobs of before keep the digest of their request.
    cached_input: float | None = Field(
        default=None,
        ge=0,
        le=MOST_PRICE,
        exclude_if=lambda price: price is None,
        description="Of prompt tokens that the endpoint read from its cache; as `input` when not given.",
    )


# Stands for the base URL of models that are asked by files: in cache keys, records and digests.
FILES = "files:"


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
    transport: Literal["live", "batch", "files"] = Field(
        default="live",
        description="`batch` hands calls in as files, at half the price, within a day. `files` asks no endpoint: the files are exported for a runner "
        "without a server, and its results imported (`/v1/batches`).",
    )
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
    # Left out where it is not given: jobs of before keep the digest of their request.
    prompt_cache_key: bool | None = Field(
        default=None,
        exclude_if=lambda sent: sent is None,
        description="Send `prompt_cache_key` with prompts that begin alike, so that the endpoint finds what it keeps of them; null: to OpenAI alone.",
    )
    extra: dict[str, JsonValue] = Field(default_factory=dict, description="More fields of the request body.", examples=[{"reasoning_effort": "low"}])

    @field_validator("extra")
    @classmethod
    def _extra_is_small(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if len(json.dumps(value)) > MOST_EXTRA:
            raise ValueError(f"extra holds more than {MOST_EXTRA:,} bytes of JSON")
        return value

    def endpoint(self, own_url: str) -> str:
        """Return the model's base URL, else `own_url`; FILES for `transport: files`."""
        return FILES if self.transport == "files" else (self.base_url or own_url).rstrip("/")

    @model_validator(mode="after")
    def _files_have_no_endpoint(self) -> "ModelSpec":
        if self.transport == "files" and self.base_url is not None:
            raise ValueError("transport files asks no endpoint: leave base_url out, or take live or batch")
        return self

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


# Settings of `endpoint` that decide how it is called, and no label.
OF_CALLS = ("timeout_seconds", "price", "most_tokens", "concurrency", "key_header")
# Names that no connection gives a meaning of its own.
KEY_HEADER = r"^[A-Za-z0-9-]{0,58}([Kk][Ee][Yy]|[Tt][Oo][Kk][Ee][Nn])$"


class ExplainerSpec(Frozen):
    """An explainer by name, with its options; None means its own default."""

    name: str = Field(max_length=LONGEST_NAME)
    contexts: int | None = Field(default=None, ge=1, le=500, description="Contexts shown.")
    reasoning: bool = Field(default=False, description="Let the model think in words before it answers.")
    base: str = Field(default="contexts", max_length=LONGEST_NAME, description="The explainer that `best_of` and `refine` build on.")
    samples: int = Field(default=5, ge=2, le=50, description="Explanations that `best_of` chooses from.")
    rounds: int = Field(default=2, ge=1, le=10, description="Times that `refine` shows counterexamples, and that `agent` tries texts (at most 5).")
    clusters: int = Field(default=4, ge=2, le=16, description="Meanings that `clusters` looks for at most.")
    # Left out where it is not given: jobs of before keep the digest of their request.
    prompt: str | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_PROMPT,
        exclude_if=lambda prompt: prompt is None,
        description="A prompt template in place of the explainer's own, or of its base's (docs/prompts.md); its version is its digest.",
    )
    texts: int | None = Field(
        default=None,
        ge=2,
        le=16,
        exclude_if=lambda texts: texts is None,
        description="Of `agent`: texts that it writes in a round, and the subject reads; 8 when not given.",
    )
    output: Literal["vocab_proj", "token_change"] = Field(
        default="vocab_proj",
        exclude_if=lambda output: output == "vocab_proj",
        description="Of `output_tokens`: the tokens whose logits its direction moves, or those that became likelier when it was added to prompts.",
    )
    source: str | None = Field(
        default=None,
        min_length=1,
        max_length=LONGEST_NAME,
        description="Of `imported`: the labels that `glossator import` wrote under this name (`human`, `delphi`, a file's `explainer`).",
    )
    labels: dict[FeatureText, LabelText] | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_LABELS,
        description="Of `imported`: labels by feature, in place of `source`.",
        examples=[{"42": "digits"}],
    )

    # Left out where they are not given: jobs of before keep the digest of their request.
    url: str | None = Field(
        default=None,
        max_length=2000,
        pattern=r"^https?://[^\s]+$",
        exclude_if=lambda url: url is None,
        description="Of `endpoint`: where the evidence of each feature is posted (docs/explainer-endpoint.md). The server has its key, by URL.",
        examples=["https://lab.example/explain"],
    )
    timeout_seconds: float | None = Field(
        default=None, gt=0, le=3600, exclude_if=lambda seconds: seconds is None, description="Of `endpoint`: of one attempt; 120 when not given."
    )
    price: float | None = Field(
        default=None, ge=0, le=MOST_PRICE, exclude_if=lambda price: price is None, description="Of `endpoint`: the most USD that a call costs."
    )
    most_tokens: int | None = Field(
        default=None,
        ge=0,
        le=2**31 - 1,
        exclude_if=lambda tokens: tokens is None,
        description="Of `endpoint`: the most tokens that a call takes, as its answer's `usage` counts them. A budget in tokens needs it.",
    )
    concurrency: int | None = Field(
        default=None, ge=1, le=4096, exclude_if=lambda number: number is None, description="Of `endpoint`: the most calls in flight of one worker."
    )
    key_header: str | None = Field(
        default=None,
        pattern=KEY_HEADER,
        exclude_if=lambda name: name is None,
        description="Of `endpoint`: the header that carries the server's key of the URL; `Authorization: Bearer` when not given.",
        examples=["X-API-Key"],
    )

    @model_validator(mode="after")
    def _endpoint_has_a_url(self) -> "ExplainerSpec":
        given = [name for name in (*OF_CALLS, "url") if getattr(self, name) is not None]
        if self.name == "endpoint" and self.url is None:
            raise ValueError("the explainer `endpoint` takes a `url`")
        if self.name != "endpoint" and given:
            raise ValueError(f"the explainer `endpoint` takes {', '.join(f'`{name}`' for name in sorted(given))}, and no other does")
        return self

    @model_validator(mode="after")
    def _options_are_its_own(self) -> "ExplainerSpec":
        if self.name == "agent" and self.rounds > MOST_TRIALS:
            raise ValueError(f"the explainer `agent` takes at most {MOST_TRIALS} rounds")
        if self.name != "agent" and self.texts is not None:
            raise ValueError("the explainer `agent` takes `texts`, and no other does")
        if self.output != "vocab_proj" and "output_tokens" not in (self.name, self.base if self.name in ("best_of", "refine") else None):
            raise ValueError("the explainer `output_tokens` takes `output`, and no other does")
        return self

    @model_validator(mode="after")
    def _imported_has_labels(self) -> "ExplainerSpec":
        given = (self.source is not None) + (self.labels is not None)
        if given != (self.name == "imported"):
            raise ValueError("the explainer `imported` takes either `source` or `labels`, and no other takes them")
        return self

    def options(self) -> dict[str, Any]:
        """Return the options that decide a label, without defaults; a prompt by its digest."""
        found = self.model_dump(mode="json", exclude_defaults=True, exclude={*OF_CALLS, "prompt"})
        return found if self.prompt is None else found | {"prompt": hashlib.sha256(self.prompt.encode()).hexdigest()}


PromptOrder = Literal["windows_first", "label_first"]


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
    # Left out where it is the default, since the other scorers keep their digest.
    order: PromptOrder = Field(
        default="windows_first",
        exclude_if=lambda order: order == "windows_first",
        description="What a language model is shown first: the windows, or the label. With the windows first the prompts of a feature's label and "
        "of its nulls begin alike, and an endpoint can take that part from its cache.",
    )
    foils: int = Field(default=4, ge=1, le=16, description="Other features that `discrimination` and `intruder` choose among.")
    # Left out where it is not given: scores of before keep their digest.
    texts: int | None = Field(
        default=None,
        ge=4,
        le=50,
        exclude_if=lambda texts: texts is None,
        description="Texts of each kind that `generation` has written of a label (10): some to make the feature fire, and as many near ones.",
    )
    prompt: str | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_PROMPT,
        exclude_if=lambda prompt: prompt is None,
        description="A prompt template in place of the scorer's own, for the judge (docs/prompts.md).",
    )
    stop: Literal["fixed", "sequential"] = Field(default="fixed", description="`sequential` stops asking once the interval says enough.")
    threshold: float | None = Field(default=None, ge=-1e9, le=1e9, description="`sequential` stops when its interval lies on one side of this.")
    width: float | None = Field(default=None, gt=0, description="`sequential` stops when its interval is narrower than this.")

    @model_validator(mode="after")
    def _sequential_has_a_goal(self) -> "ScorerSpec":
        if self.stop == "sequential" and self.threshold is None and self.width is None:
            raise ValueError("stop: sequential needs a threshold, a width, or both")
        return self


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
