"""Backups: a service restored from one continues a half-finished job, whichever database it has."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from sqlalchemy import make_url

from api.app import create_app
from api.demo.local_servers import LocalPostgres
from benches.in_process import InProcess
from glossator import Client
from interp.config.settings import Settings
from interp.domain.errors import InputError
from interp.domain.lifecycle import JobStatus, Queue
from interp.domain.spec import JobSpec
from interp.store import backup
from interp.store.db.engine import snapshot
from interp.store.db.temporary_database import own_database
from interp.store.queue import jobs
from tests import databases
from tests.artifacts.bucket import Bucket, new_bucket
from tests.faults.results import results
from workers.runtime import Runtime
from workers.worker import drain, run_chunk

# `prepare` and half of the collection.
STEPS = 3


def begun(settings: Settings, spec: JobSpec) -> str:
    """A job on an uploaded corpus, whose first chunks are done."""
    with Client("http://test", InProcess(create_app(settings))) as client:
        corpus = client.upload_file(spec.corpus.path)["uri"]
        body = spec.model_dump(mode="json")
        job_id: str = client.submit_job(body | {"corpus": body["corpus"] | {"path": corpus}})["id"]
    runtime = Runtime.of(settings)
    for _ in range(STEPS):
        assert run_chunk(runtime, Queue.GPU)
    with snapshot(runtime.engine) as session:
        assert jobs.get(session, job_id).status == JobStatus.RUNNING
    runtime.engine.dispose()
    return job_id


def completed(settings: Settings, job_id: str) -> object:
    """The rows of the job where a service of these settings goes on."""
    runtime = Runtime.of(settings)
    drain(runtime, Queue.GPU, Queue.LLM)
    with snapshot(runtime.engine) as session:
        job = jobs.get(session, job_id)
        assert job.status == JobStatus.COMPLETED, job.error
    found = results(runtime.engine)
    runtime.engine.dispose()
    return found


@pytest.fixture
def spec(tiny_job: JobSpec) -> JobSpec:
    collection = tiny_job.collection.model_copy(update={"shard_tokens": 1024})
    corpus = tiny_job.corpus.model_copy(update={"max_tokens": 4000})
    return tiny_job.model_copy(update={"features": "0-7", "corpus": corpus, "collection": collection, "scorers": ()})


@pytest.fixture
def roots(spec: JobSpec) -> tuple[Path, ...]:
    return (Path(spec.subject.model).parent,)


def test_an_embedded_service_goes_on_from_its_backup(spec: JobSpec, roots: tuple[Path, ...], tmp_path: Path) -> None:
    """By the command, while connections are open; the original ends first."""
    original = Settings(home=tmp_path / "home", roots=roots)
    databases.upgrade(original.database_url)
    job_id = begun(original, spec)
    held = Runtime.of(original)
    with snapshot(held.engine) as session:
        jobs.get(session, job_id)
        done = subprocess.run(
            [sys.executable, "-c", "from api.cli import main; main()", "db", "backup", str(tmp_path / "copy"), "--json"],
            env=os.environ | {"GLOSSATOR_HOME": str(original.home)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    held.engine.dispose()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] > STEPS
    assert (tmp_path / "copy").stat().st_mode & 0o077 == 0
    expected = completed(original, job_id)
    shutil.rmtree(original.home)
    assert completed(Settings(home=tmp_path / "copy", roots=roots), job_id) == expected


def test_a_backup_is_a_new_folder_and_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path / "home")
    (tmp_path / "there").mkdir()
    for refused in (settings, settings.model_copy(update={"database_url": "postgresql+psycopg://localhost/x"})):
        with pytest.raises(InputError) as error:
            backup.back_up(refused, tmp_path / "there")
        assert error.value.cure
    with pytest.raises(InputError, match="no database"):
        backup.back_up(settings, tmp_path / "copy")
    databases.upgrade(settings.database_url)

    def fail(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(backup, "_copy_artifacts", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        backup.back_up(settings, tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "there"]


def test_a_service_on_postgresql_and_a_bucket_goes_on_from_dump_and_copy(
    spec: JobSpec, roots: tuple[Path, ...], postgres_url: str, bucket: Bucket, tmp_path: Path
) -> None:
    """As docs/operate.md says: the dump first, then the artifacts."""
    shared = {"roots": roots, "artifact_options": bucket.options, "broker_url": "redis://127.0.0.1:1/0"}
    original = Settings(home=tmp_path / "home", database_url=postgres_url, artifacts_url=bucket.url, **shared)
    databases.upgrade_and_empty(postgres_url)
    job_id = begun(original, spec)
    dump = tmp_path / "glossator.dump"
    postgres("pg_dump", "--format=custom", f"--file={dump}", plain(postgres_url))
    copy = new_bucket(bucket.options)
    fsspec.filesystem("s3", **bucket.options).copy(f"{bucket.url}/", f"{copy.url}/", recursive=True)
    expected = completed(original, job_id)
    with own_database(postgres_url) as restored:
        postgres("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={plain(restored)}", str(dump))
        databases.upgrade(restored)
        assert completed(Settings(home=tmp_path / "other", database_url=restored, artifacts_url=copy.url, **shared), job_id) == expected


def plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def postgres(program: str, *arguments: str) -> None:
    """A program of the newest PostgreSQL of the machine, or of the Python package."""
    found = shutil.which(program) or LocalPostgres.find().with_name(program)
    done = subprocess.run([str(found), *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
