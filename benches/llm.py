"""Compare the throughput of the whole explain and score path with that of a bare client.

    python -m benches.llm --json

A scripted endpoint runs in a process of its own and answers after 200 ms. Two clients use it in turn:

- bare     `openai.AsyncOpenAI().chat.completions.create` with the SDK's aiohttp transport, its retries off, in a closed loop with a fixed number of
           calls in flight, with the same requests as ours; the replies are discarded;
- ours     the explain and score chunks of a real job, as `glossator serve` runs them: one llm worker process per core, the same number of calls in
           flight in total, evidence from the database, prompts, cache, budget with a cap, rate limiting, parsing, statistics, results and every call
           written to SQLite. `--workers 1` measures one process.

`ratio_to_bare_client` is the median over the repeats of ours to the mean of the bare runs before and after it; `spread` its lowest and highest.
Each job is new to the cache (a field of the request body differs). `cpu_ms_per_feature` is the CPU time of the workers, of which
`client_cpu_ms_per_feature` is a bare client's for as many calls; the rest is orchestration, less what our HTTP client saves compared with the SDK.
Collecting the evidence is not timed.

    python -m benches.llm --prefix --json

counts instead, for the requests of a job with five scorers and two nulls, the share of prompt tokens that an engine's prefix cache of
16-token blocks would reuse (`benches.prefix_reuse`): `prefix_reuse_before` with the label before the windows, `prefix_reuse` with the windows first.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
from sqlalchemy import select

from api.jobs import admission
from benches import prefix_reuse
from interp.config.settings import Settings
from interp.domain.lifecycle import JobStatus, Queue
from interp.domain.spec import (
    BudgetSpec,
    CollectionSpec,
    CorpusSpec,
    DictionarySpec,
    ExplainerSpec,
    JobSpec,
    ModelSpec,
    ModelsSpec,
    ScorerSpec,
    SubjectSpec,
)
from interp.store import migrate
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import LlmCallRow
from interp.store.db.text import unpack
from interp.store.llm import reply_cache
from interp.store.queue import jobs
from workers.runtime import Runtime
from workers.supervisor import Supervisor
from workers.wakeup import notify
from workers.worker import drain

EXAMPLE = Path(__file__).parents[1] / "examples" / "pystdlib"
LATENCY = 0.2
MODEL = "scripted"
# (calls in flight, features): enough calls that starting and ending weigh little.
SIZES = ((64, 1536), (256, 3072))


@dataclass(frozen=True)
class Run:
    """One run of either way. `cpu` is this process's, in seconds."""

    calls: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        return self.calls / self.seconds


def main() -> None:
    options = _options()
    if options.prefix:
        for line in prefix_reuse.lines(options.features, options.tokenizer):
            print_line(line, options.json)
        return
    for in_flight, features in SIZES:
        if options.in_flight in (None, in_flight):
            print_line(measure(in_flight, options.features or features, options.repeats, options.workers), options.json)


def print_line(line: dict[str, Any], as_json: bool) -> None:
    print(json.dumps(line) if as_json else "\n".join(f"{name:>28}  {value}" for name, value in line.items()) + "\n", flush=True)


def measure(in_flight: int, features: int, repeats: int, workers: int) -> dict[str, Any]:
    """One setting: the ways in turn, a bare run before and after each of ours."""
    with tempfile.TemporaryDirectory() as folder, scripted_process() as base_url, (Path(folder) / "workers.log").open("ab") as log_to:
        settings = Settings(
            home=Path(folder), llm_base_url=base_url, llm_max_concurrent_calls=in_flight // workers, gpu_workers=0, llm_workers=workers
        )
        migrate.upgrade(settings.database_url)
        runtime = Runtime.of(settings)
        supervisor = Supervisor(settings, log_to)
        supervisor.start()
        try:
            job(runtime, supervisor, base_url, features, "warm")  # collects the evidence, and warms every cache but that of answers
            bodies = questions(runtime)
            bare = [asyncio.run(ask_bare(base_url, bodies, in_flight))]
            ours: list[Run] = []
            for number in range(repeats):
                ours.append(job(runtime, supervisor, base_url, features, f"run {number}"))
                bare.append(asyncio.run(ask_bare(base_url, bodies, in_flight)))
        finally:
            supervisor.stop()
    ratios = [run.rate / statistics.mean((bare[number].rate, bare[number + 1].rate)) for number, run in enumerate(ours)]
    cpu, client = statistics.median(run.cpu for run in ours), statistics.median(run.cpu / run.calls for run in bare) * ours[0].calls
    return {
        "bench": "llm",
        "in_flight": in_flight,
        "workers": workers,
        "latency_ms": LATENCY * 1000,
        "features": features,
        "calls": ours[0].calls,
        "repeats": repeats,
        "ratio_to_bare_client": round(statistics.median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "ideal_calls_per_s": round(in_flight / LATENCY),
        "bare_calls_per_s": round(statistics.median(run.rate for run in bare)),
        "our_calls_per_s": round(statistics.median(run.rate for run in ours)),
        "cpu_ms_per_feature": round(1000 * cpu / features, 2),
        "client_cpu_ms_per_feature": round(1000 * client / features, 2),
    }


def job(runtime: Runtime, supervisor: Supervisor, base_url: str, features: int, name: str) -> Run:
    """One job, from evidence to scores; only what the llm workers do is timed."""
    with transaction(runtime.engine) as session:
        checked = admission.check(_spec(base_url, features, name), runtime.settings)
        submitted = jobs.submit(session, checked.spec, checked.facts).id
    drain(runtime, Queue.GPU)
    begun, cpu = time.perf_counter(), _cpu_seconds(supervisor)
    notify(runtime.engine, runtime.settings)
    while True:
        with snapshot(runtime.engine) as session:
            ended = jobs.get(session, submitted)
            if ended.status not in (JobStatus.QUEUED, JobStatus.RUNNING):
                break
        time.sleep(0.02)
    seconds, cpu = time.perf_counter() - begun, _cpu_seconds(supervisor) - cpu
    if ended.status != JobStatus.COMPLETED or ended.features_failed:
        raise SystemExit(f"the job is {ended.status}, {ended.features_failed} features failed: {ended.error}")
    with snapshot(runtime.engine) as session:
        calls = len(session.scalars(select(LlmCallRow.id).where(LlmCallRow.job_id == submitted)).all())
    return Run(calls, seconds, cpu)


def _cpu_seconds(supervisor: Supervisor) -> float:
    """User and system time of the workers so far (Linux)."""
    ticks = 0
    for pid in supervisor.pids().values():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def questions(runtime: Runtime) -> list[dict[str, Any]]:
    """The bodies of all requests of the job that ran."""
    with snapshot(runtime.engine) as session:
        keys = session.scalars(select(LlmCallRow.key)).all()
        return [json.loads(unpack(reply.prompt)) for reply in reply_cache.load(session, list(keys)).values()]


async def ask_bare(base_url: str, bodies: list[dict[str, Any]], in_flight: int) -> Run:
    """The SDK as its users write it: a shared client, so many tasks."""
    limits = httpx2.Limits(max_connections=2 * in_flight, max_keepalive_connections=2 * in_flight)
    client = openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0, http_client=openai.DefaultAioHttpClient(limits=limits))
    left = iter([{key: value for key, value in body.items() if key != "run"} for body in bodies])

    async def work() -> None:
        for body in left:
            await client.chat.completions.create(**body)

    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    run = Run(len(bodies), time.perf_counter() - begun, time.process_time() - cpu)
    await client.close()
    return run


@contextmanager
def scripted_process() -> Iterator[str]:
    """Run a scripted endpoint as a process of its own, and yield its base URL."""
    command = [sys.executable, "-c", "from api.cli import main; main()", "fake-llm", "--port", "0", "--latency", str(LATENCY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def _spec(base_url: str, features: int, name: str) -> JobSpec:
    model = ModelSpec(model=MODEL, base_url=base_url, extra={"run": name})
    return JobSpec(
        subject=SubjectSpec(model=str(EXAMPLE / "subject"), backend="huggingface"),
        dictionary=DictionarySpec(source=str(EXAMPLE / "dictionary"), name="pystdlib@bench"),
        corpus=CorpusSpec(path=sysconfig.get_paths()["stdlib"], include=("**/*.py",), undecodable="skip", max_tokens=400_000),
        collection=CollectionSpec(output_tokens=0),
        features=f"0-{features - 1}",
        explainers=(ExplainerSpec(name="contexts"),),
        scorers=(ScorerSpec(name="detection", judge="llm", nulls=1),),
        models=ModelsSpec(explainer=model, judge=model),
        budget=BudgetSpec(tokens=10**12),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--in-flight", type=int, choices=[size for size, _ in SIZES], default=None, help="only this number of calls in flight")
    parser.add_argument("--features", type=int, default=None)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="number of llm worker processes")
    parser.add_argument("--prefix", action="store_true", help="count what a prefix cache would reuse, and time nothing")
    parser.add_argument("--tokenizer", type=Path, default=None, help="with --prefix: a tokenizer.json (the example's own)")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
