"""Measure the speed of the service on a large database, and with many clients.

    python -m benches.service --database postgresql://user@host/some_database --json

The PostgreSQL database is kept between runs. Its results (`benches.bigbook`) are written once, through the real repositories, and a part of them
again to be timed. Then `glossator serve --no-workers` runs in a process of its own and is read over HTTP:

- `ingest`    per second: evidence (a blob of 4 KB and a row of the listing each), explanations, scores (each with its 40 items), and features with
              all of theirs; from one process and from four, one transaction per chunk of a job's default size (`benches.ingest`);
- `listing`   every sort and direction, filters that match much, little and nothing, texts common, rare and absent, at the first, the hundredth and
              the last page; `rows` is the number of rows per page. `p50_ms` and `p95_ms` are of the whole response, one client at a time;
- `reading`   one dictionary, one feature, one job, jobs, a job's usage and calls;
- `crowd`     many clients in another process, each with an event stream and polls, while the job runs: errors, times, and the server's memory
              before, during and after;
- `submit`    from `POST /v1/jobs` to the lease on the job's first chunk (`benches.submission`), without and with those clients.

`--features` makes the database smaller, `--only` chooses kinds. PostgreSQL's own settings are not changed: the figures of docs/performance.md are of
its defaults.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Engine, func, select

from api.reads import cursors
from api.reads.dictionaries import FeatureFilters
from api.reads.explanations import ExplanationFilters
from benches import bigbook, bigjobs, ingest, submission
from benches.bigbook import NAME, Sizes
from interp.config.settings import Settings
from interp.store import migrate
from interp.store.db.engine import make_engine, snapshot
from interp.store.listings import keyset, queries
from interp.store.listings.keyset import KeysetListing
from interp.store.listings.queries import PLACE_OF_EXPLANATION, FeatureSort

LIMIT = 50
HUNDREDTH = 99 * LIMIT
KINDS = ("ingest", "listing", "reading", "crowd", "submit")
Line = dict[str, Any]

FILTERS: dict[str, dict[str, Any]] = {
    "good": {"sort": "score", "order": "desc", "min_score": 0.9},
    "better than null": {"sort": "shrunken_score", "order": "desc", "max_q_value": 0.01},
    "worst of the significant": {"sort": "score", "max_q_value": 0.001},
    "best without lift": {"sort": "score", "order": "desc", "max_lift": 0.0},
    "rare by density": {"sort": "score", "order": "desc", "max_density": 2e-7},
    "lift by density": {"sort": "density", "min_lift": 0.48},
    "dead": {"sort": "index", "state": "dead"},
    "dead by score": {"sort": "score", "order": "desc", "state": "dead"},
    "four bounds": {"sort": "lift", "min_score": 0.6, "max_score": 0.7, "min_density": 1e-5, "max_q_value": 0.05},
    "none, sure of it": {"sort": "index", "min_score": 2.0},
    "none, two that contradict": {"sort": "density", "min_score": 0.75, "max_lift": 0.0, "max_q_value": 0.9},
    "text in most": {"sort": "score", "order": "desc", "q": bigbook.word(1)},
    "text in a hundredth": {"sort": "score", "order": "desc", "q": bigbook.word(22)},
    "text in a three-hundredth": {"sort": "score", "order": "desc", "q": bigbook.word(40)},
    "text in a five-thousandth": {"sort": "score", "order": "desc", "q": bigbook.word(150)},
    "text in a few": {"sort": "score", "order": "desc", "q": bigbook.word(1_000)},
    "text in none": {"sort": "score", "order": "desc", "q": "nowhere"},
    "text of two letters": {"sort": "index", "q": "qz"},
    "text against the order": {"sort": "score", "q": bigbook.word(10), "max_q_value": 1e-6},
}
EXPLANATIONS: dict[str, dict[str, Any]] = {
    "all": {},
    "dictionary": {"dictionary": NAME},
    "explainer": {"explainer": "pattern"},
    "explainer of nothing": {"explainer": "nobody"},
    "feature": {"index": 77_777},
    "text in most": {"q": bigbook.word(1)},
    "text in a five-thousandth": {"q": bigbook.word(150)},
    "text in a few": {"q": bigbook.word(1_000), "explainer": "pattern"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", default=os.environ.get("GLOSSATOR_BENCH_DATABASE_URL"), help="PostgreSQL database to fill")
    parser.add_argument("--features", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="duration of the crowd in seconds")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--only", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.database:
        parser.error("give --database, or GLOSSATOR_BENCH_DATABASE_URL")
    for line in lines(options):
        shown = (
            line
            if options.json
            else f"{line['case']}: " + ", ".join(f"{name} {value}" for name, value in line.items() if name not in ("bench", "case"))
        )
        print(json.dumps(shown) if options.json else shown, flush=True)


def lines(options: argparse.Namespace) -> Iterator[Line]:
    settings = Settings(home=Path(".glossator/bench"), database_url=options.database)
    migrate.upgrade(settings.database_url)
    engine = make_engine(settings.database_url)
    dictionary_id, run_id = bigbook.prepare(engine, options.features)
    bigbook.fill(engine, run_id, options.features, Sizes())
    job_id = bigjobs.fill(engine, dictionary_id, options.features)
    found: dict[str, Callable[[httpx.Client, int], Iterable[Line]]] = {
        "listing": lambda client, _pid: listings(engine, client, (dictionary_id, run_id), options.repeats),
        "reading": lambda client, _pid: readings(client, job_id, options.repeats),
        "crowd": lambda client, pid: [crowd(engine, str(client.base_url), pid, job_id, options.clients, options.seconds)],
    }
    if "ingest" in options.only:
        for line in ingest.measured(engine):
            yield {"bench": "service", "kind": "ingest"} | line
    if set(options.only) & found.keys():
        with serving(settings) as (url, pid), httpx.Client(base_url=url, timeout=60.0) as client:
            for kind in (kind for kind in KINDS if kind in found and kind in options.only):
                for line in found[kind](client, pid):
                    yield {"bench": "service", "kind": kind} | line
    if "submit" in options.only:
        for line in submission.measured(options.database, options.clients):
            yield {"bench": "service", "kind": "submit"} | line
    engine.dispose()


def listings(engine: Engine, client: httpx.Client, of_book: tuple[int, int], repeats: int) -> Iterator[Line]:
    dictionary_id, run_id = of_book
    plain = {f"{sort} {order}": {"sort": sort.value, "order": order} for sort in FeatureSort for order in ("asc", "desc")}
    for name, params in (plain | FILTERS).items():
        filters = FeatureFilters(**params)
        of = queries.feature_listing(filters.query(run_id, None))
        path = f"/v1/dictionaries/{NAME}/features"
        place = ("run_id", filters.sort.column, "feature")
        for page, cursor in pages(engine, of, filters.listing(dictionary_id), place):
            yield {"case": f"features: {name}", "page": page} | timed(client, path, params | cursor, repeats)
    for name, params in EXPLANATIONS.items():
        wanted = ExplanationFilters(**params)
        with snapshot(engine) as session:
            of_explanations = queries.explanation_listing(wanted.query(session), run_id)
        for page, cursor in pages(engine, of_explanations, wanted.listing(), PLACE_OF_EXPLANATION):
            yield {"case": f"explanations: {name}", "page": page} | timed(client, "/v1/explanations", params | cursor, repeats)


def pages(engine: Engine, of: KeysetListing[Any], bound_to: dict[str, Any], place: Sequence[str]) -> Iterator[tuple[str, Line]]:
    """First, hundredth and last page, as far as there are so many: the cursor of each. Counts and skips all rows before it: not timed."""
    yield "first", {}
    if of.text is not None:
        return
    with snapshot(engine) as session:
        parts = of.parts(of.table)
        counts = [session.execute(select(func.count()).select_from(of.table).where(*part)).scalar_one() for part in parts]
        for page, skipped in (("hundredth", HUNDREDTH), ("last", sum(counts) - LIMIT)):
            if 0 < skipped < sum(counts) and (page == "last" or skipped + LIMIT < sum(counts)):
                row = _row_at(session, of, list(zip(parts, counts, strict=True)), skipped - 1)
                yield page, {"cursor": cursors.encode(bound_to, tuple(getattr(row, name) for name in place))}


def _row_at(session: Any, of: KeysetListing[Any], parts: list[tuple[Any, int]], number: int) -> Any:
    for part, count in parts:
        if number < count:
            alone = replace(of, parts=partial(_only, part))
            statement = keyset.statements(alone)[0].limit(1).offset(number)
            key = getattr(of.table, of.order[-1])
            return session.scalars(select(of.table).where(*of.same, key == session.scalars(statement).one())).one()
        number -= count
    raise IndexError(number)


def _only(part: Any, _row: Any) -> list[Any]:
    return [part]


READINGS = (
    "/v1/dictionaries",
    f"/v1/dictionaries/{NAME}",
    f"/v1/dictionaries/{NAME}/features/4321",
    "/v1/jobs",
    "/v1/jobs/{job}",
    "/v1/jobs/{job}/usage",
)


def readings(client: httpx.Client, job_id: str, repeats: int) -> Iterator[Line]:
    for path in READINGS:
        yield {"case": path.replace("{job}", "(a job of all features)")} | timed(client, path.format(job=job_id), {}, repeats)
    for status in (None, "failed"):
        params = {} if status is None else {"status": status}
        yield {"case": f"calls of a job: {status or 'all'}"} | timed(client, f"/v1/jobs/{job_id}/calls", params, repeats)


def timed(client: httpx.Client, path: str, params: dict[str, Any], repeats: int) -> Line:
    times: list[float] = []
    for _ in range(repeats):
        began = time.perf_counter()
        answer = client.get(path, params=params)
        times.append((time.perf_counter() - began) * 1000)
        answer.raise_for_status()
    body = answer.json()
    rows = {"rows": len(body["items"]), "more": body["next_cursor"] is not None} if "items" in body else {}
    cuts = statistics.quantiles(times, n=20)
    return {"p50_ms": round(statistics.median(times), 1), "p95_ms": round(cuts[-1], 1), "cold_ms": round(times[0], 1), **rows}


def crowd(engine: Engine, url: str, pid: int, job_id: str, clients: int, seconds: float) -> Line:
    """The crowd runs in a process of its own, while chunks of the job move under it."""
    before = rss_mb(pid)
    command = [sys.executable, "-m", "benches.crowd", url, job_id, str(clients), str(clients), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        during = [before]
        while process.poll() is None:
            bigjobs.move(engine, job_id)
            during.append(rss_mb(pid))
            time.sleep(0.5)
        assert process.stdout is not None
        said: Line = json.loads(process.stdout.read())
    memory = {"rss_before_mb": before, "rss_first_half_mb": max(during[: len(during) // 2]), "rss_second_half_mb": max(during[len(during) // 2 :])}
    return {"case": f"{clients} clients that poll and listen, {seconds:g} s"} | said | memory | {"rss_after_mb": rss_mb(pid)}


def rss_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines() if line.startswith("VmRSS"))
    return round(int(line.split()[1]) * 1024 / 1e6, 1)


@contextmanager
def serving(settings: Settings) -> Iterator[tuple[str, int]]:
    """`glossator serve --no-workers` in a process of its own: its address and its process id."""
    command = [str(Path(sysconfig.get_path("scripts")) / "glossator"), "serve", "--no-workers", "--port", "0"]
    with subprocess.Popen(command, env=os.environ | settings.environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[4], process.pid
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
