"""Define the spec of language models, their prices and budgets."""

import json
from typing import Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from interp.domain.spec.base import MOST_PRICE, MOST_TOKENS, Frozen

# Amounts are stored in millionths of a millionth of a dollar, in 64 bits.
MOST_USD = 9e6
# Bytes of JSON of the additional fields of a request body, which are sent with each prompt.
MOST_EXTRA = 64 * 1024


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
