"""Answers of jobs: spec, progress and budget."""

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from api.schemas.base import Page, ResponseModel
from interp.domain.job_warnings import JobWarning
from interp.domain.lifecycle import JobKind, JobStatus
from interp.domain.spec import BudgetSpec
from interp.store.queue.progress import RequestCounts, StageProgress


class SuffixAnswer(ResponseModel):
    """The number and total size of files of one suffix."""

    files: int
    bytes: int


class CorpusAnswer(ResponseModel):
    """Files that match the corpus' path and patterns, from metadata; submission lists a bounded number."""

    files: int
    bytes: int
    by_suffix: dict[str, SuffixAnswer] = Field(description="By suffix, the largest first; `none` is files without one.")
    left_out: dict[str, int] = Field(description="Entries that are no regular files, by kind.")
    complete: bool = Field(description="False where there are more entries than submission lists.")


class AmountAnswer(ResponseModel):
    """Calls, tokens (prompt and reply) and dollars; null without a cap or a price."""

    calls: int | None
    tokens: int | None
    usd: float | None


class BudgetAnswer(ResponseModel):
    """A job's budget, whose caps are never exceeded.

    The rest of a cap is cap - spent - unsettled - reserved. `reserved` is for calls in flight. `unsettled` was reserved by workers that died: those
    calls may have been billed.
    """

    caps: AmountAnswer
    spent: AmountAnswer
    reserved: AmountAnswer
    unsettled: AmountAnswer


class Progress(ResponseModel):
    """The changing part of a job, which the event stream sends."""

    status: JobStatus
    request_counts: RequestCounts
    stages: list[StageProgress]
    created_at: datetime
    started_at: datetime | None
    paused_at: datetime | None = Field(default=None, description="Since when the job is paused.")
    cancelling_at: datetime | None
    finished_at: datetime | None
    eta: datetime | None = Field(description="When the job should end; null while nothing can be said.")
    summary: dict[str, Any] | None = Field(description="Figures of the whole job; null until it ends.")
    error: dict[str, Any] | None = Field(description="Why the job failed: a problem document.")
    pause_reason: dict[str, Any] | None = Field(
        default=None, description="Why the service paused the job: a problem document. Null where a user paused it."
    )
    budget: BudgetAnswer | None = Field(default=None, description="Caps and spend; null for a job that asks no language model.")


class ControlComparison(ResponseModel):
    """One scorer's medians over the features, of a job and of its random-weights control."""

    median: float | None
    random_median: float | None
    median_lift: float | None
    random_median_lift: float | None


class ControlJob(ResponseModel):
    """The control job: the same job on the subject with random weights.

    `scores` compares the medians of this job with those of the control, per scorer. It is null until both have finished; of several dictionaries the
    summary's `random_weights` has the comparisons.
    """

    id: str
    status: JobStatus
    dictionary: str | None
    scores: dict[str, ControlComparison] | None


class JobRun(ResponseModel):
    """One of a job's dictionaries, and the run that its results belong to."""

    dictionary: str
    run: str


class JobAnswer(Progress):
    """One job: its spec, progress and results."""

    id: str
    kind: JobKind = Field(default=JobKind.JOB, description="`check` measures the dictionary alone: see /v1/checks.")
    priority: int
    owner: str | None = Field(
        default=None, description="Who submitted it, the name of a key or a user; null without a key. Owners and admins alone may change a job."
    )
    control_of: str | None = Field(default=None, description="The job whose random-weights control this one is.")
    control: ControlJob | None = Field(default=None, description="This job's random-weights control, where one was asked for.")
    dictionary: str | None = Field(description="The (first) dictionary's name, once it has been opened.")
    run: str | None = Field(description="The run that its results belong to, once it is known; of several dictionaries, the first one's.")
    runs: list[JobRun] = Field(default=[], description="Each dictionary with its run, in the order of the spec, once they are known.")
    warnings: list[JobWarning] = Field(default=[], description="What to know of how the job's files were read; more may come when it starts.")
    corpus: CorpusAnswer | None = Field(default=None, description="The files of the corpus, as they were at submission.")
    spec: dict[str, Any]


class JobPage(Page[JobAnswer]):
    """One page of jobs, newest first."""


class ResumeRequest(ResponseModel):
    """Changes to a resumed job: given caps replace old ones, null removes, missing ones stay."""

    model_config = ConfigDict(extra="forbid", defer_build=False)

    budget: BudgetSpec | None = None


class DeliveryAnswer(ResponseModel):
    """A webhook event and its delivery attempts; `next_attempt_at` is null once delivered or given up."""

    id: str = Field(description="The `webhook-id` of every attempt: a receiver that has seen it may ignore it.")
    event: str
    url: str
    payload: dict[str, Any]
    attempts: int
    next_attempt_at: datetime | None = Field(description="When the next attempt is due.")
    delivered_at: datetime | None
    error: str | None = Field(description="Why the last attempt failed.")
    created_at: datetime


class DeliveryPage(Page[DeliveryAnswer]):
    """One page of a job's webhook deliveries, oldest first."""
