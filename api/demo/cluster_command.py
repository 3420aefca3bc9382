"""`glossator demo --cluster`: compare the plain demo with a cluster that loses two workers."""

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from api.cli.output import progress, report
from api.cli.output.console import duration, err, out, say, thousands
from api.demo.cluster import Cluster, Kill
from api.demo.embedded import run_embedded
from api.demo.servers import POSTGRES, REDIS, own
from api.jobs.paths import paths_of
from glossator import Client
from interp.config.settings import Settings
from interp.domain.errors import GlossatorError
from interp.domain.lifecycle import Stage
from interp.domain.spec import JobSpec
from interp.store.db import comparison, revision
from interp.store.db.comparison import Compared, DatabaseSnapshot
from interp.store.db.engine import make_engine, snapshot
from interp.store.queue.chunks import repeated

KILLED = (Stage.COLLECT, Stage.EXPLAIN)
FOLDER = "demo-cluster"
SERVERS = {"named": "the one that the environment names", "local": "the one at the default local port", "private": "a private one of this machine's"}


class DatabasesDifferError(GlossatorError, code="books-differ", title="The two databases differ"):
    """The cluster's database differs from the embedded demo's."""


class NoWorkerKilledError(GlossatorError, code="nobody-killed", title="No worker was killed"):
    """The job ended before a worker could be killed during its work."""


@dataclass(frozen=True)
class ClusterRun:
    """The finished job, the worker killed per stage (or None), and the seconds it took."""

    job: dict[str, Any]
    kills: dict[Stage, Kill | None]
    seconds: float


def run(home: Path, spec: JobSpec) -> None:
    """Run both demos and print a comparison; raises DatabasesDifferError and NoWorkerKilledError.

    The servers are those of GLOSSATOR_DATABASE_URL and GLOSSATOR_BROKER_URL, else those on the default local ports, else private ones. The demo
    creates a database and takes a Redis database there, and deletes them at the end.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        plain = embedded_snapshot(embedded_settings(home, spec), spec)
        stack.callback(plain.engine.dispose)
        settings = _clustered_settings(stack, home, spec)
        ran = _in_a_cluster(settings, spec)
        engine = make_engine(settings.database_url)
        stack.callback(engine.dispose)
        with snapshot(engine) as session:
            again = repeated(session, ran.job["id"])
        found = comparison.compare(plain, DatabaseSnapshot(engine, ran.job["id"]))
    _print_kills(ran, again)
    print_compared(found)
    out.print(f"The whole demo took {duration(time.monotonic() - began)}, its part in the cluster {duration(ran.seconds)}.", markup=False)
    require_equal(found)
    missed = [stage for stage, kill in ran.kills.items() if kill is None]
    if missed:
        raise NoWorkerKilledError(f"The job was over before a worker could be caught in {' and '.join(missed)}.", cure="Give it more --features.")


def embedded_settings(home: Path, spec: JobSpec) -> Settings:
    """Return the settings of the plain demo, which ignore servers of the environment."""
    return Settings(home=home, database_url="", broker_url="", artifacts_url="", roots=paths_of(spec))


def embedded_snapshot(settings: Settings, spec: JobSpec) -> DatabaseSnapshot:
    """Return the embedded demo's database: the user's if it holds only this job, else new."""
    if (settings.home / "glossator.db").exists():
        engine = make_engine(settings.database_url)
        job_id = comparison.sole_job(engine, spec) if revision.is_current(engine) else None
        if job_id is not None:
            say(f"The embedded demo's database is in {settings.home}: job {job_id}")
            return DatabaseSnapshot(engine, job_id)
        engine.dispose()
    fresh = embedded_settings(settings.home / FOLDER / "embedded", spec)
    shutil.rmtree(fresh.home, ignore_errors=True)
    say("First the embedded demo, to compare with.")
    finished = run_embedded(fresh, spec, reported=False)
    return DatabaseSnapshot(make_engine(fresh.database_url), finished["id"])


def _clustered_settings(stack: ExitStack, home: Path, spec: JobSpec) -> Settings:
    """Return settings with a new PostgreSQL database, Redis database and folder."""
    named = Settings(home=home)
    database = stack.enter_context(own(POSTGRES, "" if named.database_url.startswith("sqlite") else named.database_url))
    broker = stack.enter_context(own(REDIS, "" if named.is_embedded else named.broker_url))
    for kind, found in ((POSTGRES, database), (REDIS, broker)):
        say(f"{kind.name}: {SERVERS[found.where]}")
    folder = named.home / FOLDER / "cluster"
    shutil.rmtree(folder, ignore_errors=True)
    return Settings(home=folder, database_url=database.url, broker_url=broker.url, artifacts_url="", roots=paths_of(spec))


def _in_a_cluster(settings: Settings, spec: JobSpec) -> ClusterRun:
    """Follow the job to its end, killing a worker in two stages; raises JobDidNotCompleteError."""
    with Cluster(settings) as cluster, Client(cluster.url) as client, ThreadPoolExecutor(len(KILLED)) as executor:
        say(f"Glossator is listening on {cluster.url}; its processes log to {settings.home}:")
        for command in cluster.commands:
            say(f"  {command}")
        began = time.monotonic()
        job: dict[str, Any] = client.submit_job(spec.model_dump(mode="json"))
        say(f"job {job['id']}")
        over = threading.Event()
        kills = {stage: executor.submit(_kill, cluster, job["id"], stage, over) for stage in KILLED}
        try:
            job = progress.follow(client, job["id"], err)
        finally:
            over.set()
        seconds = time.monotonic() - began
        cluster.check()
        progress.raise_unless_completed(job)
        report.print_report(client, job)
        progress.require_explained(client, job)
        return ClusterRun(job, {stage: kill.result() for stage, kill in kills.items()}, seconds)


def _kill(cluster: Cluster, job_id: str, stage: Stage, over: threading.Event) -> Kill | None:
    kill = cluster.kill_a_worker(job_id, stage, over)
    if kill is not None:
        say(f"killed {kill.worker} (pid {kill.pid}) while it held {kill.lease.stage} {kill.lease.number}")
    return kill


def _print_kills(ran: ClusterRun, again: dict[str, int]) -> None:
    out.print(Text("\nKilled at work", "bold"))
    for kill in filter(None, ran.kills.values()):
        chunk = f"{kill.lease.stage} {kill.lease.number}"
        out.print(f"  {kill.worker}, SIGKILL while it held {chunk}: begun again {again.get(chunk, 0)} time(s)", markup=False)
    out.print(f"  chunks begun again in all: {sum(again.values())}", markup=False)


def require_equal(found: list[Compared]) -> None:
    """Raise DatabasesDifferError, with the first different rows, if any row differs."""
    if not all(compared.is_equal for compared in found):
        raise DatabasesDifferError(
            "The cluster's database is not the embedded demo's.",
            why=" ".join(f"{compared.what} {example}." for compared in found for example in compared.examples),
            cure="Where the embedded database was made by another version of Glossator, give a new folder with --home.",
        )


def print_compared(found: list[Compared]) -> None:
    """Print how many rows are the same, different, or in one database alone."""
    out.print(Text("\nThe embedded demo's database and the cluster's", "bold"))
    table = Table("what", "rows the same", "different", "in the embedded alone", "in the cluster's alone", box=None, pad_edge=False)
    for compared in found:
        counts = (compared.same, compared.different, compared.only_first, compared.only_second)
        table.add_row(compared.what, *(thousands(count) for count in counts), style=None if compared.is_equal else "red")
    out.print(table)
    for compared in found:
        for example in compared.examples:
            out.print(f"  {compared.what} {example}", style="red", markup=False, soft_wrap=True)
    if all(compared.is_equal for compared in found):
        out.print("Equal, row by row and byte by byte; times, row ids and job ids are left out.", markup=False)
