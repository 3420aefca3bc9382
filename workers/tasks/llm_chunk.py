"""What explaining and scoring share: the chunk's features, progress over several passes, and coroutines run to their end."""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Engine

from interp.domain.vocabulary import Vocabulary
from interp.planning.plan import Range
from interp.store.db.engine import snapshot
from interp.store.results import runs
from workers.llm.call_store import DatabaseCallStore
from workers.llm.event_loop import TaskGroupRunner, Timeouts, the_loop
from workers.llm.models import ChunkModels, client_of
from workers.tasks.execute import Work

Made = TypeVar("Made")

# Features handed over at once to what asks nobody: between two hands progress is reported, and a cancel noticed.
HANDFUL = 4


class ChunkProgress:
    """Features done of a chunk, where several passes go over the same features."""

    def __init__(self, work: Work, passes: int) -> None:
        self._progress, self._passes, self._done = work.progress, max(passes, 1), 0

    def add(self, features: int) -> None:
        """So many features are through one more pass. Raises what `progress` raises."""
        self._done += features
        self._progress(self._done // self._passes)

    def beyond(self) -> Callable[[int], None]:
        """Counts from here: what it is told is how many are through since now."""
        before = self._done

        def reached(features: int) -> None:
            self._done = before + features
            self._progress(self._done // self._passes)

        return reached


@contextmanager
def asking(work: Work) -> Iterator["LlmChunk"]:
    """The chunk's models, for as long as it asks them. Everything they answered is durable at the end, however it ends."""
    with work.asking(), DatabaseCallStore(work.runtime.engine, work.lease, work.is_kept) as books:
        yield LlmChunk(work, books)


class LlmChunk:
    """Runs what asks language models, all features at once: the client sees to the pace."""

    def __init__(self, work: Work, books: DatabaseCallStore) -> None:
        self.roster = ChunkModels(client_of(work.runtime.settings), work.spec, books, work.lease)
        self._books = books
        settings = work.runtime.settings
        longest = max((model.timeout_seconds for _, model in work.spec.models if model is not None), default=0.0)
        self._patience = Timeouts(settings.lease_check_interval_seconds, settings.stop_timeout_seconds / 3, longest)

    def run(self, coroutines: Sequence[Coroutine[Any, Any, Made]], tally: ChunkProgress) -> list[Made]:
        """Their results, in order. Raises JobMustPause, and what progress raises, once the calls in flight have had their time to come back."""
        return TaskGroupRunner(coroutines, self._books.stop, self._patience).run(the_loop(), tally.beyond())


@lru_cache(maxsize=8)
def vocabulary_of(engine: Engine, run_id: int) -> Vocabulary:
    """The vocabulary of a run's tokens. Kept."""
    with snapshot(engine) as session:
        return runs.vocabulary_of(session, run_id)


def ranges_of_chunk(work: Work) -> list[Range]:
    """The chunk's features, half-open."""
    return [(start, stop) for start, stop in work.lease.payload["features"]]
