"""Answers of checks: a dictionary's figures on a sample, and what is wrong."""

from datetime import datetime
from typing import Any

from pydantic import Field

from api.schemas.base import ResponseModel
from interp.domain.check_report import CheckReport
from interp.domain.job_warnings import JobWarning
from interp.domain.lifecycle import JobStatus
from interp.store.queue.progress import StageProgress


class CheckAnswer(ResponseModel):
    """One check: its job's status and progress, and its report.

    It is followed, paused and cancelled as a job of this id.
    """

    id: str
    status: JobStatus
    stages: list[StageProgress]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    warnings: list[JobWarning] = Field(description="What to know of how the job's files were read.")
    error: dict[str, Any] | None = Field(description="Why the check failed: a problem document.")
    report: CheckReport | None = Field(description="Null until the check has completed.")
    spec: dict[str, Any]
