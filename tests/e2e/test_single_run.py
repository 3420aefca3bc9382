"""Run `glossator run` in real processes: shared, stopped, killed and begun again."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from sqlalchemy import Engine, select

from interp.config.home import HomeLock, SharedHomeLock
from interp.domain.errors import HomeTakenError
from interp.domain.lifecycle import ChunkStatus, Stage
from interp.domain.spec import JobSpec
from interp.store.db.engine import make_engine, snapshot
from interp.store.db.tables import ChunkRow, JobRow
from interp.store.db.temporary_database import own_database
from tests.workers.test_supervisor import until

pytestmark = pytest.mark.timeout(600)
UNFINISHED = 75


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, home: Path) -> Iterator[str]:
    """A database that is not there yet, or has no table."""
    if request.param == "sqlite":
        yield f"sqlite:///{home}/glossator.db"
        return
    with own_database(str(request.getfixturevalue("postgres_url"))) as url:
        yield url


@pytest.fixture
def file(tmp_path: Path, tiny_job: JobSpec) -> Path:
    made = tmp_path / "job.yaml"
    made.write_text(yaml.safe_dump(tiny_job.model_dump(mode="json", exclude_defaults=True)), encoding="utf-8")
    return made


def start(file: Path, home: Path, database: str, *options: str) -> subprocess.Popen[str]:
    """One task of an array job: a process group, which a scheduler kills as one."""
    small = {"GLOSSATOR_LLM_WORKERS": "1", "GLOSSATOR_MERGE_CHUNK_FEATURES": "8", "GLOSSATOR_EXPLAIN_CHUNK_FEATURES": "8"}
    often = {"GLOSSATOR_STOP_TIMEOUT_SECONDS": "30", "GLOSSATOR_SWEEP_INTERVAL_SECONDS": "0.5"}
    environment = os.environ | small | often | {"GLOSSATOR_DATABASE_URL": database}
    command = [sys.executable, "-c", "from api.cli import main; main()", "run", str(file), "--home", str(home), *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def test_tasks_share_a_job_and_go_on_after_the_limit(file: Path, home: Path, database: str) -> None:
    tasks = [start(file, home, database) for _ in range(2)]
    engine = until(lambda: opened(database), "the database")
    until(lambda: chunks(engine, ChunkStatus.LEASED, Stage.COLLECT), "collection")
    tasks[0].send_signal(signal.SIGUSR1)  # what `sbatch --signal=B:USR1@120` sends before the limit
    os.killpg(tasks[1].pid, signal.SIGKILL)  # what a scheduler does at the limit
    _, said = tasks[0].communicate(timeout=240)
    tasks[1].communicate(timeout=240)
    assert tasks[0].returncode == UNFINISHED, said
    assert "The same command goes on with it" in said
    again = start(file, home, database, "--json")
    printed, said = again.communicate(timeout=240)
    assert again.returncode == 0, said
    job = json.loads(printed)
    assert job["status"] == "completed"
    with snapshot(engine) as session:
        assert session.scalars(select(JobRow.id)).all() == [job["id"]], "every task works on the same job"
    engine.dispose()


def opened(database: str) -> Engine | None:
    engine = make_engine(database)
    try:
        with snapshot(engine) as session:
            session.scalars(select(ChunkRow.id)).all()
    except Exception:  # the tables are being made
        engine.dispose()
        return None
    return engine


def chunks(engine: Engine, status: ChunkStatus, stage: Stage) -> list[str]:
    with snapshot(engine) as session:
        return list(session.scalars(select(ChunkRow.id).where(ChunkRow.status == status, ChunkRow.stage == stage)))


def test_a_home_is_a_servers_or_shared_by_runs_of_one_machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = SharedHomeLock(home), SharedHomeLock(home)
    with pytest.raises(HomeTakenError, match="Another process uses"):
        HomeLock(home)
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    with pytest.raises(HomeTakenError, match="Another machine uses"):
        SharedHomeLock(home)
    first.release()
    second.release()
    SharedHomeLock(home).release()
    server = HomeLock(home)
    with pytest.raises(HomeTakenError):
        SharedHomeLock(home)
    server.release()
