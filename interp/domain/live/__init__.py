"""Requests to the model at hand: activations of texts, and steered text."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# Limits of one request, so that the lane is soon free for the next.
MOST_TEXTS, MOST_CHARACTERS, MOST_TOKENS = 16, 20_000, 2048
MOST_FEATURES, MOST_RANKED, MOST_PER_TOKEN = 64, 100, 20
MOST_SEEDS, MOST_NEW_TOKENS = 4, 128
MOST_STRENGTH = 1000.0
MOST_SECONDS = 120.0

Text = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]
Number = Annotated[int, Field(ge=0, lt=2**31)]
Seconds = Annotated[float, Field(gt=0, le=MOST_SECONDS)]


class LiveModel(BaseModel):
    """Base of requests and of their parts."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ActivationsWork(LiveModel):
    """Texts to read, and what is wanted of them.

    `levels` are the firing levels of `features`. `top_k` features are ranked over each text, over all, and by how much more they fire on `texts` than
    on `against`; `per_token` at each token.
    """

    kind: Literal["activations"] = "activations"
    texts: tuple[Text, ...]
    against: tuple[Text, ...] = ()
    features: tuple[Number, ...] = ()
    levels: tuple[float, ...] = ()
    top_k: int = Field(default=0, ge=0, le=MOST_RANKED)
    per_token: int = Field(default=0, ge=0, le=MOST_PER_TOKEN)


class SteerWork(LiveModel):
    """A prompt to go on with, with and without a feature's direction added.

    `strength` is in units of the feature's activation.
    """

    kind: Literal["steer"] = "steer"
    prompt: Text
    feature: Number
    strength: float
    seeds: tuple[Number, ...]
    max_new_tokens: int = Field(ge=1, le=MOST_NEW_TOKENS)
    temperature: float = Field(ge=0, le=2)


LiveWork = Annotated[ActivationsWork | SteerWork, Field(discriminator="kind")]
