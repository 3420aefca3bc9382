"""Send uploads, and pack archives for them."""

import io
import tarfile
import zipfile
from typing import Any

import httpx

from interp.config.settings import Settings
from interp.files.artifact_store import UPLOADS
from workers import artifact_paths

LIMITS: dict[str, Any] = {"upload_max_bytes": 300_000, "upload_max_files": 20, "uploads_owner_max_bytes": 500_000, "uploads_total_max_bytes": 450_000}


def objects(settings: Settings) -> list[str]:
    return artifact_paths.store_of(settings).names(UPLOADS)


def send(http: httpx.Client, content: bytes, name: str = "corpus.jsonl", **more: Any) -> httpx.Response:
    return http.post("/v1/files", params={"name": name} | more, content=content, headers={"Content-Type": "application/octet-stream"})


def tar(*entries: tuple[tarfile.TarInfo | str, bytes], mode: str = "w") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:  # type: ignore[call-overload]  # any mode
        for entry, content in entries:
            info = tarfile.TarInfo(entry) if isinstance(entry, str) else entry
            info.size = info.size or len(content)
            archive.addfile(info, io.BytesIO(content) if content else None)
    return made.getvalue()


def packed_zip(*entries: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
    return made.getvalue()
