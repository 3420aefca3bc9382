"""`/metrics`: what the database says of the whole service, and how long this process takes to answer.

Any number of API processes say the same of the service: ask one of them, or take the maximum. Only the requests are each process's own.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock

from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from interp.config.settings import Settings
from interp.store.db.engine import snapshot
from interp.store.queue import metrics
from interp.store.queue.metrics import MetricValues, Readings

# Several scrapers at once, an autoscaler among them, read the database once.
KEEP_SECONDS = 2.0
BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of the service: what it is called, what it says, and where it stands among the figures."""

    name: str
    help: str
    labels: tuple[str, ...]
    of: Callable[[MetricValues], Readings]

    @property
    def is_counter(self) -> bool:
        return self.name.endswith("_total")


METRICS = (
    Metric(
        "glossator_queue_chunks",
        "Open chunks. `ready` ones wait for a worker, `waiting` ones for a chunk before them, `leased` ones are in work; `paused` ones belong to "
        "jobs that are paused or being cancelled.",
        ("queue", "status"),
        lambda figures: figures.queue_chunks,
    ),
    Metric(
        "glossator_queue_oldest_ready_seconds",
        "The longest that a job with ready chunks has gone without having one taken; 0 where none is ready.",
        ("queue",),
        lambda figures: figures.oldest_ready,
    ),
    Metric(
        "glossator_lease_age_seconds",
        "How long the chunk that has been in work longest has been so; 0 where none is.",
        ("queue",),
        lambda figures: figures.lease_age,
    ),
    Metric(
        "glossator_leases_expired",
        "Leases past their time that nobody has taken back yet: the work of upkeep.",
        ("queue",),
        lambda figures: figures.leases_expired,
    ),
    Metric("glossator_workers", "Worker processes that told of themselves within a lease's time.", ("queue",), lambda figures: figures.workers),
    Metric("glossator_jobs", "Jobs.", ("status",), lambda figures: figures.jobs),
    Metric(
        "glossator_chunks_total",
        "Chunks that have ended: `done`, `failed` or `cancelled`. One that is tried again counts again.",
        ("stage", "status"),
        lambda figures: figures.chunks,
    ),
    Metric(
        "glossator_features_total",
        "Features that chunks have been through, a job at a time: `collected`, `explained`, `scored`.",
        ("state",),
        lambda figures: figures.features,
    ),
    Metric(
        "glossator_features_failed",
        "Features that no explainer of their job had a word for, as things stand: a retry may take some away.",
        (),
        lambda figures: figures.features_failed,
    ),
    Metric("glossator_tokens_total", "Tokens of corpora that were collected from.", (), lambda figures: figures.tokens),
    Metric(
        "glossator_llm_calls_total",
        "Questions to language models that were not answered from the cache: `answered`, `refused`, `truncated` or `failed`.",
        ("model", "status"),
        lambda figures: figures.calls,
    ),
    Metric("glossator_llm_attempts_total", "Tries of these questions, repeated ones included.", ("model",), lambda figures: figures.attempts),
    Metric(
        "glossator_llm_tokens_total",
        "Tokens of these questions: `prompt` and `completion`. Where an endpoint does not count them, our upper bound.",
        ("model", "kind"),
        lambda figures: figures.llm_tokens,
    ),
    Metric("glossator_llm_cost_usd_total", "US dollars spent, where a price is known.", ("model",), lambda figures: figures.cost),
    Metric("glossator_llm_unpriced_calls_total", "Questions whose price nobody knows.", ("model",), lambda figures: figures.unpriced),
    Metric(
        "glossator_webhooks",
        "Webhooks: `waiting` to be delivered, `delivered`, or `given_up`.",
        ("state",),
        lambda figures: figures.webhooks,
    ),
)
DATABASE_UP = ("glossator_database_up", "1 if the database answered this scrape; with 0 only this process's own figures are there.")
READ_SECONDS = ("glossator_metrics_read_seconds", "How long reading these figures from the database took.")
REQUESTS = (
    "glossator_http_request_seconds",
    "How long this process took to answer a request, streams excepted, by the route's path and the first digit of the status.",
    ("method", "route", "status"),
)


class Metrics:
    """One an application: the figures of the service, and the requests that it has answered. For any thread."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # when each series began: nothing here asks for it
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(ServiceFigures(engine, settings.lease_seconds))
        name, text, labels = REQUESTS
        self._requests = Histogram(name, text, labels, buckets=BUCKETS, registry=self._registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. `route` is the path with its parameters' names."""
        self._requests.labels(method, route, f"{status // 100}xx").observe(seconds)

    def text(self, accept: str) -> tuple[bytes, str]:
        """All of it as a scraper reads it, with its content type: OpenMetrics where `accept` asks for that, else Prometheus' own."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class ServiceFigures(Collector):
    """Reads the database, at most once in `KEEP_SECONDS`, however many ask at once."""

    def __init__(self, engine: Engine, worker_seconds: float) -> None:
        self._engine, self._worker_seconds = engine, worker_seconds
        self._lock = Lock()
        self._read_at, self._seconds = float("-inf"), 0.0
        self._figures: MetricValues | None = None

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """The families of `METRICS`; without the database, the one that says so."""
        with self._lock:
            if time.monotonic() - self._read_at > KEEP_SECONDS:
                self._read()
            figures, seconds = self._figures, self._seconds
        yield GaugeMetricFamily(*DATABASE_UP, value=float(figures is not None))
        yield GaugeMetricFamily(*READ_SECONDS, value=seconds)
        if figures is not None:
            yield from (_family(metric, metric.of(figures)) for metric in METRICS)

    def _read(self) -> None:
        began = time.monotonic()
        try:
            with snapshot(self._engine) as session:
                self._figures = metrics.figures(session, self._worker_seconds)
        except SQLAlchemyError:
            self._figures = None
        self._read_at = time.monotonic()
        self._seconds = self._read_at - began


def _family(metric: Metric, readings: Readings) -> GaugeMetricFamily | CounterMetricFamily:
    kind = CounterMetricFamily if metric.is_counter else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for values, value in sorted(readings.items()):
        family.add_metric(values, value)
    return family


def table() -> str:
    """Every metric as a Markdown table: what `docs/metrics.md` holds."""
    rows = [(metric.name, "counter" if metric.is_counter else "gauge", metric.labels, metric.help) for metric in METRICS]
    rows += [(REQUESTS[0], "histogram", REQUESTS[2], REQUESTS[1])]
    rows += [(name, "gauge", (), text) for name, text in (DATABASE_UP, READ_SECONDS)]
    lines = [f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {text} |" for name, kind, labels, text in rows]
    return "\n".join(["| metric | kind | labels | says |", "| --- | --- | --- | --- |", *lines]) + "\n"


if __name__ == "__main__":
    print(table(), end="")
