"""Download a file by ranges, from where the last attempt ended."""

import hashlib
import logging
from pathlib import Path

import httpx

from glossator.errors import UnreachableError
from glossator.session import NO_ANSWER, Session

log = logging.getLogger(__name__)

# Attempts in a row that bring no byte.
ATTEMPTS, PAUSE_SECONDS = 5, 0.5


async def download(session: Session, path: str, target: Path, size: int, digest: str) -> None:
    """Download a file of this size and sha256 from where `target` ends.

    `target` holds the file's beginning or does not exist. Raises UnreachableError after some attempts that brought nothing, and for another file.
    """
    failures = 0
    while (start := _size(target)) < size:
        error: Exception = EOFError("the connection ended before the file did")
        try:
            await _append(session, path, target, start, digest)
        except (UnreachableError, *NO_ANSWER) as found:
            error = found
        failures = 0 if _size(target) > start else failures + 1
        if failures >= ATTEMPTS:
            raise session.unreachable(error) from error
        if _size(target) < size:
            log.info("The download of %s was interrupted at byte %d: %s", path, _size(target), error)
            await session.wire.sleep(PAUSE_SECONDS * failures)
    if _digest(target) != digest:
        target.unlink()
        raise UnreachableError(f"What {session.url} sent is not the export.", "Its digest is another.", "Download it again.")


async def _append(session: Session, path: str, target: Path, start: int, digest: str) -> None:
    """Append what is missing to a file, or write it anew."""
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-", "If-Range": f'"{digest}"'} if start else {})
    response = await session.exchange("GET", path, stream=True, headers=headers)
    try:
        with target.open("ab" if response.status_code == httpx.codes.PARTIAL_CONTENT else "wb") as file:
            async for block in session.wire.chunks(response):
                file.write(block)
    finally:
        await session.wire.release(response)


def _size(target: Path) -> int:
    return target.stat().st_size if target.exists() else 0


def _digest(target: Path) -> str:
    if not target.exists():
        return hashlib.sha256().hexdigest()
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
