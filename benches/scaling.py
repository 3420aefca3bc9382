"""Measure whether a feature costs more CPU time with more workers.

    python -m benches.scaling --json

The same job (the example's model and dictionary, a part of its features, the pattern explainer, detection and simulation) runs on three clusters:
1, 2 and 4 gpu workers with as many llm workers, each with a PostgreSQL and a Redis of its own. They share the cores of this machine, so the
benchmark measures overhead and not speed: the CPU time of a cluster's workers, PostgreSQL and Redis per feature, from the job's submission to its
end.

Every worker computes on one thread. All clusters are started once, and uncounted jobs run until each gpu worker has loaded the models. Then the
clusters alternate, one job each per repeat, while the others are idle. Every job needs new evidence (another seed). `cpu_ms_per_feature` is the
median over the repeats; `growth` the median of its ratio to one worker's in the same repeat, `spread` the lowest and highest.
"""

import argparse
import json
import os
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.demo.local_servers import LocalPostgres, LocalRedis
from api.jobs import admission
from interp.config.settings import Settings
from interp.domain.lifecycle import JobStatus
from interp.domain.spec import CollectionSpec, CorpusSpec, DictionarySpec, ExplainerSpec, JobSpec, ScorerSpec, SubjectSpec
from interp.store import migrate
from interp.store.db.engine import snapshot, transaction
from interp.store.queue import jobs
from workers.runtime import Runtime
from workers.supervisor import Supervisor
from workers.wakeup import notify

EXAMPLE = Path(__file__).parents[1] / "examples" / "pystdlib"
NUMBERS = (1, 2, 4)
TOKENS, SHARDS = 200_000, 8
# Opening the models leaves this much memory behind: a worker that has less has not worked yet.
OPENED_BYTES = 450_000_000
FIRST_JOBS = 8


@dataclass(frozen=True)
class Run:
    """One job. `cpu` in seconds."""

    features: int
    seconds: float
    cpu: float

    @property
    def cpu_ms(self) -> float:
        return 1000 * self.cpu / self.features


@dataclass(frozen=True)
class Cluster:
    """Workers with their own servers. `servers` are the process ids of these."""

    runtime: Runtime
    supervisor: Supervisor
    servers: tuple[int, int]

    def run(self, features: int, seed: int) -> Run:
        """One job, from its submission to its end."""
        begun, cpu = time.perf_counter(), self._cpu()
        with transaction(self.runtime.engine) as session:
            checked = admission.check(_spec(features, seed), self.runtime.settings)
            submitted = jobs.submit(session, checked.spec, checked.facts).id
        notify(self.runtime.engine, self.runtime.settings)
        while True:
            with snapshot(self.runtime.engine) as session:
                job = jobs.get(session, submitted)
            if job.status not in (JobStatus.QUEUED, JobStatus.RUNNING):
                break
            time.sleep(0.1)
        if job.status != JobStatus.COMPLETED:
            raise SystemExit(f"the job is {job.status}: {job.error}")
        return Run(features, time.perf_counter() - begun, self._cpu() - cpu)

    def all_opened(self) -> bool:
        """Whether every gpu worker has the models open."""
        return all(_resident_bytes(pid) > OPENED_BYTES for name, pid in self.supervisor.pids().items() if name.startswith("gpu"))

    def _cpu(self) -> float:
        return sum(_cpu_seconds(pid) for pid in (*self.supervisor.pids().values(), *self.servers))


def main() -> None:
    options = _options()
    # Workers are children, and take it over.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with ExitStack() as stack:
        clusters = {number: stack.enter_context(cluster(number)) for number in NUMBERS}
        for number, one in clusters.items():
            _warm(number, one, options.features)
        runs: dict[int, list[Run]] = {number: [] for number in NUMBERS}
        for repeat in range(options.repeats):
            for number, one in clusters.items():
                runs[number].append(one.run(options.features, 1000 + repeat))
    for number in NUMBERS:
        line = report(number, runs)
        print(json.dumps(line) if options.json else "\n".join(f"{name:>20}  {value}" for name, value in line.items()) + "\n", flush=True)


def report(number: int, runs: dict[int, list[Run]]) -> dict[str, Any]:
    """The figures of one number of workers."""
    growth = [run.cpu_ms / alone.cpu_ms for run, alone in zip(runs[number], runs[NUMBERS[0]], strict=True)]
    return {
        "bench": "scaling",
        "workers": number,
        "features": runs[number][0].features,
        "tokens": TOKENS,
        "repeats": len(growth),
        "cpu_ms_per_feature": round(statistics.median(run.cpu_ms for run in runs[number]), 2),
        "growth": round(statistics.median(growth), 3),
        "spread": [round(min(growth), 3), round(max(growth), 3)],
        "seconds": round(statistics.median(run.seconds for run in runs[number]), 1),
    }


@contextmanager
def cluster(number: int) -> Iterator[Cluster]:
    """So many gpu workers and as many llm workers on servers of their own."""
    with tempfile.TemporaryDirectory() as folder, LocalPostgres() as postgres, LocalRedis() as redis, Path(folder, "workers.log").open("ab") as log:
        settings = Settings(
            home=Path(folder),
            database_url=postgres.url,
            broker_url=redis.url,
            gpu_workers=number,
            llm_workers=number,
            merge_chunk_features=64,
            explain_chunk_features=16,
        )
        migrate.upgrade(settings.database_url)
        supervisor = Supervisor(settings, log)
        supervisor.start()
        try:
            yield Cluster(Runtime.of(settings), supervisor, (postgres.pid, redis.pid))
        finally:
            supervisor.stop()


def _warm(number: int, one: Cluster, features: int) -> None:
    """Jobs until every worker has had a part in one."""
    for seed in range(FIRST_JOBS):
        one.run(features, seed)
        if one.all_opened():
            return
    raise SystemExit(f"after {FIRST_JOBS} jobs some of {number} gpu workers had taken no chunk")


def _spec(features: int, seed: int) -> JobSpec:
    return JobSpec(
        subject=SubjectSpec(model=str(EXAMPLE / "subject")),
        dictionary=DictionarySpec(source=str(EXAMPLE / "dictionary"), name="pystdlib@bench"),
        corpus=CorpusSpec(path=sysconfig.get_paths()["stdlib"], include=("**/*.py",), undecodable="skip", max_tokens=TOKENS),
        collection=CollectionSpec(shard_tokens=TOKENS // SHARDS),
        features=f"0-{features - 1}",
        explainers=(ExplainerSpec(name="pattern"),),
        scorers=(ScorerSpec(name="detection"), ScorerSpec(name="simulation")),
        seed=seed,
    )


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process, of its children that live and of those that it has waited for (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(_cpu_seconds(int(child)) for child in children)


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
