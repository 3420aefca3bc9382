"""Measure the cost of each step of the queue, which must not depend on the number of chunks.

    python -m benches.queue --json

The database holds a job of `--chunks` chunks and `--jobs` small ones, at a PostgreSQL server (`--server`) or in a SQLite file. Each step is timed
alone, on one connection, at the beginning and again when a share of the chunks is done:

- claim    a lease on the next chunk (`chunks.claim`), with the notification that announced it
- renew    a heartbeat
- finish   the end of a chunk, with the chunks that it makes ready
- notify   the notifications that are due, after each end
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from interp.domain.job_warnings import JobWarning
from interp.domain.lifecycle import Queue, Stage
from interp.domain.spec import CorpusSpec, DictionarySpec, JobSpec, SubjectSpec
from interp.planning.plan import ChunkPlan
from interp.store import migrate
from interp.store.db.engine import make_engine, transaction
from interp.store.db.temporary_database import own_database
from interp.store.queue import chunks, completion, jobs

SPEC = JobSpec(subject=SubjectSpec(model="m"), dictionary=DictionarySpec(source="d"), corpus=CorpusSpec(path="c"))
LEASE_SECONDS, WINDOW, NOTIFY_AGAIN_SECONDS = 60.0, 64, 30.0
Given = ParamSpec("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Facts:
    """Stands for a preflight."""

    n_features: int = 1
    identity: dict[str, Any] = field(default_factory=lambda: {"subject": "m", "dictionary": "d", "hook_point": "h"})
    warnings: Sequence[JobWarning] = ()
    corpus: dict[str, Any] | None = None
    fingerprint: str | None = None


@dataclass
class Clock:
    """Milliseconds of each step."""

    found: dict[str, list[float]] = field(default_factory=dict)

    def time(self, step: str, engine: Engine, action: Callable[Concatenate[Session, Given], Made], *given: Given.args, **more: Given.kwargs) -> Made:
        begun = time.perf_counter()
        with transaction(engine) as session:
            made = action(session, *given, **more)
        self.found.setdefault(step, []).append(1000 * (time.perf_counter() - begun))
        return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="postgresql://127.0.0.1:5432/postgres", help="URL of a PostgreSQL server whose user may create databases")
    parser.add_argument("--sqlite", action="store_true")
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--steps", type=int, default=500, help="number of steps timed in each part")
    parser.add_argument("--between", type=int, default=10_000, help="number of chunks done between the two parts")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with _database(arguments.server, arguments.sqlite) as url:
        migrate.upgrade(url)
        engine = make_engine(url)
        _fill(engine, arguments.chunks, arguments.jobs)
        for case, before in (("new", 0), ("worked on", arguments.between)):
            _work(engine, before, Clock())
            clock = Clock()
            _work(engine, arguments.steps, clock)
            for line in _lines(clock, f"{case}, {arguments.chunks} chunks, {arguments.jobs} jobs"):
                print(json.dumps(line) if arguments.json else "  ".join(f"{name} {value}" for name, value in line.items()), flush=True)
        engine.dispose()


@contextmanager
def _database(server: str, sqlite: bool) -> Iterator[str]:
    if sqlite:
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder) / 'queue.db'}"
    else:
        with own_database(server) as url:
            yield url


def _fill(engine: Engine, number: int, small: int) -> None:
    sizes = [number, *[2] * small]
    for size in sizes:
        with transaction(engine) as session:
            job = jobs.submit(session, SPEC, Facts())
            jobs.start(session, job.id)
            explains = [ChunkPlan(Stage.EXPLAIN, place, 1) for place in range(size // 2)]
            scores = [ChunkPlan(Stage.SCORE, place, 1, {}, f"{Stage.EXPLAIN}:{place}") for place in range(size // 2)]
            chunks.add(session, job.id, 0, [*explains, *scores])


def _work(engine: Engine, number: int, clock: Clock) -> None:
    notifications: list[str] = []
    for _ in range(number):
        notification = notifications.pop(0) if notifications else None
        lease = clock.time("claim", engine, chunks.claim, Queue.LLM, "bench", LEASE_SECONDS, notification)
        assert lease is not None
        clock.time("renew", engine, chunks.renew, [(lease, 1)], LEASE_SECONDS)
        clock.time("finish", engine, completion.finish, lease, None)
        notifications += clock.time("notify", engine, chunks.due_notifications, Queue.LLM, WINDOW, NOTIFY_AGAIN_SECONDS)


def _lines(clock: Clock, case: str) -> Iterator[dict[str, object]]:
    for step, found in clock.found.items():
        cuts = statistics.quantiles(found, n=20)
        yield {"bench": "queue", "case": f"{step}: {case}", "p50_ms": round(statistics.median(found), 2), "p95_ms": round(cuts[-1], 2)}


if __name__ == "__main__":
    main()
