"""Measure bulk reads and exports of a dictionary in a local database.

    python -m benches.exchange --home .glossator --dictionary pystdlib@1-res --json
    python -m benches.exchange --synthetic 3072 --json

`--synthetic` writes a dictionary of so many features into a new SQLite database: 170 windows of 32 tokens each, two explanations, six scores.
`glossator serve --no-workers` runs in a process of its own and is read over HTTP, a whole dictionary with all parts in one call per form; `page` is
the page of most features, with contexts, explanations and scores:

- `seconds`      from the request to the last byte
- `cpu_seconds`  the server's processor time for it, which a busy machine does not stretch
- `mb`           bytes received, as they are on the wire, without gzip
- `rss_mb`       the server's memory before, and at the most while it answers
"""

import argparse
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from api.reads.bulk import MOST_WITH_PARTS, STREAMS
from benches import bigbook
from benches.service import rss_mb, serving
from interp.config.settings import Settings
from interp.domain.vocabulary import Vocabulary
from interp.store import migrate
from interp.store.db.engine import make_engine, transaction
from interp.store.results import evidence as stored

Line = dict[str, Any]
WINDOWS = 170
TOKENS = tuple(f" {bigbook.word(number)}".encode() for number in range(4096))
SAMPLE_SECONDS = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".glossator"), help="home with the database")
    parser.add_argument("--dictionary", default="pystdlib@1-res")
    parser.add_argument("--synthetic", type=int, help="features to write and read, in place of those of a home")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        home = Path(folder) if options.synthetic else options.home
        if options.synthetic:
            write(home, options.synthetic)
        for line in lines(home, bigbook.NAME if options.synthetic else options.dictionary):
            shown = json.dumps(line) if options.json else ", ".join(f"{name} {value}" for name, value in line.items())
            print(shown, flush=True)


def write(home: Path, features: int) -> None:
    """Write a synthetic dictionary of which every feature has evidence of its own."""
    url = Settings(home=home).database_url
    migrate.upgrade(url)
    engine = make_engine(url)
    _, run_id = bigbook.prepare(engine, features, Vocabulary(TOKENS, frozenset({0})))
    writer, sizes = bigbook.Writer(engine, run_id), bigbook.Sizes()
    for chunk in bigbook.missing(engine, run_id, features, sizes):
        gathered = bigbook.gathered(chunk, bigbook.figures(chunk), b"")
        evidence = [replace(one, blob=bigbook.real_blob(WINDOWS, len(TOKENS), feature)) for feature, one in zip(chunk, gathered, strict=True)]
        for step in (writer.explanations(chunk), partial(stored.save, run_id=run_id, gathered=evidence)):
            with transaction(engine) as session:
                step(session)
        with transaction(engine) as session:
            writer.scores(chunk, bigbook.some_items(40))(session)
    bigbook.show(engine, run_id, features, sizes)
    engine.dispose()


def lines(home: Path, dictionary: str) -> Iterator[Line]:
    path = f"/v1/dictionaries/{dictionary}/features"
    forms: dict[str, Line] = {made.facts.name: {"format": made.facts.name} for made in STREAMS.values()}
    forms["page"] = {"expand": "contexts,explanations,scores", "limit": MOST_WITH_PARTS}
    with serving(Settings(home=home)) as (url, pid), httpx.Client(base_url=url, timeout=600.0, headers={"Accept-Encoding": "identity"}) as client:
        features = sum(client.get(f"/v1/dictionaries/{dictionary}").raise_for_status().json()["states"].values())
        for form, params in forms.items():
            before = rss_mb(pid)
            with _peak_of(pid) as peak:
                began, used = time.perf_counter(), _cpu_seconds(pid)
                with client.stream("GET", path, params=params) as answer:
                    answer.raise_for_status()
                    nbytes = sum(map(len, answer.iter_raw()))
                seconds, used = time.perf_counter() - began, _cpu_seconds(pid) - used
            yield {
                "bench": "exchange",
                "case": form,
                "features": min(features, params.get("limit", features)),
                "seconds": round(seconds, 2),
                "cpu_seconds": round(used, 2),
                "mb": round(nbytes / 1e6, 1),
                "rss_before_mb": before,
                "rss_peak_mb": max(before, *peak.seen),
            }


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _peak_of:  # noqa: N801 - a context manager
    """Samples the memory of a process in a thread."""

    def __init__(self, pid: int) -> None:
        self.seen: list[float] = [0.0]
        self._pid, self._ended = pid, threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> "_peak_of":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.seen.append(rss_mb(self._pid))


if __name__ == "__main__":
    main()
