"""Define the spec of a corpus and of what is collected."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

if TYPE_CHECKING:
    from interp.domain.evidence import ContextKind
from interp.domain.spec.base import LONGEST_PATH, LONGEST_WORD, MOST_TOKENS, Frozen

Glob = Annotated[str, Field(max_length=256)]
# Tokens a batch where the job does not say: the fastest on a CPU (`python -m benches.collect --batch-tokens`).
AUTO_BATCH_TOKENS = 8192


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
