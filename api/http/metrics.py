"""Serve `/metrics`: figures of the service from the database, and this process's response times.

Every API process returns the same figures of the service: scrape one process, or take the maximum. Only the request histogram is per process.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock

from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from interp.config.settings import Settings
from interp.store.db.engine import Engine, SQLAlchemyError, snapshot
from interp.store.queue import metrics
from interp.store.queue.metrics import Readings

# Concurrent scrapers share one read of the database.
KEEP_SECONDS = 2.0
BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of the service; `key` names it in what the database returns."""

    name: str
    help: str
    labels: tuple[str, ...]
    key: str

    @property
    def is_counter(self) -> bool:
        return self.name.endswith("_total")


METRICS = (
    Metric(
        "glossator_queue_chunks",
        "Open chunks. `ready`: waiting for a worker. `waiting`: waiting for an earlier chunk. `leased`: running. `paused`: of a job that is paused "
        "or being cancelled.",
        ("queue", "status"),
        "queue_chunks",
    ),
    Metric(
        "glossator_queue_oldest_ready_seconds",
        "Longest time that a job with ready chunks has waited since a worker last took one of them; 0 if no chunk is ready.",
        ("queue",),
        "oldest_ready",
    ),
    Metric(
        "glossator_lease_age_seconds",
        "Age of the oldest lease; 0 if no chunk is leased.",
        ("queue",),
        "lease_age",
    ),
    Metric(
        "glossator_leases_expired",
        "Expired leases that upkeep has not released yet.",
        ("queue",),
        "leases_expired",
    ),
    Metric("glossator_workers", "Worker processes that reported within the length of a lease.", ("queue",), "workers"),
    Metric("glossator_jobs", "Jobs by status.", ("status",), "jobs"),
    Metric(
        "glossator_chunks_total",
        "Chunks that have ended: `done`, `failed` or `cancelled`. A chunk that is retried counts again.",
        ("stage", "status"),
        "chunks",
    ),
    Metric(
        "glossator_features_total",
        "Features that have passed a stage, counted once per job: `collected`, `explained`, `scored`.",
        ("state",),
        "features",
    ),
    Metric(
        "glossator_features_failed",
        "Features without an explanation from any explainer of their job. A retry can lower it.",
        (),
        "features_failed",
    ),
    Metric("glossator_tokens_total", "Corpus tokens collected from.", (), "tokens"),
    Metric(
        "glossator_llm_calls_total",
        "Calls to language models that the cache did not answer: `answered`, `refused`, `truncated` or `failed`.",
        ("model", "status"),
        "calls",
    ),
    Metric("glossator_llm_attempts_total", "Attempts of these calls, retries included.", ("model",), "attempts"),
    Metric(
        "glossator_llm_tokens_total",
        "Tokens of these calls: `prompt` and `completion`. If an endpoint does not count them, an upper bound.",
        ("model", "kind"),
        "llm_tokens",
    ),
    Metric(
        "glossator_llm_cached_tokens_total",
        "Of the `prompt` tokens, those that the endpoint says it read from its cache.",
        ("model",),
        "cached_tokens",
    ),
    Metric("glossator_llm_cost_usd_total", "US dollars spent, for models with a known price.", ("model",), "cost"),
    Metric("glossator_llm_unpriced_calls_total", "Calls whose price is unknown.", ("model",), "unpriced"),
    Metric(
        "glossator_webhooks",
        "Webhook events: `waiting` for delivery, `delivered`, or `given_up`.",
        ("state",),
        "webhooks",
    ),
)
DATABASE_UP = ("glossator_database_up", "1 if the database answered this scrape. With 0, only this process's own metrics are present.")
READ_SECONDS = ("glossator_metrics_read_seconds", "Time that reading these metrics from the database took.")
REQUESTS = (
    "glossator_http_request_seconds",
    "Time that this process took to answer a request, event streams excluded, by the route's path and the first digit of the status.",
    ("method", "route", "status"),
)


class Metrics:
    """The figures and answered requests of one application, for any thread."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # when each series began: nothing here asks for it
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(ServiceFigures(engine, settings.lease_seconds))
        name, text, labels = REQUESTS
        self._requests = Histogram(name, text, labels, buckets=BUCKETS, registry=self._registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Record an answered request; `route` is the path with its parameters' names."""
        self._requests.labels(method, route, f"{status // 100}xx").observe(seconds)

    def text(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics and their content type: OpenMetrics if `accept` asks, else Prometheus text."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class ServiceFigures(Collector):
    """Collector that reads the database at most once in `KEEP_SECONDS`."""

    def __init__(self, engine: Engine, worker_seconds: float) -> None:
        self._engine, self._worker_seconds = engine, worker_seconds
        self._lock = Lock()
        self._read_at, self._seconds = float("-inf"), 0.0
        self._figures: dict[str, Readings] | None = None

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yield the families of `METRICS`; if the database does not answer, only its state."""
        with self._lock:
            if time.monotonic() - self._read_at > KEEP_SECONDS:
                self._read()
            figures, seconds = self._figures, self._seconds
        yield GaugeMetricFamily(*DATABASE_UP, value=float(figures is not None))
        yield GaugeMetricFamily(*READ_SECONDS, value=seconds)
        if figures is not None:
            yield from (_family(metric, figures[metric.key]) for metric in METRICS)

    def _read(self) -> None:
        began = time.monotonic()
        try:
            with snapshot(self._engine) as session:
                self._figures = metrics.read(session, self._worker_seconds)
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
    """Return every metric as the Markdown table of `docs/metrics.md`."""
    rows = [(metric.name, "counter" if metric.is_counter else "gauge", metric.labels, metric.help) for metric in METRICS]
    rows += [(REQUESTS[0], "histogram", REQUESTS[2], REQUESTS[1])]
    rows += [(name, "gauge", (), text) for name, text in (DATABASE_UP, READ_SECONDS)]
    lines = [f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {text} |" for name, kind, labels, text in rows]
    return "\n".join(["| metric | kind | labels | meaning |", "| --- | --- | --- | --- |", *lines]) + "\n"


if __name__ == "__main__":
    print(table(), end="")
