"""Reviews of labels by people."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from api.schemas.base import Page, ResponseModel
from api.schemas.dictionaries import FeatureSummary

Verdict = Literal["accept", "edit", "flag", "comment"]
Comment = Annotated[str, Field(min_length=1, max_length=4000, pattern=r"^[^\x00]*$")]
LabelText = Annotated[str, Field(min_length=1, max_length=10_000, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")]


class NewReviewRequest(ResponseModel):
    """What a person says of a feature's label."""

    model_config = ConfigDict(extra="forbid", defer_build=False)

    verdict: Verdict = Field(description="`edit` says that the label needs other words, and gives them in `text`; `flag` says that it is wrong.")
    text: LabelText | None = Field(default=None, description="The label, of an `edit` alone.")
    comment: Comment | None = None
    explanation: int | None = Field(default=None, ge=0, lt=2**63, description="The judged explanation; the listed one when not given.")

    @model_validator(mode="after")
    def _verdict_has_its_text(self) -> Self:
        if (self.verdict == "edit") != (self.text is not None):
            raise ValueError("`text` belongs to the verdict `edit`, and to no other")
        if self.verdict == "comment" and self.comment is None:
            raise ValueError("the verdict `comment` needs a comment")
        return self


class ReviewAnswer(ResponseModel):
    """A review of a feature's label."""

    id: int
    name: str = Field(description="`dictionary:index`.")
    dictionary: str
    index: int
    run: str
    verdict: str
    explanation: int | None
    label: str | None = Field(description="The judged label as it was then.")
    text: str | None = Field(description="The label that an edit wrote; it is an explanation of the explainer `human`.")
    comment: str | None
    author: str
    created_at: datetime


class ReviewPage(Page[ReviewAnswer]):
    """One page of reviews, newest first."""


class QueueAnswer(ResponseModel):
    """Features whose label the caller has not judged, in the order to judge them."""

    dictionary: str
    run: str
    items: list[FeatureSummary]


class ScorerAgreementAnswer(ResponseModel):
    """How well a scorer tells accepted labels from flagged and edited ones."""

    scorer: str
    accepted: int
    rejected: int
    auroc: float | None = Field(description="The chance that an accepted label is scored above another.")
    low: float | None
    high: float | None
    reason: str | None = Field(description="Why there is no figure.")


class PeopleAgreementAnswer(ResponseModel):
    """Cohen's kappa of two people over the labels that both judged."""

    first: str
    second: str
    labels: int
    kappa: float | None
    low: float | None
    high: float | None
    reason: str | None


class AgreementAnswer(ResponseModel):
    """How people's verdicts on a run's labels agree with scorers, and with one another."""

    dictionary: str
    run: str
    verdicts: int = Field(description="Last verdicts of each person about each label; an edit accepts nothing, a comment says nothing.")
    scorers: list[ScorerAgreementAnswer]
    people: list[PeopleAgreementAnswer]
