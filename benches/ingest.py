"""Measure how many features' results per second the database takes, from one process and from several.

Every process makes its rows first and waits for the others. Then all write, one transaction per chunk of a job's default size. The time runs from
the beginning of the first to the end of the last, so that it contains only writing.
"""

import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing.synchronize import Barrier
from typing import Any

from sqlalchemy import Engine, delete

from benches import bigbook
from benches.bigbook import EXPLAINERS, SCORERS, SUBJECT, TOKENS, Write, Writer
from interp.store.db.engine import make_engine, transaction
from interp.store.db.tables import EvidenceRow, ExplanationRow, FeatureRow
from interp.store.results import dictionaries, runs

RUN = "t" * 64
FEATURES, ROUNDS = 8_192, 5
WRITERS = (1, 4)
# Explainers, and scorers of each: a feature's results are five rows, or sixteen.
CASES = ((1, 1), (2, 3))
# Features of a merge chunk, and of one that explains or scores.
MERGED, ASKED = 512, 64
# Seconds that a process waits for the others: one that failed comes never.
PATIENCE = 600
KINDS = {"evidence": MERGED, "explanations": ASKED, "scores": ASKED}
Line = dict[str, Any]

_barrier: Barrier | None = None


def measured(engine: Engine) -> Iterator[Line]:
    """A line a case and number of writers: medians of some rounds, after one that warms up."""
    for number in WRITERS:
        with _writers(number) as pool:
            for explainers, scorers in CASES:
                taken = [_round(engine, pool, number, explainers, scorers) for _ in range(ROUNDS + 1)][1:]
                rows = {"evidence": 1, "explanations": explainers, "scores": explainers * scorers}
                rates = {f"{kind}_per_s": round(statistics.median(FEATURES * rows[kind] / seconds[kind] for seconds in taken)) for kind in KINDS}
                whole = sorted(round(FEATURES / sum(seconds.values())) for seconds in taken)
                case = f"{explainers} explanations, {explainers * scorers} scores a feature; {number} processes"
                together = {"features_per_s": statistics.median_low(whole), "lowest": whole[0], "highest": whole[-1], "cores": os.cpu_count()}
                yield {"case": case} | rates | together
    # What was written for this alone is gone, and is not to be met by whoever reads next.
    bigbook.vacuum(engine)


@contextmanager
def _writers(number: int) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(number, mp_context=context, initializer=_meet_at, initargs=(context.Barrier(number, timeout=PATIENCE),)) as pool:
        yield pool


def _meet_at(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _round(engine: Engine, pool: ProcessPoolExecutor, number: int, explainers: int, scorers: int) -> dict[str, float]:
    """Seconds to write the results of all features, by what was written; in a dictionary of its own, that is gone in the end."""
    url = engine.url.render_as_string(hide_password=False)
    with transaction(engine) as session:
        kinds: dict[str, Any] = {"hook_point": "blocks.2.hook_resid_post", "architecture": "jumprelu", "d_in": 768, "config": {}}
        dictionary_id = dictionaries.save_dictionary(session, SUBJECT, name="timed@2-res", digest=RUN, n_features=FEATURES, **kinds)
        run_id = runs.save(session, RUN, dictionary_id, {}, {}, TOKENS)
    shares = [range(place * FEATURES // number, (place + 1) * FEATURES // number) for place in range(number)]
    seconds: dict[str, float] = {}
    for kind in KINDS:
        spans = [pool.submit(_share, url, run_id, kind, share, explainers, scorers) for share in shares]
        begins, ends = zip(*(span.result() for span in spans), strict=True)
        seconds[kind] = max(ends) - min(begins)
    with transaction(engine) as session:
        session.execute(delete(FeatureRow).where(FeatureRow.run_id == run_id))
        session.execute(delete(ExplanationRow).where(ExplanationRow.run_id == run_id))
        session.execute(delete(EvidenceRow).where(EvidenceRow.run_id == run_id))
    return seconds


def _share(url: str, run_id: int, kind: str, share: range, explainers: int, scorers: int) -> tuple[float, float]:
    """When this process began to write, and when it had written all of its share, by a clock that all processes have in common."""
    assert _barrier is not None
    engine = _engine(url)
    writer = Writer(engine, run_id, EXPLAINERS[:explainers], SCORERS[:scorers])
    chunks = [range(start, min(start + KINDS[kind], share.stop)) for start in range(share.start, share.stop, KINDS[kind])]
    writes = [_write(writer, kind, chunk) for chunk in chunks]
    engine.connect().close()
    _barrier.wait()
    began = time.monotonic()
    for write in writes:
        with transaction(engine) as session:
            write(session)
    return began, time.monotonic()


@lru_cache(maxsize=1)
def _engine(url: str) -> Engine:
    # One a process, as workers have it: statements are put together once for each.
    return make_engine(url)


def _write(writer: Writer, kind: str, chunk: range) -> Write:
    if kind == "evidence":
        return writer.evidence(chunk, bigbook.real_blob())
    return writer.explanations(chunk) if kind == "explanations" else writer.scores(chunk, bigbook.some_items(40))
