"""Answers of batches that a runner without a server is asked by."""

from datetime import datetime

from pydantic import Field

from api.schemas.base import Page, ResponseModel


class BatchAnswer(ResponseModel):
    """A batch of questions to one model, for a runner without a server."""

    id: str
    job_id: str
    model: str
    questions: int
    status: str = Field(description="`open` while its job waits for results; `ended` once they are read, or the job has ended.")
    has_results: bool = Field(description="Results were imported, and the job's worker will read them.")
    created_at: datetime
    ended_at: datetime | None = Field(description="When every answer was recorded.")
    requests: str = Field(description="Where its questions are, while it is open.")


class BatchPage(Page[BatchAnswer]):
    pass


class BatchResultsAnswer(ResponseModel):
    """What became of the lines of imported results."""

    batch: BatchAnswer
    is_stored: bool = Field(description="False for a batch that had ended, whose results are not needed any more.")
    lines: int
    answered: int = Field(description="Questions with an answer.")
    failed: int = Field(description="Questions for which there is an error alone; the job treats it as it treats an endpoint's.")
    missing: int = Field(description="Questions without a line, which the job asks again.")
    duplicated: int = Field(description="Lines that repeat a question; its first answer counts.")
    unknown: int = Field(description="Lines that name no question of the batch, and were dropped.")
    unreadable: int = Field(description="Lines that hold no result, or are too long, and were dropped.")
