"""`glossator demo --llm fake`: explain and judge with a scripted model that injects faults."""

import time
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from rich.table import Table
from rich.text import Text

from api.cli.commands.submit import print_estimate, read_spec
from api.cli.commands.usage import print_usage
from api.cli.connect import embedded
from api.cli.output import progress, report
from api.cli.output.console import dollars, duration, err, out, say, thousands
from api.demo import trial
from api.demo.fake_llm.endpoint import CallTotals
from api.demo.fake_llm.faults import Faults
from api.demo.fake_llm.server import ScriptedServer
from api.jobs.paths import paths_of
from glossator import Client
from interp.config.settings import take_settings
from interp.domain.spec import JobSpec

FAULTS = 0.3
KEY = "scripted-key"
LEAST_CALLS = 20
RAISES = 8  # the most raises of the budget
NOTHING_TO_SAY = "The model has no explanation to give"


def run(home: Path, job: Path, features: str) -> None:
    """Run the job and print a table; a cap of half the estimate pauses it."""
    began = time.monotonic()
    with ScriptedServer(faults=Faults.mixed(FAULTS), key=KEY) as scripted:
        spec = read_spec(job, {"features": features})
        settings = take_settings(home=home, roots=paths_of(spec), llm_base_url=scripted.base_url, llm_api_key=SecretStr(KEY))
        say(f"A scripted language model listens on {scripted.base_url}; {FAULTS:.0%} of its replies are faulty")
        with embedded(settings) as client:
            estimate = client.estimate_job(spec.model_dump(mode="json"))
            print_estimate(estimate)
            finished, pauses = _run_job(client, _capped(spec, estimate))
            progress.raise_unless_completed(finished)
            usage = client.get_job_usage(finished["id"])
            failures = _failures(client, finished)
            report.print_report(client, finished)
            print_usage(usage)
            _print_outcome(finished, usage, scripted.totals, pauses, failures, time.monotonic() - began)
            progress.require_explained(client, finished)
            trial.run(client, spec, finished)


def _capped(spec: JobSpec, estimate: dict[str, Any]) -> JobSpec:
    """Set a cap on tokens that will be reached: half the estimate, or few calls."""
    tokens = max(estimate["total"]["tokens"] // 2, estimate["longest_prompt_tokens"] * LEAST_CALLS)
    return spec.model_copy(update={"budget": spec.budget.model_copy(update={"tokens": tokens})})


def _run_job(client: Client, spec: JobSpec) -> tuple[dict[str, Any], int]:
    """Follow the job, doubling reached budgets; return the job and its number of pauses."""
    job: dict[str, Any] = client.submit_job(spec.model_dump(mode="json"))
    say(f"job {job['id']}")
    for pauses in range(RAISES):
        job = progress.follow(client, job["id"], err)
        if (job["pause_reason"] or {}).get("code") != "budget-reached":
            return job, pauses
        cap = job["budget"]["caps"]["tokens"]
        say(f"paused: {job['pause_reason']['detail']} Resuming with {thousands(2 * cap)} tokens.")
        client.resume_job(job["id"], {"tokens": 2 * cap})
    return progress.follow(client, job["id"], err), RAISES


def _failures(client: Client, job: dict[str, Any]) -> tuple[int, int]:
    """Count failed explanations, without those that the model declined, and failed verdicts."""
    lost = verdicts = 0
    for row in client.list_explanations(dictionary=job["dictionary"], run=job["run"]):
        if row["job"] == job["id"] and row["failure"] and row["provenance"].get("calls") and not row["failure"].startswith(NOTHING_TO_SAY):
            lost += 1
        verdicts += sum(score["failed"] for score in row["scores"] if score["judge"] not in (None, "executable"))
    return lost, verdicts


def _print_outcome(job: dict[str, Any], usage: dict[str, Any], totals: CallTotals, pauses: int, failures: tuple[int, int], seconds: float) -> None:
    total, budget = usage["total"], usage["budget"]
    held = budget["spent"]["tokens"] + budget["unsettled"]["tokens"]
    table = Table("what", "figure", box=None, pad_edge=False, show_header=False)
    rows = {
        "features": f"{thousands(job['request_counts']['total'])} asked, {thousands(job['summary']['features']['explained'])} explained",
        "lost": f"{thousands(job['request_counts']['failed'])} features of chunks that failed",
        "failed for a passing fault": f"{thousands(failures[0])} features, {thousands(failures[1])} verdicts",
        "requests that met a fault": f"{thousands(sum(totals.by_fault.values()))} of {thousands(totals.requests)}",
        "calls": f"{thousands(total['calls'])}, {thousands(total['unanswered'])} unanswered",
        "retries": thousands(total["attempts"] - total["calls"]),
        "tokens, as the endpoint bills them": thousands(totals.tokens),
        "tokens, as we count them": f"{thousands(held)} (an attempt that may have been billed counts whole)",
        "cap": f"{thousands(budget['caps']['tokens'])} tokens: {'kept' if totals.tokens <= held <= budget['caps']['tokens'] else 'PASSED'}",
        "paused at the cap and resumed": thousands(pauses),
        "cost": dollars(total["cost_usd"]),
        "time": duration(seconds),
    }
    for name, figure in rows.items():
        table.add_row(Text(name, "dim"), Text(figure))
    out.print(Text("\nThrough the faults", "bold"))
    out.print(table)
