"""Answers of exports."""

from datetime import datetime
from typing import Any

from pydantic import Field

from api.schemas.base import Page, ResponseModel


class ExportAnswer(ResponseModel):
    """An export: its state, and the file once it is complete."""

    id: str
    status: str = Field(description="`queued`, `running`, `completed` or `failed`.")
    format: str
    dictionary: str
    features_done: int
    features_total: int | None = Field(description="Null where a filter leaves that open.")
    file_name: str | None = Field(description="A format of many files is one ZIP archive.")
    media_type: str | None
    bytes: int | None
    sha256: str | None = Field(description="Of the file; its ETag, too.")
    content: str | None = Field(description="Where the file is, once it is complete.")
    error: dict[str, Any] | None = Field(description="Why the export failed: a problem document.")
    created_at: datetime
    finished_at: datetime | None
    expires_at: datetime | None = Field(description="When the file is deleted.")
    request: dict[str, Any]


class ExportDetail(ExportAnswer):
    """An export with its manifest."""

    manifest: dict[str, Any] | None = Field(description="What the export is of: versions, digests, prompts, counts and files.")


class ExportPage(Page[ExportAnswer]):
    pass
