"""Answers of health reports."""

from datetime import datetime
from typing import Any

from pydantic import Field

from api.schemas.base import ResponseModel
from interp.health.verdict import Verdict


class VerdictLineAnswer(ResponseModel):
    """One headline figure, the figure that it is compared with, and which is better."""

    figure: str
    trained: float | None
    control: float | None
    against: str = Field(description="What the control figure is; empty where none is compared.")
    difference: float | None
    low: float | None = Field(description="Lower end of the difference's 95% interval.")
    high: float | None = Field(description="Its upper end.")
    verdict: Verdict = Field(description="`not told apart`: the interval has 0 in it. `higher` and `lower`: of a figure for which neither is better.")
    why: str | None = Field(description="Why there is no difference, or no interval.")
    sentence: str


class HealthAnswer(ResponseModel):
    """A dictionary's health report for one run."""

    dictionary: str
    run: str = Field(description="The run whose corpus was measured.")
    job: str = Field(description="The job that made the report.")
    created_at: datetime
    comparison: dict[str, Any] | None = Field(
        default=None, description="This dictionary and those of `against` by L0, CE recovered and FVU: fronts, and comparisons at matched L0 alone."
    )
    verdict: list[VerdictLineAnswer] = Field(
        description="Each headline figure beside that of the control `random_dictionary`, or of what stands beside it."
    )
    report: dict[str, Any] = Field(
        description="Figures by section: `reconstruction`, `activity`, `cofiring`, `geometry`, `concepts`, `matching`. A figure has `value`, "
        "`standard_error` and `why` it is null; docs/health.md defines each."
    )
