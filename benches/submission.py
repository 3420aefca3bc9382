"""Measure the time from a job's submission to the lease on its first chunk, on real processes.

The processes are the API, one gpu worker, PostgreSQL and Redis; the job is the tests' smallest. The time runs from before `POST /v1/jobs` to the
lease as the database records it. The job is then cancelled. The next one is submitted after that, at once or when the worker has been idle for a
while. Clients poll and listen to another, paused job meanwhile.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from api.demo.cluster import Cluster
from api.demo.local_servers import LocalRedis
from benches import tiny
from glossator import Client
from interp.config.settings import Settings
from interp.domain.lifecycle import JOB_ENDS, Stage
from interp.store.db.engine import make_engine, snapshot
from interp.store.db.tables import ChunkRow
from interp.store.db.temporary_database import own_database

Line = dict[str, Any]
PATIENCE = 120.0
# A worker that has had nothing to do for so long waits for a notification. For the second after its last chunk Celery does not listen.
IDLE_SECONDS = 1.5


def measured(server: str, clients: int, submissions: int = 30) -> Iterator[Line]:
    """A line without and one with so many clients. `server` is the URL of any database of a PostgreSQL where one more may be made for a while."""
    with tempfile.TemporaryDirectory() as folder, own_database(server) as database, LocalRedis() as redis:
        job = tiny.build(Path(folder)).model_dump(mode="json")
        settings = Settings(home=Path(folder) / "home", database_url=database, broker_url=redis.url)
        engine = make_engine(database)
        with Cluster(settings, gpu_workers=1, llm_workers=0) as cluster, Client(cluster.url) as client:
            # The first one pays for what is imported and opened once.
            _submit(client, engine, job, 0)
            standing = client.submit_job(job | {"seed": 1})["id"]
            client.pause_job(standing)
            seeds = count(2)
            for number, idle in ((0, 0.0), (0, IDLE_SECONDS), (clients, IDLE_SECONDS)):
                waits: list[float] = []
                with _crowd(cluster.url, standing, number):
                    for _ in range(submissions):
                        time.sleep(idle)
                        waits.append(1000 * _submit(client, engine, job, next(seeds)))
                case = "submit to first chunk, the worker " + ("idle" if idle else "at its last chunk's end")
                case += f", {number} clients poll and listen" if number else ""
                figures = {"p50_ms": round(statistics.median(waits), 1), "p95_ms": round(statistics.quantiles(waits, n=20)[-1], 1)}
                yield {"case": case, "submissions": submissions} | figures | {"max_ms": round(max(waits), 1)}
        engine.dispose()


def _submit(client: Client, engine: Engine, job: dict[str, Any], seed: int) -> float:
    """Seconds until the job's first chunk was leased."""
    began = time.time()
    job_id = client.submit_job(job | {"seed": seed})["id"]
    leased = _until(lambda: _taken(engine, job_id)).timestamp()
    client.cancel_job(job_id)
    _until(lambda: client.get_job(job_id)["status"] in JOB_ENDS)
    return float(leased - began)


def _taken(engine: Engine, job_id: str) -> datetime | None:
    with snapshot(engine) as session:
        return session.scalar(select(ChunkRow.started_at).where(ChunkRow.job_id == job_id, ChunkRow.stage == Stage.PREPARE))


def _until(look: Any) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError("The worker took nothing up.")
        time.sleep(0.02)
    return found


@contextmanager
def _crowd(url: str, job_id: str, clients: int) -> Iterator[None]:
    if not clients:
        yield
        return
    command = [sys.executable, "-m", "benches.crowd", url, job_id, str(clients), str(clients), str(10 * PATIENCE)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            # Until all are connected.
            time.sleep(10)
            yield
        finally:
            process.terminate()
