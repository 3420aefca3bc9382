"""Measure the memory and time of a job's last chunk, the summarise stage.

    python -m benches.summarise --scores 100000 --json

A database of its own holds the given number of scores, on a PostgreSQL that answers or one started for it: two explanations per feature, each with
the score of two rules and of a language model with two nulls and two controls. A process of its own then runs `summarise` as an llm worker does,
twice. The second time all results exist and nothing is written. `peak_mb` is the rise of its resident memory, after a small job was summarised in
it; `bytes_per_score` divides that by all scores.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from api.demo.servers import POSTGRES, own
from benches import bigbook
from benches.bigjobs import Checked
from benches.memory import peak_rss_mb, reset_peak
from interp.config.settings import Settings
from interp.domain.lifecycle import Queue
from interp.domain.score import ControlResult, Interval, NullResult, Score
from interp.domain.spec import CorpusSpec, DictionarySpec, ExplainerSpec, JobSpec, ModelSpec, ModelsSpec, ScorerSpec, SubjectSpec
from interp.domain.vocabulary import Vocabulary
from interp.planning.settings_digest import family_of, planned_scorer
from interp.store import migrate
from interp.store.db.dialect import analyze
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ExplanationRow, FeatureRow
from interp.store.db.tables import ScoreRow as Row
from interp.store.queue import chunks, jobs
from interp.store.results import dictionaries, evidence, explanations, runs, scores
from interp.store.results.scores import Scored
from workers.runtime import Runtime, Work
from workers.tasks.summarise import summarise

MODEL = ModelSpec(model="some-model", base_url="https://example.org/v1")
SPEC = JobSpec(
    subject=SubjectSpec(model="big"),
    dictionary=DictionarySpec(source="big"),
    corpus=CorpusSpec(path="big.jsonl"),
    explainers=(ExplainerSpec(name="contexts"), ExplainerSpec(name="pattern")),
    scorers=(
        ScorerSpec(name="detection", judge="executable"),
        ScorerSpec(name="simulation", judge="executable"),
        ScorerSpec(name="fuzz", judge="llm", nulls=2),
    ),
    models=ModelsSpec(explainer=MODEL, judge=MODEL),
)
SCORES_A_FEATURE = len(SPEC.explainers) * len(SPEC.scorers)
WARM, CHUNK = 64, 1024


@dataclass(frozen=True, slots=True)
class Book:
    """A run with a job on it."""

    features: int
    run_id: int
    job_id: str


def main() -> None:
    options = _options()
    for line in measure(options.scores):
        print(json.dumps(line) if options.json else "\n".join(f"{name:>16}  {value}" for name, value in line.items()) + "\n", flush=True)


def measure(count: int) -> Iterator[dict[str, Any]]:
    """A line for the first time, and one for the second."""
    with tempfile.TemporaryDirectory() as folder, own(POSTGRES) as found:
        settings = Settings(home=Path(folder), database_url=found.url)
        migrate.upgrade(settings.database_url)
        runtime = Runtime.of(settings)
        books = [fill(runtime, "warm@1", WARM), fill(runtime, "big@1", max(1, count // SCORES_A_FEATURE))]
        runtime.engine.dispose()
        for time_of in ("first", "again"):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                yield {"bench": "summarise", "case": time_of} | process.submit(measured, settings, books).result()


def measured(settings: Settings, books: list[Book]) -> dict[str, Any]:
    """Summarises the last of the books in this process, the others before it to warm up."""
    runtime = Runtime.of(settings)
    for book in books[:-1]:
        summarised(runtime, book)
    before = peak_rss_mb(now=True)
    reset_peak()
    seconds = summarised(runtime, books[-1])
    rose, count = peak_rss_mb() - before, books[-1].features * SCORES_A_FEATURE
    return {"scores": count, "features": books[-1].features, **seconds, "peak_mb": round(rose, 1), "bytes_per_score": round(rose * 1e6 / count)}


def summarised(runtime: Runtime, book: Book) -> dict[str, float]:
    """Seconds to read and conclude, and to write, as the chunk's task does it."""
    with transaction(runtime.engine) as session:
        lease = chunks.claim(session, Queue.GPU, runtime.owner, 600.0)
    assert lease is not None
    began = time.perf_counter()
    outcome = summarise(Work(runtime, replace(lease, job_id=book.job_id), SPEC, [book.run_id], lambda _: None))
    concluded = time.perf_counter()
    with transaction(runtime.engine) as session:
        outcome.write(session)
    return {"conclude_s": round(concluded - began, 2), "write_s": round(time.perf_counter() - concluded, 2)}


def fill(runtime: Runtime, name: str, features: int) -> Book:
    """A book as the job's other chunks leave it."""
    digest = name.ljust(64, "-")
    with transaction(runtime.engine) as session:
        dictionaries.save_subject(session, bigbook.SUBJECT, "big", {}, Vocabulary((b"<s>", b"a"), frozenset({0})))
        kinds: dict[str, Any] = {"hook_point": f"blocks.{name}", "architecture": "jumprelu", "d_in": 768, "config": {}}
        dictionary_id = dictionaries.save_dictionary(session, bigbook.SUBJECT, name=name, digest=digest, n_features=features, **kinds)
        run_id = runs.save(session, digest, dictionary_id, {}, {}, bigbook.TOKENS)
        # Two: each is claimed once, to have a lease.
        job_id, _ = (jobs.submit(session, SPEC, Checked(features)).id for _ in range(2))
    for start in range(0, features, CHUNK):
        _write(runtime, range(start, min(start + CHUNK, features)), run_id)
    with runtime.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection, Session(connection) as session:
        for table in (ExplanationRow, Row, FeatureRow):
            analyze(session, table)
    return Book(features, run_id, job_id)


def _write(runtime: Runtime, chunk: range, run_id: int) -> None:
    drawn, items = bigbook.figures(chunk), bigbook.some_items(1)
    families = [family_of(SPEC, explainer, run_id) for explainer in SPEC.explainers]
    with transaction(runtime.engine) as session:
        evidence.save(session, run_id, bigbook.gathered(chunk, drawn, bigbook.SMALL_BLOB))
        for family in families:
            drawn_alive = replace(drawn, dead=np.zeros_like(drawn.dead))
            explanations.save(session, family, bigbook.labels(chunk, drawn_alive, family.explainer), "big")
    with snapshot(runtime.engine) as session:
        ids = [explanations.load(session, family, [(chunk.start, chunk.stop)]) for family in families]
    with transaction(runtime.engine) as session:
        for scorer in SPEC.scorers:
            for made in ids:
                figures = zip(chunk, drawn.score.tolist(), drawn.lift.tolist(), strict=True)
                rows = [Scored(made[feature][0], _score(feature, scorer, value, lift), items) for feature, value, lift in figures]
                scores.save(session, run_id, planned_scorer(SPEC, scorer).digest, rows, "big")


def _score(feature: int, scorer: ScorerSpec, value: float, lift: float) -> Score:
    judged = scorer.judge == "llm"
    nulls = (value - lift, value - lift + 0.01) if judged else (0.5,) * 20
    reason = "2 nulls are too few for a p value of one feature; the summary makes it from the nulls of all." if judged else None
    p_value = None if judged else min(1.0, max(0.001, 0.5 - lift))
    compared = Interval(lift - 0.1, lift + 0.1, 0.95, "bootstrap")
    gold = {"tp": 3, "fn": 0, "tn": 2, "fp": 1}
    return Score(
        feature=feature,
        explainer="contexts",
        scorer=scorer.name,
        metric="balanced_accuracy",
        value=value,
        interval=Interval(value - 0.1, value + 0.1, 0.95, "wilson"),
        reason=None,
        answered=40,
        failed=0,
        abstained=0,
        null=NullResult(value - lift, lift, compared, p_value, (1, 2), reason, nulls, p_method=None if judged else "rank"),
        controls=(ControlResult("baseline", value - 0.1, 0.1, compared), ControlResult("gold", 5 / 6, details=gold)) if judged else (),
        provenance={"template": "detection-2"},
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
