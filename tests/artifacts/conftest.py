"""Fixtures: an S3 server, a store of each kind, and an API that takes uploads into it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.files.artifact_store import Store
from tests import databases
from tests.artifacts.bucket import Bucket, new_bucket, server
from tests.artifacts.uploading import LIMITS, objects


@pytest.fixture(scope="session")
def s3_options() -> Iterator[dict[str, Any]]:
    """A server for all tests; each has buckets of its own."""
    with server() as options:
        yield options


@pytest.fixture
def bucket(s3_options: dict[str, Any]) -> Bucket:
    return new_bucket(s3_options)


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Bucket:
    """Where a store is: a folder of this machine, or a bucket."""
    return Bucket(f"file://{tmp_path / 'store'}", {}) if request.param == "file" else request.getfixturevalue("bucket")


@pytest.fixture
def store(place: Bucket, tmp_path: Path) -> Store:
    return Store.of(place.url, place.options, tmp_path / "cache")


@pytest.fixture
def elsewhere(place: Bucket, tmp_path: Path) -> Store:
    """The same store, as a worker of another machine sees it: with a cache of its own."""
    return Store.of(place.url, place.options, tmp_path / "cache of another machine")


@pytest.fixture(scope="module", params=["sqlite, a folder", "postgresql, a bucket"])
def upload_settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a service with small limits."""
    home = tmp_path_factory.mktemp("uploads")
    if "sqlite" in request.param:
        settings = Settings(home=home, **LIMITS)
    else:
        bucket = new_bucket(request.getfixturevalue("s3_options"))
        url = request.getfixturevalue("postgres_url")
        settings = Settings(home=home, database_url=url, artifacts_url=bucket.url, artifact_options=bucket.options, **LIMITS)
    databases.upgrade_and_empty(settings.database_url)
    return settings


@pytest.fixture(scope="module")
def uploads_app(upload_settings: Settings) -> Iterator[httpx.Client]:
    with httpx.Client(transport=InProcess(create_app(upload_settings)), base_url="http://test") as http:
        yield http


@pytest.fixture
def http(uploads_app: httpx.Client, upload_settings: Settings) -> Iterator[httpx.Client]:
    """The API without an upload; nothing remains of any once they are deleted."""
    yield uploads_app
    for row in uploads_app.get("/v1/files").json()["items"]:
        assert uploads_app.delete(f"/v1/files/{row['id']}").status_code == 200
    assert objects(upload_settings) == []
    assert not [path for path in (upload_settings.home / "cache").rglob("*") if path.is_file()]
