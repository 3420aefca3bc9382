"""Build the FastAPI application without importing torch, which a test checks."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from anyio import CapacityLimiter
from fastapi import Depends, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware

from api.http import openapi, problems
from api.http.access.audit import AuditLog
from api.http.access.authentication import Authentication
from api.http.access.control import AccessControl
from api.http.access.scopes import RouteTable
from api.http.body_limits import RequestLimits
from api.http.edge.client_address import ClientAddress, TrustedProxies
from api.http.edge.counters import Counters
from api.http.edge.origins import AllowedHosts, OriginCheck
from api.http.edge.rate_limits import LoginLimits, RateLimits
from api.http.edge.security_headers import SecurityHeaders
from api.http.head import HeadAsGet
from api.http.metrics import Metrics
from api.http.query_parameters import known_parameters
from api.http.readiness import HealthChecks
from api.http.request_log import RequestLog
from api.jobs.endpoint_check import EndpointProbeCache
from api.jobs.receiving import Places
from api.pages import install as pages
from api.reads.vocabularies import Vocabularies
from api.routes import access, checks, dictionaries, explanations, exports, files, jobs, lists, live, logins, reviews, runs, service, sessions
from api.routes.dependencies import READERS
from api.routes.job_events import ProgressReader
from api.routes.llm.batches import router as batches_router
from api.routes.search import router as search_router
from interp.config.settings import Settings
from interp.observability import traces
from interp.security import sandbox
from interp.store.db.engine import make_engine
from interp.store.listings.label_codes import LabelCodes

DESCRIPTION = """Label and score every feature of a sparse dictionary of a language model.

Submit one job to `POST /v1/jobs`, follow it at `/v1/jobs/{id}/events`, then read its features by score, lift over null, density or label,
and each feature with its contexts, explanations and scores. Listings are paged by `next_cursor`. Every refusal is a problem document (RFC 9457).
"""
# Smaller answers are not compressed; event streams never are.
COMPRESSED_BYTES, COMPRESSION = 4096, 4
COMPRESSED_ALREADY = ("application/vnd.apache.arrow.stream", "application/vnd.apache.parquet")
# Pages of listed origins send a key, never cookies: so no answer allows credentials.
CROSS_ORIGIN: dict[str, Any] = {
    "allow_methods": ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
    "allow_headers": (
        "Authorization",
        "Content-Type",
        "Idempotency-Key",
        "If-Match",
        "If-None-Match",
        "If-Range",
        "Last-Event-ID",
        "Range",
        "X-API-Key",
        "X-Request-ID",
    ),
    "expose_headers": (
        "Accept-Ranges",
        "Content-Disposition",
        "Content-Range",
        "ETag",
        "Link",
        "Location",
        "RateLimit",
        "RateLimit-Policy",
        "Retry-After",
        "X-Request-ID",
    ),
    "allow_credentials": False,
}
ROUTERS = (
    search_router,
    jobs.router,
    checks.router,
    files.router,
    dictionaries.router,
    live.router,
    runs.router,
    explanations.router,
    exports.router,
    batches_router,
    lists.router,
    reviews.router,
    access.router,
    sessions.router,
    logins.router,
    service.router,
)


def create_app(settings: Settings, is_stopping: Callable[[], bool] = lambda: False) -> FastAPI:
    """Return the REST service on the database of `settings`; `is_stopping` ends its event streams."""
    engine, counters = make_engine(settings.database_url), Counters(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # Not awaited: a job that is submitted immediately waits for it.
        sandbox.start("api.jobs.estimate")
        yield
        engine.dispose()
        await counters.close()

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
    app.state.label_codes = LabelCodes()
    app.state.processes = sandbox.Processes.of(settings)
    app.state.uploads = Places(settings.uploads_at_once)
    app.state.readers, app.state.live_readers = CapacityLimiter(READERS), CapacityLimiter(live.READERS)
    app.state.authentication = Authentication(engine, settings)
    app.state.progress = ProgressReader(engine)
    app.state.metrics, app.state.readiness = Metrics(engine, settings), HealthChecks(engine, settings)
    app.add_middleware(RequestLimits, seconds=settings.request_body_timeout_seconds)
    uncompressed = (*DEFAULT_EXCLUDED_CONTENT_TYPES, *COMPRESSED_ALREADY)
    app.add_middleware(GZipMiddleware, minimum_size=COMPRESSED_BYTES, compresslevel=COMPRESSION, exclude_content_types=uncompressed)
    app.add_middleware(RateLimits, counters=counters, settings=settings)
    app.add_middleware(AccessControl, authentication=app.state.authentication, routes=RouteTable((*ROUTERS, *pages.ROUTERS)))
    app.add_middleware(LoginLimits, counters=counters, settings=settings)
    app.add_middleware(HeadAsGet)
    app.add_middleware(OriginCheck, hosts=AllowedHosts.of(settings), origins=settings.cors_origins)
    if settings.cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.cors_origins, **CROSS_ORIGIN)
    app.add_middleware(AuditLog, engine=engine)
    app.add_middleware(RequestLog, metrics=app.state.metrics)
    app.add_middleware(SecurityHeaders)
    pages.add_middleware(app)
    app.add_middleware(ClientAddress, proxies=TrustedProxies.of(settings))
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    pages.install(app)
    openapi.install(app, ROUTERS)
    traces.instrument(app)
    return app
