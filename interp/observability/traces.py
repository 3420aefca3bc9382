"""OpenTelemetry spans of requests, chunks of their jobs, and calls to language models.

All spans of a request and its job are one trace. A job's row stores the W3C trace context of its submission, and workers begin there: a notification
that is lost or doubled loses no span. Without a collector (`GLOSSATOR_OTEL_ENDPOINT`) or the extra `otel` all of this does nothing. Samplers and
headers are set by OpenTelemetry's variables: `OTEL_TRACES_SAMPLER=parentbased_traceidratio` keeps or drops whole jobs.
"""

import atexit
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from typing import TYPE_CHECKING

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from interp.config.settings import Settings
from interp.observability import logs

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logs.get_logger(__name__)

Value = str | int | float | bool
SECONDS, LAST_SECONDS = 5.0, 3.0
HEADER = "traceparent"
_W3C = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("glossator")


def configure(settings: Settings, service: str, name: str) -> bool:
    """Send this process's spans to the settings' collector, and return whether there is one."""
    if not settings.otel_endpoint:
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("no spans are sent: the extra is not installed", cure="pip install 'glossator[otel]'")
        return False
    resource = Resource.create({"service.name": f"glossator-{service}", "service.instance.id": name, "service.version": version("glossator")})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{settings.otel_endpoint.rstrip('/')}/v1/traces", timeout=SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    _send_the_rest_at_exit(provider.shutdown)
    return True


def _send_the_rest_at_exit(send: Callable[[], object]) -> None:
    """Send remaining spans at exit, for at most `LAST_SECONDS`."""
    ending = threading.Event()

    def wait_and_send() -> None:
        ending.wait()
        send()

    # Started now, since an exiting interpreter starts no thread.
    sender = threading.Thread(target=wait_and_send, name="last-spans", daemon=True)
    sender.start()

    def end() -> None:
        ending.set()
        sender.join(LAST_SECONDS)

    atexit.register(end)


def _is_recording() -> bool:
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def instrument(app: "FastAPI") -> None:
    """Record a span per request, except for the endpoints that orchestrators poll."""
    if not _is_recording():
        return
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    FastAPIInstrumentor.instrument_app(app, excluded_urls="healthz,readyz,metrics", exclude_spans=["receive", "send"])


def traceparent() -> str | None:
    """Return the current trace context as its W3C header; None outside a trace."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier.get(HEADER)


@contextmanager
def within(parent: str | None) -> Iterator[None]:
    """Make this trace context the parent of spans that begin inside."""
    if parent is None:
        yield
        return
    token = context.attach(_W3C.extract({HEADER: parent}))
    try:
        yield
    finally:
        context.detach(token)


@contextmanager
def span(name: str, attributes: Mapping[str, Value], kind: SpanKind = SpanKind.INTERNAL) -> Iterator[Span]:
    """Record a span of the block; error messages stay out, since they may be confidential."""
    with _tracer.start_as_current_span(name, attributes=attributes, kind=kind, record_exception=False, set_status_on_exception=False) as current:
        try:
            yield current
        except BaseException as error:
            current.set_attribute("error.type", type(error).__name__)
            current.set_status(StatusCode.ERROR)
            raise


def question(operation: str, model: str, server: str) -> AbstractContextManager[Span]:
    """Record a call to a language model (chat, embeddings or completions) by OpenTelemetry's conventions."""
    if not _is_recording():
        return nullcontext(trace.INVALID_SPAN)
    attributes = {"gen_ai.operation.name": operation, "gen_ai.request.model": model, "server.address": server}
    return span(f"{operation} {model}", attributes, SpanKind.CLIENT)
