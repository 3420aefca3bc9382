"""/metrics: what it says is so, it has a name in the documents, and it costs little."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, event

from api.app import create_app
from api.http import metrics
from benches.in_process import InProcess
from interp.config.settings import Settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


@pytest.fixture
def http(settings: Settings, engine: Engine) -> Iterator[httpx.Client]:
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://test") as client:
        yield client


def test_the_document_lists_every_metric() -> None:
    assert metrics.table() in DOCUMENT.read_text(), "python -m api.http.metrics prints the table that docs/metrics.md should have"


def test_every_metric_is_there_from_the_start(http: httpx.Client) -> None:
    http.get("/healthz")
    families = {family.name: family for family in text_string_to_metric_families(http.get("/metrics").text)}
    others = {metrics.REQUESTS[0], metrics.DATABASE_UP[0], metrics.READ_SECONDS[0]}
    assert set(families) == others | {metric.name.removesuffix("_total") for metric in metrics.METRICS}
    for metric in metrics.METRICS:
        family = families[metric.name.removesuffix("_total")]
        assert family.type == ("counter" if metric.is_counter else "gauge")
        assert all(set(sample.labels) == set(metric.labels) for sample in family.samples)


def samples(http: httpx.Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(http.get("/metrics").text)
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}


def counted(http: httpx.Client, method: str, route: str, status: str) -> float:
    """How many requests were measured."""
    key = (f"{metrics.REQUESTS[0]}_count", (("method", method), ("route", route), ("status", status)))
    return samples(http).get(key, 0.0)


def test_requests_are_measured_by_route_and_what_nobody_foresaw_makes_no_new_series(http: httpx.Client) -> None:
    for name in ("a", "b", "c"):
        http.get(f"/v1/jobs/{name}")
        http.get(f"/no/such/path/{name}")
        http.request(f"METHOD{name}", "/healthz")
    assert counted(http, "GET", "/v1/jobs/{job_id}", "4xx") == 3
    assert counted(http, "GET", "none", "4xx") == 3
    assert sum(value for (name, labels), value in samples(http).items() if name.endswith("_count") and ("method", "other") in labels) == 3


def test_an_answer_has_the_id_of_its_request_and_takes_over_no_nonsense(http: httpx.Client) -> None:
    assert http.get("/healthz", headers={"X-Request-ID": "mine-1"}).headers["X-Request-ID"] == "mine-1"
    nonsense = http.get("/healthz", headers={"X-Request-ID": 'a" b{}'}).headers["X-Request-ID"]
    assert len(nonsense) == 32
    assert http.get("/healthz").headers["X-Request-ID"] != http.get("/healthz").headers["X-Request-ID"]


def test_a_database_that_is_away_takes_no_scrape_with_it(tmp_path: Path) -> None:
    away = Settings(home=tmp_path, database_url="postgresql+psycopg://nobody@127.0.0.1:1/none")
    with httpx.Client(transport=InProcess(create_app(away)), base_url="http://test") as http:
        http.get("/healthz")
        found = samples(http)
        assert found["glossator_database_up", ()] == 0
        assert not any(name.startswith("glossator_queue") for name, _ in found)
        assert counted(http, "GET", "/healthz", "2xx") == 1


def test_a_service_that_others_reach_shows_nothing_while_keys_cannot_be_looked_up(tmp_path: Path) -> None:
    away = Settings(home=tmp_path, host="0.0.0.0", allowed_hosts=("test",), database_url="postgresql+psycopg://nobody@127.0.0.1:1/none")
    with httpx.Client(transport=InProcess(create_app(away)), base_url="http://test") as http:
        assert http.get("/metrics").status_code == 503


def test_many_who_scrape_at_once_read_the_database_once(engine: Engine, settings: Settings) -> None:
    reads = []
    event.listen(engine, "begin", lambda _connection: reads.append(1))
    kept = metrics.ServiceFigures(engine, settings.lease_seconds)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: list(kept.collect()), range(32)))
    assert len(reads) == 1


def test_both_forms_are_spoken(http: httpx.Client) -> None:
    assert http.get("/metrics").headers["content-type"].startswith("text/plain")
    answer = http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
