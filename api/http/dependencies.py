"""What the API's endpoints are given: the engine, a session that reads, the settings, what models' endpoints said.

What only hands something over is `async`: FastAPI would take a thread for each of them, and back, with every request.
"""

from collections.abc import AsyncIterator
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import Depends, Query, Request

from api.http.count_cache import StateCounts
from api.http.single_flight import SingleFlight
from api.jobs.endpoint_check import EndpointProbeCache
from api.presenters.vocabularies import Vocabularies
from interp.config.settings import Settings
from interp.security.sandbox import Processes
from interp.store.db.engine import Engine, Session, snapshot
from interp.store.listings.queries import MAX_LIMIT


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


# Given back before the answer is sent: a client that reads slowly holds no connection.
Reading = Annotated[Session, Depends(_reading, scope="function")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Rows a page.")]
CursorText = Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before, with the same filters and order.")]


async def _vocabularies(request: Request) -> Vocabularies:
    vocabularies: Vocabularies = request.app.state.vocabularies
    return vocabularies


Tokens = Annotated[Vocabularies, Depends(_vocabularies)]


async def _endpoints(request: Request) -> EndpointProbeCache:
    endpoints: EndpointProbeCache = request.app.state.endpoints
    return endpoints


KnownEndpoints = Annotated[EndpointProbeCache, Depends(_endpoints)]


async def _processes(request: Request) -> Processes:
    processes: Processes = request.app.state.processes
    return processes


FileProcesses = Annotated[Processes, Depends(_processes)]


async def _flights(request: Request) -> SingleFlight[str]:
    flights: SingleFlight[str] = request.app.state.flights
    return flights


SharedLooks = Annotated[SingleFlight[str], Depends(_flights)]


async def _counts(request: Request) -> StateCounts:
    counts: StateCounts = request.app.state.counts
    return counts


Counts = Annotated[StateCounts, Depends(_counts)]
