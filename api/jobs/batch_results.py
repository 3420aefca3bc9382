"""Store the results that a runner wrote of a batch, whole or not at all."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from api.reads.llm.batches import batch_answer
from api.schemas.llm.batches import BatchResultsAnswer
from interp.config.settings import Settings
from interp.domain.errors import UploadInvalidError
from interp.llm.transports.batch_files import results_of
from interp.llm.transports.batch_results import ResultFilter
from interp.store.db.engine import Engine, snapshot
from interp.store.llm import batches
from workers import artifact_paths


def receive(engine: Engine, settings: Settings, batch_id: str, blocks: Iterable[bytes]) -> BatchResultsAnswer:
    """Store a batch's results, in place of earlier ones, and count their lines.

    Raises NotFoundError, UploadInvalidError where no line is of the batch, UploadTooLargeError, DiskFullError, and what `blocks` raises.
    """
    with snapshot(engine) as session:
        batch = batches.get(session, batch_id)
        keys = batches.keys_of(session, batch_id)
    # Results of a job that has ended are kept, since it may be retried.
    is_stored = batch.ended_at is None
    with _place(settings, batch_id, is_stored) as file:
        counts = ResultFilter(keys, file.write if file is not None else lambda _line: None).read(blocks)
        if not counts.answered + counts.failed:
            raise UploadInvalidError(
                f"No line of these results is of batch {batch_id}.",
                why=f"Of {counts.lines:,} lines, {counts.unknown:,} name other questions and {counts.unreadable:,} are no results.",
                cure='Import what the runner wrote of this batch\'s file: {"custom_id", "response", "error"} on each line.',
                batch=batch_id,
            )
    names = ("lines", "answered", "failed", "missing", "duplicated", "unknown", "unreadable")
    found = {name: getattr(counts, name) for name in names}
    return BatchResultsAnswer(batch=batch_answer(batch, is_stored), is_stored=is_stored, **found)


@contextmanager
def _place(settings: Settings, batch_id: str, is_stored: bool) -> Iterator[BinaryIO | None]:
    """Yield the file of the results, there once the block ends; None to store nothing."""
    if not is_stored:
        yield None
        return
    with artifact_paths.store_of(settings).writing(results_of(batch_id)) as file:
        yield file
