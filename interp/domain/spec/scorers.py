"""Define the spec of a scorer."""

from typing import Literal

from pydantic import Field, model_validator

from interp.domain.spec.base import LONGEST_NAME, MOST_PROMPT, Frozen

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
