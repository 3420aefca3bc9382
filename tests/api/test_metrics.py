"""/metrics: what it says is so, it has a name in the documents, and it costs little."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from api import metrics
from api.app import create_app
from api.client import InProcess
from interp.settings import Settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


@pytest.fixture
def http(settings: Settings, engine: Engine) -> Iterator[httpx.Client]:
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://test") as client:
        yield client


def test_the_document_lists_every_metric() -> None:
    assert metrics.table() in DOCUMENT.read_text(), "python -m api.metrics prints the table that docs/metrics.md should have"


def test_every_metric_is_there_from_the_start(http: httpx.Client) -> None:
    http.get("/healthz")
    families = {family.name: family for family in text_string_to_metric_families(http.get("/metrics").text)}
    others = {metrics.REQUESTS[0], metrics.DATABASE_UP[0], metrics.READ_SECONDS[0]}
    assert set(families) == others | {metric.name.removesuffix("_total") for metric in metrics.METRICS}
    for metric in metrics.METRICS:
        family = families[metric.name.removesuffix("_total")]
        assert family.type == ("counter" if metric.is_counter else "gauge")
        assert all(set(sample.labels) == set(metric.labels) for sample in family.samples)
