"""Answers of runs: evidence, sources and jobs."""

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from api.schemas.base import Page, ResponseModel


class RunJob(ResponseModel):
    """A job whose results belong to the run."""

    id: str
    status: str
    explainers: list[str]
    scorers: list[str]
    median_lift: dict[str, float | None] = Field(description="Median lift over null by scorer, from the job's summary; empty until it ends.")
    created_at: datetime
    finished_at: datetime | None


class RunAnswer(ResponseModel):
    """A run: a dictionary of a subject, a corpus and collection settings."""

    id: int
    name: str = Field(description="The run's address: the dictionary's name and the run's number.")
    number: int
    dictionary: str
    digest: str = Field(description="Digest of `identity`. Eight or more of its digits name the run as well.")
    status: Literal["completed", "collecting", "incomplete"] = Field(
        description="`completed`: a job of it has completed. Else `collecting` while a job of it is open, `incomplete` when none is."
    )
    current: bool = Field(description="Whether listings of the dictionary show this run when they name none.")
    pinned: bool = Field(description="Whether an operator chose it as the current one.")
    subject: str
    corpus: str = Field(description="The corpus's short name.")
    tokens: int
    covered_features: int = Field(description="How many features have evidence.")
    n_features: int = Field(description="How many features the dictionary has.")
    jobs: list[RunJob] = Field(description="The last twenty, the newest first.")
    firing_level: Literal["zero", "quantile"] = Field(
        description="Above which activation features fire: 0, or each above a level of its own, at `firing_rate` of the tokens."
    )
    firing_rate: float | None = Field(description="Null where features fire above 0.")
    identity: dict[str, Any] = Field(description="All that decides the evidence.")
    corpus_facts: dict[str, Any]
    created_at: datetime
    completed_at: datetime | None = Field(description="When a job of it last completed.")


class RunPage(Page[RunAnswer]):
    pass


class CurrentRunRequest(ResponseModel):
    """The run to pin as the dictionary's current one."""

    model_config = ConfigDict(extra="forbid", defer_build=False)

    run: str = Field(min_length=1, max_length=400, pattern=r"^[^\x00]*$", description="Number, address, or start of the digest.", examples=["2"])
