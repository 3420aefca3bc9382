"""`glossator demo --cluster`, small: many processes on PostgreSQL and Redis, two killed at work, and the embedded demo's database byte for byte."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from api.cli.commands.submit import read_spec
from api.demo import cluster_command
from interp.domain.spec import JobSpec
from interp.store.db import comparison

pytestmark = pytest.mark.timeout(600)


def demo(home: Path, job: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """As a user types it, where 200 columns fit."""
    command = [str(Path(sys.executable).with_name("glossator")), "demo", "--cluster", "--home", str(home), "--job", str(job)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment, timeout=500)


@pytest.fixture
def servers_named(postgres_url: str, redis_url: str) -> dict[str, str]:
    return {"GLOSSATOR_DATABASE_URL": postgres_url, "GLOSSATOR_BROKER_URL": redis_url}


@pytest.fixture(scope="module")
def job(tiny_job: JobSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny job, cut so finely that both stages with a kill in them have several chunks."""
    file = tmp_path_factory.mktemp("job") / "job.yaml"
    collection = tiny_job.collection.model_copy(update={"shard_tokens": 2048})
    file.write_text(yaml.safe_dump(tiny_job.model_copy(update={"collection": collection}).model_dump(mode="json")))
    return file


def test_the_clusters_database_is_the_embedded_demos_and_a_byte_that_differs_is_told(
    job: Path, tmp_path: Path, servers_named: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    done = demo(tmp_path / "home", job, **servers_named)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "First the embedded demo" in done.stderr
    assert "while it held collect" in done.stdout
    assert "while it held explain" in done.stdout
    assert "begun again 1 time(s)" in done.stdout
    assert "Equal, row by row and byte by byte" in done.stdout
    assert_nobody_is_left(tmp_path)

    assert_a_changed_byte_is_told(tmp_path / "home" / "demo-cluster" / "embedded", tmp_path / "book", job, capsys)


def assert_a_changed_byte_is_told(embedded: Path, home: Path, job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The steps of the demo after its cluster, on a copy of the embedded database with one changed byte. The cluster's equals the original."""
    shutil.copytree(embedded, home)
    with sqlite3.connect(home / "glossator.db") as connection:
        (blob,) = connection.execute("SELECT blob FROM evidence WHERE feature = 7").fetchone()
        connection.execute("UPDATE evidence SET blob = ? WHERE feature = 7", (blob[:-1] + bytes([blob[-1] ^ 1]),))
    spec = read_spec(job, {})
    changed, original = (cluster_command.embedded_snapshot(cluster_command.embedded_settings(folder, spec), spec) for folder in (home, embedded))
    found = comparison.compare(changed, original)
    for each in (changed, original):
        each.engine.dispose()
    cluster_command.print_compared(found)
    with pytest.raises(cluster_command.DatabasesDifferError) as refused:
        cluster_command.require_equal(found)
    printed = capsys.readouterr()
    assert f"The embedded demo's database is in {home}" in printed.err, "found, and not run again"
    told = [line.split() for line in printed.out.splitlines() if line.startswith("evidence ")]
    assert ["evidence", "31", "1", "0", "0"] in told, printed.out
    assert "The cluster's database is not the embedded demo's." in str(refused.value)


def assert_nobody_is_left(home: Path) -> None:
    """No process that was started for this database."""
    environments = [_environment(process) for process in Path("/proc").glob("[0-9]*")]
    assert not [found for found in environments if f"GLOSSATOR_HOME={home}".encode() in found]


def _environment(process: Path) -> bytes:
    """Empty for one that has ended, or is somebody else's."""
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""
