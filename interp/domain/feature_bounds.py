"""The filters of features: the same in listings, bulk reads and exports."""

from typing import Literal

from pydantic import BaseModel, Field

# PostgreSQL takes no NUL character in text.
WITHOUT_NUL = r"^[^\x00]*$"


class FeatureBounds(BaseModel):
    """Bounds of a feature's figures; they are inclusive and exclude features without a value."""

    min_score: float | None = Field(default=None, allow_inf_nan=False)
    max_score: float | None = Field(default=None, allow_inf_nan=False)
    min_lift: float | None = Field(default=None, allow_inf_nan=False, description="Lift over null: own score minus that of others' explanations.")
    max_lift: float | None = Field(default=None, allow_inf_nan=False)
    min_density: float | None = Field(default=None, ge=0, le=1, description="Share of tokens at which the feature fires.")
    max_density: float | None = Field(default=None, ge=0, le=1)
    max_q_value: float | None = Field(default=None, ge=0, le=1, description="Largest q value (Benjamini-Hochberg) of the lift.")
    min_shrunken_score: float | None = Field(default=None, allow_inf_nan=False, description="The score drawn to the mean of all.")
    max_shrunken_score: float | None = Field(default=None, allow_inf_nan=False)
    max_p_value: float | None = Field(default=None, ge=0, le=1, description="Largest p value of the lift.")
    min_tokens_active: int | None = Field(default=None, ge=0, lt=2**63, description="Tokens at which the feature fires.")
    max_tokens_active: int | None = Field(default=None, ge=0, lt=2**63)
    min_max_activation: float | None = Field(default=None, allow_inf_nan=False, description="Smallest largest activation.")
    max_max_activation: float | None = Field(default=None, allow_inf_nan=False)
    min_mean_active: float | None = Field(default=None, allow_inf_nan=False, description="Mean activation where the feature fires.")
    max_mean_active: float | None = Field(default=None, allow_inf_nan=False)
    min_firing_level: float | None = Field(default=None, allow_inf_nan=False, description="The activation above which the feature fires.")
    max_firing_level: float | None = Field(default=None, allow_inf_nan=False)
    state: Literal["active", "rare", "dead"] | None = None
    list: str | None = Field(
        default=None, min_length=1, max_length=64, pattern=WITHOUT_NUL, description="Only features of this list, by id or name.", examples=["odd"]
    )
    q: str | None = Field(default=None, min_length=1, max_length=200, pattern=WITHOUT_NUL, description="Part of the label, in any case.")

    def of_whole_corpora(self) -> tuple[str, ...]:
        """Return the given bounds of figures that only a whole corpus has."""
        names = (f"{end}_{name}" for name in ("density", "tokens_active", "mean_active") for end in ("min", "max"))
        return tuple(name for name in names if getattr(self, name) is not None)
