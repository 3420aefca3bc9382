"""Read a request's body block by block, in the thread of its route."""

import time
from collections.abc import AsyncIterator, Iterator

from anyio import fail_after, from_thread
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.http.body_limits import TOO_SLOW
from interp.config.settings import Settings
from interp.domain.errors import UploadInvalidError


def blocks_of(request: Request, settings: Settings) -> Iterator[bytes]:
    """Yield the body's blocks in this thread.

    Raises UploadInvalidError for a body that breaks off, and HTTPException for a slow one.
    """
    stream, until = request.stream(), time.monotonic() + settings.upload_timeout_seconds
    try:
        while (block := from_thread.run(_next, stream, min(settings.request_body_timeout_seconds, until - time.monotonic()))) is not None:
            yield block
    except TimeoutError as error:
        raise HTTPException(TOO_SLOW) from error
    except ClientDisconnect as error:
        raise UploadInvalidError("The upload broke off.", cure="Send it again.") from error


async def _next(stream: AsyncIterator[bytes], seconds: float) -> bytes | None:
    with fail_after(max(seconds, 0)):
        return await anext(stream, None)
