"""A real embedded service in a process of its own, and the means to kill parts of it at a chosen moment."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError

from interp.config.settings import Settings
from interp.domain.lifecycle import ChunkStatus, JobStatus, Stage
from interp.store.db.engine import make_engine, snapshot
from interp.store.db.tables import ChunkRow, JobRow
from tests.faults.waiting import until
from workers.machine import is_gone


@dataclass(frozen=True)
class Service:
    """`glossator serve` on settings of its own. `process` leads its own process group."""

    settings: Settings
    engine: Engine
    process: "subprocess.Popen[bytes]"
    log: Path

    def worker_of(self, job_id: str, stage: Stage) -> tuple[str, int] | None:
        """(chunk id, worker pid) of a chunk of the stage that is being worked on."""
        with snapshot(self.engine) as session:
            statement = select(ChunkRow.id, ChunkRow.lease_owner).where(
                ChunkRow.job_id == job_id, ChunkRow.stage == stage, ChunkRow.status == ChunkStatus.LEASED
            )
            found = session.execute(statement.limit(1)).first()
        return None if found is None or found[1] is None else (found[0], int(found[1].split("/")[1]))

    def kill_worker_in(self, job_id: str, stage: Stage) -> str:
        """SIGKILLs a worker while it holds a chunk of the stage, for certain: it is stopped first, and looked at again. The chunk's id."""

        def caught() -> str | None:
            found = self.worker_of(job_id, stage)
            if found is None:
                assert self.status(job_id) not in (JobStatus.COMPLETED, JobStatus.FAILED), f"{stage} went by too fast\n{self.tail()}"
                return None
            chunk_id, pid = found
            os.kill(pid, signal.SIGSTOP)
            if self.worker_of(job_id, stage) == found:
                os.kill(pid, signal.SIGKILL)
                return chunk_id
            os.kill(pid, signal.SIGCONT)
            return None

        return until(caught, f"a worker in {stage}", every=0.005)

    def kill_all_in(self, job_id: str, stage: Stage) -> None:
        """SIGKILLs the service and every worker at once while a chunk of the stage is worked on."""
        worker = until(lambda: self.worker_of(job_id, stage), f"a worker in {stage}", every=0.005)
        os.kill(worker[1], signal.SIGKILL)
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def status(self, job_id: str) -> str:
        with snapshot(self.engine) as session:
            return session.get_one(JobRow, job_id).status

    def completed(self, job_id: str) -> None:
        """Waits until the job is over, and fails unless it has completed."""
        until(lambda: self.status(job_id) in (JobStatus.COMPLETED, JobStatus.FAILED), "the end of the job", every=0.1)
        with snapshot(self.engine) as session:
            job = session.get_one(JobRow, job_id)
        assert job.status == JobStatus.COMPLETED, f"{job.error}\n{self.tail()}"

    def owners(self) -> set[str]:
        """Owners of all leases."""
        with snapshot(self.engine) as session:
            return {owner for owner in session.scalars(select(ChunkRow.lease_owner).where(ChunkRow.status == ChunkStatus.LEASED)) if owner}

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


@contextmanager
def serve(settings: Settings) -> Iterator[Service]:
    """`glossator serve` until the block ends, then killed with all of its children."""
    settings.home.mkdir(parents=True, exist_ok=True)
    log = settings.home / "serve.log"
    command = [sys.executable, "-c", "from api.cli import main; main()", "serve", "--port", "0"]
    environment = os.environ | settings.environment() | {"OMP_NUM_THREADS": "1"}
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True)
    engine = make_engine(settings.database_url)
    service = Service(settings, engine, process, log)
    try:
        until(lambda: _is_up(service), "the service's tables")
        yield service
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        engine.dispose()


def all_gone(owners: set[str]) -> bool:
    """Whether every owner's process has ended."""
    return all(is_gone(owner) for owner in owners)


def _is_up(service: Service) -> bool:
    assert service.process.poll() is None, service.tail()
    try:
        with snapshot(service.engine) as session:
            session.execute(select(JobRow.id).limit(1))
    except OperationalError:
        return False
    return True
