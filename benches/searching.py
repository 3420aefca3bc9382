"""Measure searches over HTTP in a database with many labels.

    python -m benches.searching --postgres postgresql+psycopg://user@127.0.0.1/postgres --labels 1000000 --json

A database of its own is made on the server, filled, searched, and dropped. Word number n is in about five labels of n squared; vectors are drawn,
which takes searches as long as real ones. Queries are embedded by the installed embedder. Each line has the times of one mode over all words and
filters, in milliseconds.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
from sqlalchemy import Engine, text

from api.app import create_app
from benches import bigbook
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.search import embedder
from interp.search.codes import CODE_BYTES
from interp.store import migrate
from interp.store.db.dialect import has_code_index
from interp.store.db.engine import make_engine, snapshot
from interp.store.db.tables import FeatureRow
from interp.store.db.temporary_database import own_database
from interp.store.listings.label_codes import LabelCodes, by_index

PORTION = 20_000
# The index of the extension pgvector, on servers that have it.
CODE_INDEX = "ix_label_vectors_hnsw"
# From a word of most labels to one of none.
QUERIES = ("w1", "w22", "w150", "w1000", "nowhere", "w1 w2", '"w1 w3"', "w4*")
FILTERS: tuple[dict[str, Any], ...] = ({}, {"min_score": 0.9}, {"max_q_value": 0.01, "min_lift": 0.1}, {"min_score": 0.6, "max_score": 0.7})
NEAREST, NEAREST_SEARCHES = 1_000, 15
MODES = ("text", "meaning", "hybrid")
WORD = f"least({bigbook.WORDS}, floor(1 / (1 - random())))::int"
LABELS = f"""
INSERT INTO labels (id, digest, words, length)
SELECT id, md5(id::text), format('w%s:1 w%s:2 w%s:3 w%s:4 w%s:5', {", ".join([WORD] * 5)})::tsvector, 5 FROM generate_series(1, :labels) AS id
"""
FEATURES = """
INSERT INTO features (run_id, feature, state, density, tokens_active, max_activation, mean_active, firing_level,
                      label, label_id, scorer, score, lift, q_value, shrunken_score)
SELECT :run, id - 1, 'active', 10 ^ (-1 - 6 * random()), 10, 1, 0.5, 0, 'w' || id, id, 'detection', score, score - 0.5, random(), score
FROM (SELECT id, random() AS score FROM generate_series(1, :labels) AS id) AS drawn
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", required=True)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with own_database(options.postgres) as url:
        for line in lines(url, options.labels, options.repeats):
            print(json.dumps(line) if options.json else ", ".join(f"{name} {value}" for name, value in line.items() if name != "bench"), flush=True)


def lines(url: str, labels: int, repeats: int) -> Iterator[dict[str, Any]]:
    began = time.perf_counter()
    migrate.upgrade(url)
    engine = make_engine(url)
    fill(engine, labels)
    yield {"bench": "searching", "case": "fill", "labels": labels, "seconds": round(time.perf_counter() - began)}
    with TemporaryDirectory() as home:
        app = create_app(Settings(home=Path(home), database_url=url, rate_expensive="", rate_reads=""))
        if line := _indexed(engine, labels):
            yield line
        with httpx.Client(transport=InProcess(app), base_url="http://test", timeout=60) as client:
            yield {
                "bench": "searching",
                "case": "first by meaning",
                "labels": labels,
                "ms": round(_milliseconds(client, {"q": "w1", "mode": "meaning"})),
            }
            for mode in MODES:
                asked = [{"q": query, "mode": mode} | bounds for query in QUERIES for bounds in FILTERS]
                times = [_milliseconds(client, one) for one in asked for _ in range(repeats)]
                middle, high = np.percentile(times, (50, 95))
                yield {"bench": "searching", "case": mode, "labels": labels, "searches": len(times), "p50_ms": round(middle), "p95_ms": round(high)}


def _indexed(engine: Engine, labels: int) -> dict[str, Any] | None:
    """Return times of the nearest codes, in memory and by pgvector's index; None without it."""
    kept, own = LabelCodes(), embedder.identity().name
    found: dict[str, list[float]] = {"in_memory_ms": [], "by_index_ms": [], "recall": []}
    with snapshot(engine) as session:
        if not has_code_index(session):
            return None
        kept.load(session, own)
        for number in range(NEAREST_SEARCHES):
            code = np.random.default_rng(number).bytes(CODE_BYTES)
            began = time.perf_counter()
            near = kept.nearest(session, own, code, NEAREST).label_ids
            middle = time.perf_counter()
            indexed = by_index(session, own, code, NEAREST).label_ids
            found["in_memory_ms"].append(1000 * (middle - began))
            found["by_index_ms"].append(1000 * (time.perf_counter() - middle))
            found["recall"].append(len({*near} & {*indexed}) / NEAREST)
    medians = {name: round(float(np.median(values)), 2) for name, values in found.items()}
    return {"bench": "searching", "case": f"nearest {NEAREST} codes", "labels": labels} | medians


def _milliseconds(client: httpx.Client, params: dict[str, Any]) -> float:
    began = time.perf_counter()
    client.get("/v1/search", params=params).raise_for_status()
    return 1000 * (time.perf_counter() - began)


def fill(engine: Engine, labels: int) -> None:
    """Write a run's features with labels and vectors, then their indexes."""
    _, run_id = bigbook.prepare(engine, labels)
    indexes = [*FeatureRow.__table__.indexes]  # type: ignore[attr-defined]
    with engine.begin() as connection:
        of_codes = connection.execute(text(f"SELECT indexdef FROM pg_indexes WHERE indexname = '{CODE_INDEX}'")).scalar()
        connection.execute(text(f"DROP INDEX IF EXISTS {CODE_INDEX}"))
        for index in indexes:
            index.drop(connection)
        connection.execute(text("SELECT setseed(0.5)"))
        connection.execute(text(LABELS), {"labels": labels})
        connection.execute(text(FEATURES), {"labels": labels, "run": run_id})
        _copy_vectors(connection.connection.driver_connection, labels)
        for index in indexes:
            index.create(connection)
        if of_codes:
            connection.execute(text("SET LOCAL maintenance_work_mem = '2GB'"))
            connection.execute(text(of_codes))
    bigbook.vacuum(engine)


def _copy_vectors(connection: Any, labels: int) -> None:
    """Copy drawn vectors in PostgreSQL's binary format.

    A row is its count of fields, then each field with its length.
    """
    name, width = embedder.identity().name.encode(), embedder.WIDTH
    sizes = {"label_id": 8, "embedder": len(name), "code": CODE_BYTES, "vector": 2 * width}
    kinds = [("fields", ">i2"), *((f"{column}_{part}", kind) for column, size in sizes.items() for part, kind in (("size", ">i4"), ("", f"V{size}")))]
    drawn = np.random.default_rng(4)
    with connection.cursor() as cursor, cursor.copy(f"COPY label_vectors ({', '.join(sizes)}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for start in range(0, labels, PORTION):
            count = min(PORTION, labels - start)
            codes = drawn.integers(0, 256, (count, CODE_BYTES), dtype=np.uint8)
            rows = np.zeros(count, dtype=kinds)
            rows["fields"] = len(sizes)
            for column, size in sizes.items():
                rows[f"{column}_size"] = size
            # A vector of unit length whose signs are the code.
            vectors = ((2.0 * np.unpackbits(codes, axis=1) - 1) / np.sqrt(width)).astype("<f2")
            rows["label_id_"] = np.arange(start + 1, start + count + 1, dtype=">i8").view("V8")
            rows["embedder_"] = np.void(name)
            rows["code_"] = codes.view(f"V{CODE_BYTES}")[:, 0]
            rows["vector_"] = vectors.view(f"V{2 * width}")[:, 0]
            copy.write(rows.tobytes())
        copy.write(b"\xff\xff")


if __name__ == "__main__":
    main()
