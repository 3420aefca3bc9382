"""Measure the cost of a scrape of /metrics on small and large databases; it must not grow with chunks, calls or features.

    python -m benches.scrape --json

Two databases of a private PostgreSQL (or of `--database-url`) are filled by INSERT through the triggers that count: a thousand chunks and calls,
and a million of each, in 200 jobs of which a tenth is open, with 64 leases, 64 workers and 2,000 webhooks. `scrape_ms` are whole scrapes over HTTP
with the values read anew each time; `write_us` is what counting adds to the end of a chunk (the difference with the trigger off).
"""

import argparse
import json
import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from sqlalchemy import Engine, create_engine, make_url, text

from api.app import create_app
from api.demo.local_servers import LocalPostgres
from api.http import metrics
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.store import migrate
from interp.store.db.engine import make_engine

SIZES = (1_000, 1_000_000)
JOBS, OPEN_JOBS, LEASES, MODELS = 200, 20, 64, 5
WRITES = 400

FILL = (
    """INSERT INTO jobs (id, status, priority, spec, request_digest, features_failed, created_at)
       SELECT 'job-' || n, CASE WHEN n < :open THEN 'running' ELSE 'completed' END, 0, '{}', '', 1, now() FROM generate_series(0, :jobs - 1) AS n""",
    """INSERT INTO chunks (id, job_id, stage, number, queue, priority, payload, status, attempts, units_total, units_done, created_at)
       SELECT 'chunk-' || n, 'job-' || n % :jobs, CASE WHEN n / :jobs % 2 = 0 THEN 'explain' ELSE 'score' END, n / :jobs, 'llm', 0, '{}',
              CASE WHEN n % :jobs >= :open THEN 'done' WHEN n / :jobs % 2 = 0 THEN 'ready' ELSE 'waiting' END, 1, 64, 64, now()
       FROM generate_series(0, :size - 1) AS n""",
    """UPDATE chunks SET status = 'leased', lease_expires_at = now() + interval '30 s', started_at = now()
       WHERE id IN (SELECT id FROM chunks WHERE job_id = 'job-0' AND status = 'ready' LIMIT :leases)""",
    """INSERT INTO fair_shares (job_id, queue, last_claimed_at) SELECT id, 'llm', now() FROM jobs""",
    """INSERT INTO workers (owner, queue, name, version, loaded_models, started_at, seen_at)
       SELECT 'w' || n, CASE WHEN n % 4 = 0 THEN 'gpu' ELSE 'llm' END, 'w', '0', '[]', now(), now() FROM generate_series(1, :leases) AS n""",
    """INSERT INTO webhooks (id, job_id, event, url, payload, attempts, delivered_at, created_at)
       SELECT 'hook-' || n, 'job-' || n % :jobs, 'job.completed', 'https://example.org', '{}', 1, now(), now() FROM generate_series(1, 2000) AS n""",
    """INSERT INTO llm_calls (job_id, chunk_id, stage, feature, purpose, key, model, base_url, transport, template, status, attempts, prompt_tokens,
                              completion_tokens, usage_known, cost_usd, seconds, created_at)
       SELECT 'job-' || n % :jobs, '', 'score', n, 'detection', n, 'model-' || n % :models, '', 'live', '', 'answered', 1, 500, 20, true, 0.0001, 1,
              now()
       FROM generate_series(1, :size) AS n""",
    # The sums that `interp.store.llm.call_stats` would have kept, in as many slots as processes have.
    """INSERT INTO llm_totals (model, status, slot, calls, attempts, prompt_tokens, completion_tokens, picodollars, unpriced)
       SELECT model, status, id % 32, count(*), sum(attempts), sum(prompt_tokens), sum(completion_tokens), 0, 0 FROM llm_calls
       GROUP BY model, status, id % 32""",
)


def fill(engine: Engine, size: int) -> None:
    """Rows as an installation of that size has them."""
    known = {"size": size, "jobs": JOBS, "open": OPEN_JOBS, "leases": LEASES, "models": MODELS}
    with engine.begin() as connection:
        for statement in FILL:
            connection.execute(text(statement), {name: value for name, value in known.items() if f":{name}" in statement})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def scrapes(url: str, times: int) -> list[float]:
    """Milliseconds of each scrape, after a first one that is not counted."""
    with httpx.Client(transport=InProcess(create_app(Settings(database_url=url))), base_url="http://bench") as http:
        found = []
        for _ in range(times + 1):
            began = time.perf_counter()
            answer = http.get("/metrics")
            found.append(1000 * (time.perf_counter() - began))
            assert "glossator_database_up 1.0" in answer.text
    return found[1:]


def write_us(engine: Engine) -> tuple[float, float]:
    """Microseconds of the UPDATE that ends a chunk, counted and not: medians, each in a transaction that is rolled back."""
    end = text("UPDATE chunks SET status = 'done' WHERE id = :id")
    found: dict[bool, list[float]] = {True: [], False: []}
    with engine.connect() as connection:
        ids = list(connection.scalars(text("SELECT id FROM chunks WHERE status = 'leased' LIMIT 32")))
        connection.rollback()
        for number in range(WRITES):
            is_counted = number % 2 == 0
            connection.execute(text(f"SET LOCAL session_replication_role = {'origin' if is_counted else 'replica'}"))
            began = time.perf_counter()
            connection.execute(end, {"id": ids[number % len(ids)]})
            found[is_counted].append(1e6 * (time.perf_counter() - began))
            connection.rollback()
    return statistics.median(found[True]), statistics.median(found[False])


@contextmanager
def database(server: str) -> Iterator[str]:
    """URL of a database of its own, upgraded."""
    name = f"glossator_scrape_{uuid.uuid4().hex[:8]}"
    admin = create_engine(make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = make_url(server).set(database=name).render_as_string(hide_password=False)
    migrate.upgrade(url)
    yield url
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def measured(server: str, size: int, times: int) -> dict[str, float]:
    """One line of the table."""
    with database(server) as url:
        engine = make_engine(url)
        fill(engine, size)
        found = sorted(scrapes(url, times))
        counted, plain = write_us(engine)
        engine.dispose()
    return {
        "chunks": size,
        "calls": size,
        "scrape_p50_ms": round(statistics.median(found), 1),
        "scrape_max_ms": round(found[-1], 1),
        "end_of_chunk_us": round(counted),
        "of_it_counting_us": round(counted - plain),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--database-url", help="URL of a PostgreSQL server whose user may create databases; default: a private one")
    parser.add_argument("--times", type=int, default=30, help="number of scrapes of each database")
    arguments = parser.parse_args()
    metrics.KEEP_SECONDS = 0.0
    if arguments.database_url:
        lines = [measured(arguments.database_url, size, arguments.times) for size in SIZES]
    else:
        with LocalPostgres() as server:
            lines = [measured(server.url, size, arguments.times) for size in SIZES]
    for line in lines:
        print(json.dumps(line) if arguments.json else "  ".join(f"{name} {value:g}" for name, value in line.items()))


if __name__ == "__main__":
    main()
