"""A whole service as separate processes: api, upkeep, two gpu and two llm workers, on a PostgreSQL and a Redis of their own.

Every process believes that it is on a machine of its own, where the system allows that: then nobody can see that another one is dead, and leases run
out by time alone, as they do in a cluster. Processes that end are started again, as a container's orchestrator does; nothing else is done for them.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import Engine, delete
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from api.demo.fake_llm.server import ScriptedServer
from api.demo.local_servers import LocalPostgres, LocalRedis, free_port
from glossator import Client
from interp.config.settings import Settings
from interp.store import migrate
from interp.store.db.engine import make_engine
from interp.store.db.tables import Base
from tests.faults.disks import Disk, disk
from tests.faults.proxy import Proxy
from tests.faults.waiting import until
from tests.faults.wall_clocks import Clock, clocks
from tests.forked import ForkedProcess, ForkServer

RESTART_SECONDS = 0.3
DISK_MEGABYTES = {"home": 64, "postgres": 512}
GLOSSATOR = (sys.executable, "-c", "from api.cli import main; main()")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
WEBHOOK_SECRET = "whsec_" + "A" * 32
WORKERS = {"gpu-0": "gpu", "gpu-1": "gpu", "llm-0": "llm", "llm-1": "llm", "upkeep": "upkeep"}


@dataclass
class Member:
    """One process of the service, or the place of one that is about to be started again. `is_ours`: its end is our doing."""

    name: str
    arguments: tuple[str, ...]
    log: Path
    process: "subprocess.Popen[bytes] | ForkedProcess | None" = None
    is_ours: bool = False

    @property
    def queue(self) -> str:
        return self.name.partition("-")[0]


class Cluster:
    """Made by `cluster(...)`. `engine` is the harness's own, past the proxy; `ended` lists processes that ended and nobody had killed."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        postgres: LocalPostgres,
        redis: LocalRedis,
        proxy: Proxy,
        server: ScriptedServer,
        disks: dict[str, Disk],
        clocks: dict[str, Clock],
        forks: ForkServer | None,
    ) -> None:
        self.settings, self.engine, self._forks = settings, engine, forks
        self.postgres, self.redis, self.proxy, self.server = postgres, redis, proxy, server
        self.disks, self.clocks = disks, clocks
        self.client = Client(f"http://127.0.0.1:{settings.port}")
        self.ended: list[str] = []
        logs = settings.home.parent / "logs"
        logs.mkdir()
        serve = ("serve", "--no-workers", "--port", str(settings.port))
        self.members = {"api": Member("api", serve, logs / "api.log")}
        for name, queue in WORKERS.items():
            self.members[name] = Member(name, ("worker", queue, "--name", name), logs / f"{name}.log")
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="orchestrator", daemon=True)

    def start(self) -> None:
        for member in self.members.values():
            self._spawn(member)
        self._watcher.start()
        self.wait_until_up()

    def wait_until_up(self) -> None:
        """Returns when the api answers."""
        until(self.client.is_ready, "the api")

    def stop(self) -> None:
        self._closing.set()
        self._watcher.join()
        for member in self.members.values():
            if member.process is not None and member.process.poll() is None:
                member.process.send_signal(signal.SIGKILL)
                member.process.wait()
        self.client.close()

    def kill(self, name: str) -> None:
        """SIGKILL; the process is started again."""
        with self._lock:
            member = self.members[name]
            member.is_ours = True
            if member.process is not None and member.process.poll() is None:
                member.process.kill()
                member.process.wait()

    def freeze(self, name: str) -> None:
        """SIGSTOP."""
        self._signal(name, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        self._signal(name, signal.SIGCONT)

    def member_of(self, owner: str) -> str | None:
        """The process that owns a lease; None where it lives no more."""
        pid = int(owner.rsplit("/", 2)[1])
        return next((name for name, member in self.members.items() if member.process is not None and member.process.pid == pid), None)

    def of_queue(self, queue: str) -> list[str]:
        """Names of the processes of a kind."""
        return [name for name, member in self.members.items() if member.queue == queue]

    def clean(self) -> None:
        """An empty book, and no file of an earlier job: all is to be done anew. What workers tell of themselves stays."""
        until(lambda: self.server.totals.in_flight == 0, "the last call's end")
        until(self._is_emptied, "an empty book")
        shutil.rmtree(self.settings.home / "artifacts", ignore_errors=True)

    def _is_emptied(self) -> bool:
        """False where a sweeper of the last trial stood in the way: of two that wait for each other the server ends one."""
        try:
            with self.engine.begin() as connection:
                for table in reversed(Base.metadata.sorted_tables):
                    if table.name != "workers":
                        connection.execute(delete(table))
        except OperationalError:
            return False
        return True

    def logs(self, lines: int = 15) -> str:
        """The end of every process's log."""
        tails = {name: member.log.read_text(errors="replace").splitlines()[-lines:] for name, member in self.members.items() if member.log.exists()}
        return "\n".join(f"--- {name}\n" + "\n".join(tail) for name, tail in tails.items())

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = self.members[name].process
        assert process is not None, f"{name} does not run"
        process.send_signal(number)

    def _spawn(self, member: Member) -> None:
        machine = f"machine-of-{member.name}"
        if self._forks is not None:
            member.process = self._forks.start(member.arguments, self.settings.environment(), member.log, machine)
            return
        environment = os.environ | self.settings.environment() | ONE_THREAD
        environment |= self.clocks["workers"].environment if self.clocks else {}
        command = (*GLOSSATOR, *member.arguments)
        command = (*_own_machine(), machine, *command) if _own_machine() else command
        with member.log.open("ab") as log:
            member.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, process_group=0)

    def _watch(self) -> None:
        while not self._closing.wait(RESTART_SECONDS):
            with self._lock:
                for member in self.members.values():
                    if member.process is not None and member.process.poll() is not None:
                        if not member.is_ours:
                            self.ended.append(f"{member.name} ended by itself with status {member.process.returncode}")
                        member.is_ours = False
                        self._spawn(member)


@contextmanager
def cluster(folder: Path, server: ScriptedServer, is_forked: bool = False) -> Iterator[Cluster]:
    """A service that runs, with everything below `folder`. Raises ServerMissingError where the machine has no PostgreSQL or no Redis.

    `is_forked`: its processes are forks of one that has imported their modules; a worker that is killed is back without seconds of imports.
    """
    with ExitStack() as stack:
        made = {name: stack.enter_context(disk(folder / name, megabytes)) for name, megabytes in DISK_MEGABYTES.items()}
        disks = {name: one for name, one in made.items() if one is not None}
        times = clocks(folder, "workers", "database")
        stack.enter_context(_variables(times["database"].environment if times else {}))
        postgres = stack.enter_context(LocalPostgres(folder / "postgres"))
        redis = stack.enter_context(LocalRedis(folder / "redis"))
        proxy = stack.enter_context(Proxy(to=postgres.port))
        behind_proxy = make_url(postgres.url).set(port=proxy.port).render_as_string(hide_password=False)
        migrate.upgrade(postgres.url)
        engine = make_engine(postgres.url)
        stack.callback(engine.dispose)
        forks = stack.enter_context(ForkServer(ONE_THREAD | (times["workers"].environment if times else {}))) if is_forked else None
        settings = settings_of(folder / "home", behind_proxy, redis.url, server.base_url)
        found = Cluster(settings, engine, postgres, redis, proxy, server, disks, times, forks)
        stack.callback(found.stop)
        found.start()
        yield found


def settings_of(home: Path, database_url: str, broker_url: str, llm_base_url: str) -> Settings:
    """Small chunks, so that every stage has several; short leases, so that nobody waits long."""
    return Settings(
        home=home,
        database_url=database_url,
        broker_url=broker_url,
        llm_base_url=llm_base_url,
        port=free_port(),
        lease_seconds=5,
        heartbeat_interval_seconds=0.5,
        progress_interval_seconds=0.2,
        lease_check_interval_seconds=0.1,
        notify_again_seconds=2,
        sweep_interval_seconds=0.3,
        poll_interval_seconds=1,
        stop_timeout_seconds=5,
        llm_max_concurrent_calls=8,
        llm_worker_threads=2,
        merge_chunk_features=8,
        explain_chunk_features=4,
        webhook_allow_private_networks=True,
        webhook_secret=SecretStr(WEBHOOK_SECRET),
        log_level="info",
    )


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Of this process, for the servers that it starts: what it does itself is not touched by them any more."""
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)


@cache
def _own_machine() -> tuple[str, ...]:
    """What makes a process believe that it is on a machine of that name: a UTS namespace. Empty where nobody may have one."""
    for options in (("--uts",), ("--user", "--map-root-user", "--uts")):
        words = ("unshare", *options, "sh", "-c", 'hostname "$0" && exec "$@"')
        try:
            if subprocess.run([*words, "another", "true"], capture_output=True).returncode == 0:
                return words
        except FileNotFoundError:
            return ()
    return ()
