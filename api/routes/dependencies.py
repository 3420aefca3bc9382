"""Define the dependencies of endpoints: engine, session, settings, caches and processes.

Dependencies that only return a value are `async`, because FastAPI runs every other dependency in a thread.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import Depends, Query, Request

from api.jobs.endpoint_check import EndpointProbeCache
from api.reads.vocabularies import Vocabularies
from interp.config.settings import Settings
from interp.domain.access import Principal
from interp.security.sandbox import Processes
from interp.store.db.engine import Engine, Session, snapshot
from interp.store.listings.label_codes import LabelCodes
from interp.store.listings.queries import MAX_LIMIT

# Concurrent readers, fewer than the pool's connections. A request enters the thread pool several times while it holds a connection:
# with more readers than connections, all threads could wait for a connection while the requests that hold one wait for a thread.
READERS = 12


def _state(name: str) -> Any:
    """Return a dependency on an attribute of the application's state."""

    async def read(request: Request) -> Any:
        return getattr(request.app.state, name)

    return Depends(read)


Store = Annotated[Engine, _state("engine")]
Configured = Annotated[Settings, _state("settings")]
Tokens = Annotated[Vocabularies, _state("vocabularies")]
SearchCodes = Annotated[LabelCodes, _state("label_codes")]
KnownEndpoints = Annotated[EndpointProbeCache, _state("endpoints")]
FileProcesses = Annotated[Processes, _state("processes")]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Rows per page.")]
CursorText = Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before, with the same filters and order.")]


async def _reading(engine: Store, request: Request) -> AsyncIterator[Session]:
    async with request.app.state.readers:
        # It takes a connection with its first statement, in the endpoint's thread. Once it is closed, the exit does nothing.
        with snapshot(engine) as session:
            try:
                yield session
            finally:
                await run_sync(session.close)


# Closed before the answer is sent, so that a slow client holds no connection.
Reading = Annotated[Session, Depends(_reading, scope="function")]


async def _caller(request: Request) -> Principal:
    found: Principal = request.state.principal
    return found


# Who sends the request; public routes have none.
Caller = Annotated[Principal, Depends(_caller)]
