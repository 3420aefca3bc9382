"""Keep batches as files in the artifact store, for a runner without a server.

Such a runner is `vllm run-batch`.

batches/<id>.jsonl          the questions, one OpenAI batch line each
batches/<id>.results.jsonl  the answers, as `batch_results` writes them; a batch has ended once they are there

All machines of a service share that store, so a batch that one worker wrote is read by another.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from interp.domain.errors import AbilityMissingError, ArtifactMissingError, GlossatorError
from interp.domain.spec import FILES
from interp.files.artifact_store import BATCHES, Store
from interp.files.atomic import writing
from interp.llm.transports.base import BatchInfo, TransportError

if TYPE_CHECKING:
    from interp.llm.transports.http import Response

T = TypeVar("T")

BLOCK_BYTES = 1 << 20
REQUESTS, RESULTS = ".jsonl", ".results.jsonl"


def requests_of(batch_id: str) -> str:
    """Return the name of a batch's questions in the artifact store."""
    return f"{BATCHES}/{batch_id}{REQUESTS}"


def results_of(batch_id: str) -> str:
    """Return the name of a batch's results in the artifact store."""
    return f"{BATCHES}/{batch_id}{RESULTS}"


def with_results(store: Store) -> set[str]:
    """Return the ids of all batches whose results are in the store."""
    return {name.removesuffix(RESULTS) for name in store.names(BATCHES) if name.endswith(RESULTS)}


def blocks_of(store: Store, name: str) -> Iterator[bytes]:
    """Yield a file by blocks; raises ArtifactMissingError."""
    size, place = store.size(name), 0
    if size is None:
        raise ArtifactMissingError(f"{name} is not in the artifact store.", why="Its batch has ended.", cure="List the batches that are open.")
    while place < size:
        (block,) = store.read(name, [(place, min(place + BLOCK_BYTES, size))])
        if not block:
            return
        yield block
        place += len(block)


class BatchFiles:
    """A `BatchEndpoint` over an artifact store; a batch has the id of its file."""

    base_url = FILES

    def __init__(self, store: Store) -> None:
        self._store = store

    async def post(self, path: str, body: bytes, timeout: float, extra_bytes: int = 0) -> "Response":  # noqa: ARG002
        _refuse(path)

    async def upload_batch_file(self, lines: bytes) -> str:
        batch_id = uuid.uuid4().hex

        def write(draft: Path) -> None:
            with writing(draft) as file:
                file.write(lines)

        await _reaching(lambda: self._store.put(requests_of(batch_id), write))
        return batch_id

    async def create_batch(self, file_id: str, path: str) -> BatchInfo:  # noqa: ARG002
        return BatchInfo(file_id, "in_progress")

    async def batch(self, batch_id: str) -> BatchInfo:
        """Return a batch, completed once its results are there.

        Raises TransportError (404) where both files are gone.
        """
        if await self._size(results_of(batch_id)) is not None:
            return BatchInfo(batch_id, "completed", output_file_id=batch_id, errors=("Its results lack some lines, or hold no answer in them.",))
        found = await self.batch_of_file(batch_id)
        if found is None:
            raise TransportError("status", f"{requests_of(batch_id)} is not in the artifact store", status=404)
        return found

    async def batch_of_file(self, file_id: str) -> BatchInfo | None:
        return None if await self._size(requests_of(file_id)) is None else BatchInfo(file_id, "in_progress")

    async def read_lines(self, file_id: str, size: int, extra_bytes: int, take: Callable[[bytes], None]) -> None:  # noqa: ARG002
        """Pass on the lines of a batch's results; their import bounded their sizes."""
        blocks, rest = blocks_of(self._store, results_of(file_id)), b""
        while (block := await _reaching(lambda: next(blocks, None))) is not None:
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                take(line)
        take(rest)

    def clean(self, text: str) -> str:
        return text

    async def close(self) -> None: ...

    async def _size(self, name: str) -> int | None:
        return await _reaching(lambda: self._store.size(name))


async def _reaching(work: Callable[[], T]) -> T:
    """Run work on the store in a thread; errors of its driver become TransportError."""
    try:
        return await asyncio.to_thread(work)
    except GlossatorError:
        raise
    except Exception as error:  # each driver has its own errors, and all mean the same here
        raise TransportError("connect", f"the artifact store does not answer: {type(error).__name__}: {error}") from error


def _refuse(path: str) -> NoReturn:
    raise AbilityMissingError(
        f"A model that is asked by files does not answer at {path}.",
        why="Batch files hold questions to /chat/completions alone.",
        cure="Set its transport to live, or leave out the scorer that needs it.",
    )
