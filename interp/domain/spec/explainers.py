"""Define the spec of an explainer."""

import hashlib
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from interp.domain.spec.base import LONGEST_NAME, MOST_PRICE, MOST_PROMPT, Frozen

# Labels that stand in a job; more are imported first.
MOST_LABELS = 5_000
# Rounds of an explainer that tries texts: each is two chunks for every range of features, one after the other.
MOST_TRIALS = 5
FeatureText = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
LabelText = Annotated[str, Field(min_length=1, max_length=10_000)]
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
