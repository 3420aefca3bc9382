"""Measure the rows and bytes that a feature adds to the database.

    python -m benches.storage --json

Two jobs run on a PostgreSQL database, one after the other in this process. The first explains and scores the example's dictionary by rules
(`pattern`, `detection`, `simulation`). The second does so on the same evidence by a scripted language model (`contexts`, `detection` with one
null), with every prompt and reply stored. The output has a line per job and table: the rows and bytes per feature, with indexes and TOAST, after
VACUUM; and a line for all tables together. Small tables weigh a little too much, since pages are 8 kB.
"""

import argparse
import json
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, select, text

from api.demo.local_servers import LocalPostgres
from api.jobs import admission
from benches.llm import scripted_process
from interp.config.settings import Settings
from interp.domain.lifecycle import JobStatus, Queue
from interp.domain.spec import BudgetSpec, CorpusSpec, DictionarySpec, ExplainerSpec, JobSpec, ModelSpec, ModelsSpec, ScorerSpec, SubjectSpec
from interp.store import migrate
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import Base
from interp.store.queue import jobs
from workers.llm.event_loop import close_clients
from workers.runtime import Runtime
from workers.worker import drain

EXAMPLE = Path(__file__).parents[1] / "examples" / "pystdlib"
TOKENS = 400_000
# What a job leaves once, whatever its features, is left out.
LEAST_BYTES = 200.0

Sizes = dict[str, tuple[int, int]]


def main() -> None:
    options = _options()
    for line in measure(options.features):
        print(json.dumps(line) if options.json else "{job:>15}  {table:<20} {rows_per_feature:>8} rows {bytes_per_feature:>8,} bytes".format(**line))


def measure(features: int) -> Iterator[dict[str, Any]]:
    """The lines of both jobs."""
    with tempfile.TemporaryDirectory() as folder, LocalPostgres() as postgres, scripted_process() as base_url:
        settings = Settings(home=Path(folder), database_url=postgres.url, llm_base_url=base_url)
        migrate.upgrade(settings.database_url)
        runtime = Runtime.of(settings)
        before = sizes(runtime.engine)
        for name, spec in (("rules", rules(features)), ("language model", language_model(features, base_url))):
            _run(runtime, spec)
            after = sizes(runtime.engine)
            yield from _lines(name, features, before, after)
            before = after
        close_clients()
        runtime.engine.dispose()


def sizes(engine: Engine) -> Sizes:
    """Rows and bytes of every table, indexes and TOAST included."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM FULL ANALYZE"))
        found: Sizes = {}
        for table in Base.metadata.sorted_tables:
            rows = connection.scalar(select(func.count()).select_from(table)) or 0
            found[table.name] = (rows, connection.scalar(select(func.pg_total_relation_size(table.name))) or 0)
        return found


def _lines(job: str, features: int, before: Sizes, after: Sizes) -> Iterator[dict[str, Any]]:
    added = {table: (rows - before[table][0], bytes_ - before[table][1]) for table, (rows, bytes_) in after.items()}
    added["all"] = (sum(rows for rows, _ in added.values()), sum(bytes_ for _, bytes_ in added.values()))
    for table, (rows, bytes_) in sorted(added.items(), key=lambda item: item[1][1]):
        if bytes_ / features >= LEAST_BYTES:
            figures = {"rows_per_feature": round(rows / features, 2), "bytes_per_feature": round(bytes_ / features)}
            yield {"bench": "storage", "job": job, "table": table} | figures


def rules(features: int) -> JobSpec:
    """No language model is asked."""
    return _spec(features).model_copy(
        update={"explainers": (ExplainerSpec(name="pattern"),), "scorers": (ScorerSpec(name="detection"), ScorerSpec(name="simulation"))}
    )


def language_model(features: int, base_url: str) -> JobSpec:
    """Nine calls a feature, as in `benches.llm`."""
    model = ModelSpec(model="scripted", base_url=base_url)
    return _spec(features).model_copy(
        update={
            "explainers": (ExplainerSpec(name="contexts"),),
            "scorers": (ScorerSpec(name="detection", judge="llm", nulls=1),),
            "models": ModelsSpec(explainer=model, judge=model),
            "budget": BudgetSpec(tokens=10**12),
        }
    )


def _spec(features: int) -> JobSpec:
    return JobSpec(
        subject=SubjectSpec(model=str(EXAMPLE / "subject")),
        dictionary=DictionarySpec(source=str(EXAMPLE / "dictionary"), name="pystdlib@bench"),
        corpus=CorpusSpec(path=sysconfig.get_paths()["stdlib"], include=("**/*.py",), undecodable="skip", max_tokens=TOKENS),
        features=f"0-{features - 1}",
    )


def _run(runtime: Runtime, spec: JobSpec) -> None:
    with transaction(runtime.engine) as session:
        checked = admission.check(spec, runtime.settings)
        submitted = jobs.submit(session, checked.spec, checked.facts).id
    drain(runtime, Queue.GPU, Queue.LLM)
    with snapshot(runtime.engine) as session:
        job = jobs.get(session, submitted)
    if job.status != JobStatus.COMPLETED:
        raise SystemExit(f"the job is {job.status}: {job.error}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
