"""What the API's endpoints are given: the engine, a session that reads, the settings, what models' endpoints said.

What only hands something over is `async`: FastAPI would take a thread for each of them, and back, with every request.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator
from threading import Lock
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import Depends, Query, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.counts import StateCounts
from api.endpoints import Endpoints
from api.flights import Flights
from interp.settings import Settings
from interp.store import entry
from interp.store.book import MAX_LIMIT
from interp.store.engine import snapshot
from interp.vocabulary import Vocabulary

VOCABULARIES = 8


async def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


Store = Annotated[Engine, Depends(_engine)]
Configured = Annotated[Settings, Depends(_settings)]


# Requests that read at a time, fewer than a pool has connections. A request comes back to the threads several times with its connection in its hands:
# were there more than connections, all threads could wait for one, while those who have one wait for a thread.
READERS = 12


async def _reading(engine: Store, request: Request) -> AsyncIterator[Session]:
    async with request.app.state.readers:
        # It takes a connection when it is first asked something, in the endpoint's thread; once it is closed, leaving does nothing.
        with snapshot(engine) as session:
            try:
                yield session
            finally:
                await run_sync(session.close)


# PostgreSQL takes no NUL character in text.
WITHOUT_NUL = r"^[^\x00]*$"
# Given back before the answer is sent: a client that reads slowly holds no connection.
Reading = Annotated[Session, Depends(_reading, scope="function")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Rows a page.")]
CursorText = Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before, with the same filters and order.")]


class Vocabularies:
    """The vocabularies of the last few subjects, unpacked once. A subject's id is its digest, so none ever goes stale."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Vocabulary] = OrderedDict()
        self._lock = Lock()

    def of(self, session: Session, subject_id: str) -> Vocabulary:
        """The vocabulary of a subject. Endpoints run in threads: two may unpack the same one at once, which costs time and nothing else."""
        with self._lock:
            found = self._known.get(subject_id)
        if found is None:
            found = Vocabulary.from_bytes(entry.vocabulary_blob(session, subject_id))
        with self._lock:
            self._known[subject_id] = found
            self._known.move_to_end(subject_id)
            while len(self._known) > VOCABULARIES:
                self._known.popitem(last=False)
        return found


async def _vocabularies(request: Request) -> Vocabularies:
    vocabularies: Vocabularies = request.app.state.vocabularies
    return vocabularies


Tokens = Annotated[Vocabularies, Depends(_vocabularies)]


async def _endpoints(request: Request) -> Endpoints:
    endpoints: Endpoints = request.app.state.endpoints
    return endpoints


KnownEndpoints = Annotated[Endpoints, Depends(_endpoints)]


async def _flights(request: Request) -> Flights[str]:
    flights: Flights[str] = request.app.state.flights
    return flights


SharedLooks = Annotated[Flights[str], Depends(_flights)]


async def _counts(request: Request) -> StateCounts:
    counts: StateCounts = request.app.state.counts
    return counts


Counts = Annotated[StateCounts, Depends(_counts)]
