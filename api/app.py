"""Build the FastAPI application without importing torch, which a test checks."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from anyio import CapacityLimiter
from fastapi import Depends, FastAPI
from starlette.middleware.gzip import GZipMiddleware

from api.http import openapi, pages, problems
from api.http.body_limits import RequestLimits
from api.http.head import HeadAsGet
from api.http.metrics import Metrics
from api.http.origins import AllowedHosts, OriginCheck
from api.http.query_parameters import known_parameters
from api.http.readiness import HealthChecks
from api.http.request_log import RequestLog
from api.jobs.endpoint_check import EndpointProbeCache
from api.reads.vocabularies import Vocabularies
from api.routes import checks, dictionaries, explanations, jobs, runs, service
from api.routes.dependencies import READERS
from api.routes.job_events import ProgressReader
from interp.config.settings import Settings
from interp.observability import traces
from interp.security import sandbox
from interp.store.db.engine import make_engine

DESCRIPTION = """Label and score every feature of a sparse dictionary of a language model.

Submit one job to `POST /v1/jobs`, follow it at `/v1/jobs/{id}/events`, then read its features by score, lift over null, density or label,
and each feature with its contexts, explanations and scores. Listings are paged by `next_cursor`. Every refusal is a problem document (RFC 9457).
"""
# Smaller answers are not compressed; event streams never are.
COMPRESSED_BYTES, COMPRESSION = 4096, 4
ROUTERS = (jobs.router, checks.router, dictionaries.router, runs.router, explanations.router, service.router)


def create_app(settings: Settings, is_stopping: Callable[[], bool] = lambda: False) -> FastAPI:
    """Return the REST service on the database of `settings`; `is_stopping` ends its event streams."""
    engine = make_engine(settings.database_url)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # Not awaited: a job that is submitted immediately waits for it.
        sandbox.start("api.jobs.estimate")
        yield
        engine.dispose()

    app = FastAPI(
        title="Glossator",
        summary="Automated interpretability as a service",
        description=DESCRIPTION,
        version=version("glossator"),
        license_info={"name": "Apache 2.0", "identifier": "Apache-2.0"},
        generate_unique_id_function=openapi.operation_id,
        lifespan=lifespan,
        dependencies=[Depends(known_parameters)],
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.engine, app.state.settings, app.state.is_stopping = engine, settings, is_stopping
    app.state.vocabularies, app.state.endpoints = Vocabularies(), EndpointProbeCache()
    app.state.processes = sandbox.Processes.of(settings)
    app.state.readers = CapacityLimiter(READERS)
    app.state.progress = ProgressReader(engine)
    app.state.metrics, app.state.readiness = Metrics(engine, settings), HealthChecks(engine, settings)
    app.add_middleware(RequestLimits, seconds=settings.request_body_timeout_seconds)
    app.add_middleware(GZipMiddleware, minimum_size=COMPRESSED_BYTES, compresslevel=COMPRESSION)
    app.add_middleware(HeadAsGet)
    app.add_middleware(OriginCheck, hosts=AllowedHosts.of(settings))
    app.add_middleware(RequestLog, metrics=app.state.metrics)
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    pages.install(app)
    openapi.install(app, ROUTERS)
    traces.instrument(app)
    return app
