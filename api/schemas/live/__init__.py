"""Requests and answers of the model at hand."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from api.schemas.base import ResponseModel
from interp.domain.live import (
    MOST_FEATURES,
    MOST_NEW_TOKENS,
    MOST_PER_TOKEN,
    MOST_RANKED,
    MOST_SEEDS,
    MOST_STRENGTH,
    MOST_TEXTS,
    LiveModel,
    Number,
    Seconds,
    Text,
)
from interp.domain.polarity import ADDRESS

# Of all texts of a request.
MOST_CHARACTERS_TOGETHER = 50_000
Address = Annotated[str, Field(pattern=ADDRESS)] | Number


class LiveQuestion(LiveModel):
    """What requests to the model at hand have in common."""

    run: str | None = Field(
        default=None,
        min_length=1,
        max_length=400,
        description="The run whose subject, settings and levels are used; the dictionary's current one when not given.",
    )
    deadline_seconds: Seconds = Field(default=30.0, description="How long the answer may take; after that it is 503 or 504.")


class ActivationsRequest(LiveQuestion):
    """Texts to read with a dictionary."""

    texts: tuple[Text, ...] = Field(min_length=1, max_length=MOST_TEXTS, description="Each is read as a document of its own.")
    against: tuple[Text, ...] = Field(
        default=(),
        max_length=MOST_TEXTS,
        description="Texts to compare with: `differences` ranks the features that fire on `texts` and not on these.",
    )
    features: tuple[Address, ...] = Field(
        default=(), max_length=MOST_FEATURES, description="Features whose activation at each token is wanted: 123, or 123- for a negative side."
    )
    top_k: int = Field(default=10, ge=0, le=MOST_RANKED, description="Strongest features of each text and of all; 0 looks at `features` alone.")
    per_token: int = Field(default=0, ge=0, le=MOST_PER_TOKEN, description="Strongest features at each token.")

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if sum(map(len, (*self.texts, *self.against))) > MOST_CHARACTERS_TOGETHER:
            raise ValueError(f"texts and against have more than {MOST_CHARACTERS_TOGETHER:,} characters together")
        return self


class SteerRequest(LiveQuestion):
    """A prompt to go on with while a feature is pushed."""

    feature: Address = Field(description="123, or 123- for a negative side.", examples=["1566"])
    prompt: Text
    strength: float = Field(
        ge=-MOST_STRENGTH, le=MOST_STRENGTH, allow_inf_nan=False, description="How much of the feature's decoder direction is added at each token."
    )
    unit: Literal["max", "activation"] = Field(
        default="max", description="Whether `strength` 1 is the feature's largest activation in the run, or an activation of 1."
    )
    seeds: tuple[Number, ...] = Field(default=(0,), min_length=1, max_length=MOST_SEEDS, description="Each gives a steered text and one without.")
    max_new_tokens: int = Field(default=32, ge=1, le=MOST_NEW_TOKENS)
    temperature: float = Field(default=0.7, ge=0, le=2, allow_inf_nan=False, description="0 takes the most probable token.")


class LiveFeature(ResponseModel):
    """A feature in a run; figures are null where it has no evidence."""

    index: int
    name: str
    label: str | None
    score: float | None
    lift: float | None
    density: float | None
    max_activation: float | None = Field(description="In the run's corpus.")
    firing_level: float | None


class RankedFeature(LiveFeature):
    """A feature that is strong in some texts."""

    value: float = Field(description="What it is ranked by: its largest activation, or the difference.")
    text: int = Field(description="The text in which it is strongest, by its place.")
    token: int = Field(description="The token at which it is.")


class TokenFeature(ResponseModel):
    """One of the strongest features at a token."""

    index: int
    name: str
    activation: float


class ReadFeature(ResponseModel):
    """A feature's activations at the tokens of a text."""

    index: int
    name: str
    activations: list[float] = Field(description="Equal to the last bit to what collection stores, where `exact` is true.")


class LiveText(ResponseModel):
    """A text as the subject read it."""

    tokens: list[str] = Field(description="Together they are the text; a character of several tokens is at its last.")
    token_ids: list[int]
    counted: list[bool] = Field(description="False at special tokens and excluded positions, where no feature counts.")
    rows: list[int] = Field(description="Tokens at which a row begins, whose tokens see none before.")
    features: list[ReadFeature]
    top: list[RankedFeature]
    per_token: list[list[TokenFeature]]


class LiveAnswer(ResponseModel):
    """What answers of the model at hand have in common."""

    dictionary: str
    run: str
    subject: str
    hook_point: str
    seconds: float = Field(description="From when a worker took the request.")
    opening_seconds: float = Field(description="Of these, for opening the models; about 0 where they were open.")


class ActivationsAnswer(LiveAnswer):
    """Activations on given texts."""

    exact: bool = Field(description="Whether activations are known to be collection's own to the last bit.")
    features: list[LiveFeature] = Field(description="Those asked for.")
    texts: list[LiveText]
    against: list[LiveText]
    top: list[RankedFeature] = Field(description="The strongest over all `texts`.")
    differences: list[RankedFeature] = Field(description="Those that are most stronger in `texts` than in `against`.")


class WrittenText(ResponseModel):
    """A text that the subject wrote."""

    text: str
    tokens: list[str]


class ContinuationAnswer(ResponseModel):
    """What follows the prompt, drawn with one seed."""

    seed: int
    plain: WrittenText
    steered: WrittenText


class SteerAnswer(LiveAnswer):
    """Steered texts, each beside the one without."""

    feature: LiveFeature
    strength: float = Field(description="In activations of the feature.")
    prompt: list[str]
    continuations: list[ContinuationAnswer]


class LiveStateAnswer(ResponseModel):
    """Whether the model at hand answers at once."""

    dictionary: str
    run: str
    state: Literal["open", "closed", "no-worker"] = Field(
        description="`open`: a worker has the models open. `closed`: the first request opens them. `no-worker`: no gpu worker is there."
    )
    workers: int = Field(description="gpu workers that live.")
    waits_for: str | None = Field(description="In words, what a request would wait for.")
