"""The demo's second job: labels of several explainers, compared by written texts and by effect."""

from typing import Any

from api.cli.output import progress
from api.cli.output.console import err, out, say, thousands
from api.cli.output.league import print_league
from glossator import Client
from interp.domain.spec import BudgetSpec, ExplainerSpec, JobSpec, ScorerSpec

FEATURES = 50
JUDGED = {"judge": "llm", "nulls": 2}


def run(client: Client, spec: JobSpec, job: dict[str, Any]) -> None:
    """Compare the explainers on the first features of a finished job, and print the league."""
    indices = [row["index"] for row in client.list_features(job["dictionary"], run=job["run"], state="active", sort="index", limit=FEATURES)]
    say(f"Labels of {thousands(len(indices))} features on trial: three explainers, by texts that are written from a label and by what a feature does")
    submitted = client.submit_job(trial_of(spec, indices, _labels(client, job, indices)).model_dump(mode="json"))
    say(f"job {submitted['id']}")
    finished = progress.follow(client, submitted["id"], err)
    progress.raise_unless_completed(finished)
    out.print("\nThe league", style="bold")
    print_league(client.get_dictionary_league(job["dictionary"], job["run"]))


def trial_of(spec: JobSpec, indices: list[int], labels: dict[str, str]) -> JobSpec:
    """Return the job that scores three explainers of these features."""
    generation, output = (ScorerSpec.model_validate({"name": name, **JUDGED}) for name in ("generation", "output"))
    explainers = (*spec.explainers, ExplainerSpec(name="pattern"), ExplainerSpec(name="imported", labels=labels))
    changes = {"features": tuple(indices), "explainers": explainers, "scorers": (*spec.scorers, generation, output), "budget": BudgetSpec()}
    return spec.model_copy(update=changes)


def _labels(client: Client, job: dict[str, Any], indices: list[int]) -> dict[str, str]:
    """Return a label of each feature from elsewhere: the token whose logit it raises most."""
    found = {}
    for index in indices:
        promoted = client.get_feature(job["dictionary"], index, run=job["run"])["promoted"]
        found[str(index)] = f"the token `{promoted[0]['token']}`" if promoted else "nothing"
    return found
