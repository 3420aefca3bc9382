"""Answers of uploads."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from api.schemas.base import Page, ResponseModel

MOST_PARTS = 2000
PartId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class JoinRequest(ResponseModel):
    """Uploaded files to join into one, in their order."""

    model_config = ConfigDict(extra="forbid", defer_build=False)

    name: str = Field(min_length=1, max_length=255, description="The name of the file or folder, without a path.")
    parts: tuple[PartId, ...] = Field(min_length=1, max_length=MOST_PARTS, description="Ids of your uploads; they are deleted with the join.")
    digest: str = Field(pattern="^[0-9a-f]{64}$", description="The sha256 of the joined bytes; any others are refused.")
    unpack: bool = Field(default=False, description="Whether the joined file is an archive to unpack.")


class FileAnswer(ResponseModel):
    """One upload: a file, or a folder that came as an archive."""

    id: str
    uri: str = Field(description="What a job writes for it, as `dictionary.source`, `corpus.path` or `subject.model`; `/path` names a file within.")
    name: str
    kind: Literal["file", "folder"]
    digest: str = Field(
        description="The sha256 of a file's bytes; of a folder, that of its sorted lines `path NUL size NUL sha256 LF`, sizes in decimal digits."
    )
    bytes: int
    files: int
    created_at: datetime
    expires_at: datetime | None = Field(
        description="When it is deleted, unless a job that is not over needs it. Each job that names it sets it anew."
    )


class FileContent(ResponseModel):
    """A file of an upload: its path in a folder, or the upload's own name."""

    path: str
    bytes: int
    digest: str


class FileDetail(FileAnswer):
    """One upload with its files."""

    content: list[FileContent]


class FilePage(Page[FileAnswer]):
    """A page of uploads, newest first."""
