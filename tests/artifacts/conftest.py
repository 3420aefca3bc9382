"""Fixtures: an S3 server, and a store of each kind."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interp.files.artifact_store import Store
from tests.artifacts.bucket import Bucket, new_bucket, server


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
