"""Run a job with a real language model, and count its usable replies.

    python -m benches.real_llm --base-url http://127.0.0.1:8000/v1 --model smollm2

The model writes the labels of the explainers `contexts` and `agent`, beside the rules of `pattern`, and judges all of them by `detection`,
`generation` and `output`. `usable` is the share of verdicts that are an answer; the others failed, or say that the judge is unsure. Means and lifts
are those of the league, over the features that every explainer has a label for. `--home` keeps the database.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api.cli.commands.submit import read_spec
from api.cli.connect import embedded
from api.cli.output import progress
from api.cli.output.console import err
from api.cli.output.league import print_league
from api.jobs.paths import paths_of
from glossator import Client
from interp.config.settings import take_settings
from interp.domain.spec import JobSpec

JOB = Path(__file__).parents[1] / "examples" / "pystdlib" / "job-llm.yaml"
REASON = 60  # characters of a failure, so that equal kinds count as one


def main() -> None:
    with finished(_options()) as (client, job, found):
        for line in found:
            print(json.dumps(line), flush=True)
        print_league(client.get_dictionary_league(job["dictionary"]))


@contextmanager
def finished(options: argparse.Namespace) -> Iterator[tuple[Client, dict[str, Any], Iterator[dict[str, Any]]]]:
    """Run the job and yield its client, the completed job, and lines of figures.

    An embedded service of this process runs it. Raises JobDidNotCompleteError.
    """
    spec, began = spec_of(options), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        settings = take_settings(
            home=options.home or Path(folder),
            roots=paths_of(spec),
            llm_base_url=options.base_url,
            llm_max_concurrent_calls=options.in_flight,
        )
        with embedded(settings) as client:
            submitted = client.submit_job(spec.model_dump(mode="json"))
            job: dict[str, Any] = progress.follow(client, submitted["id"], err)
            progress.raise_unless_completed(job)
            yield client, job, lines(client, job, time.monotonic() - began)


def spec_of(options: argparse.Namespace) -> JobSpec:
    """Return the example's job with three explainers, three scorers, and one model for both roles."""
    model = {"model": options.model, "timeout_seconds": options.timeout, "max_tokens": options.max_tokens, "extra": json.loads(options.extra)}
    judged = {"judge": "llm", "nulls": options.nulls}
    return read_spec(
        JOB,
        {
            "features": options.features,
            "corpus.max_tokens": 200_000,
            "explainers": [{"name": "contexts", "contexts": 10}, {"name": "agent", "rounds": 1, "texts": 2, "contexts": 10}, {"name": "pattern"}],
            "scorers": [
                {"name": "detection", "positives": 8, "negatives": 8, "per_prompt": 4} | judged,
                {"name": "generation", "texts": 4} | judged,
                {"name": "output"} | judged,
            ],
            "models": {"explainer": model, "judge": model},
            "controls": ["null"],
            "budget": {"tokens": options.tokens},
        },
    )


def lines(client: Client, job: dict[str, Any], seconds: float) -> Iterator[dict[str, Any]]:
    """Yield a line for the job, each explainer, and each scorer of an explainer."""
    rows = list(client.list_explanations(dictionary=job["dictionary"], run=job["run"]))
    total = client.get_job_usage(job["id"])["total"]
    named = ("calls", "unanswered", "attempts", "prompt_tokens", "completion_tokens", "cached_tokens")
    yield {"bench": "real_llm", "features": job["request_counts"]["total"], "seconds": round(seconds)} | {name: total.get(name) for name in named}
    for explainer in sorted({row["explainer"] for row in rows}):
        own = [row for row in rows if row["explainer"] == explainer]
        failures = Counter(row["failure"][:REASON] for row in own if row["failure"])
        labels = len({row["text"] for row in own if row["text"]})
        yield {"explainer": explainer, "labels": len(own) - failures.total(), "different_labels": labels, "failures": dict(failures)}
        scores = [score for row in own for score in row["scores"]]
        for scorer in sorted({score["scorer"] for score in scores}):
            yield {"explainer": explainer, "scorer": scorer} | verdicts([score for score in scores if score["scorer"] == scorer])


def verdicts(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Count the verdicts of scores: asked, failed, unsure, and the usable share."""
    answered, failed, unsure = (sum(score[name] for score in scores) for name in ("answered", "failed", "abstained"))
    asked = answered + failed + unsure
    return {
        "scores": sum(score["value"] is not None for score in scores),
        "undefined": sum(score["value"] is None for score in scores),
        "verdicts": asked,
        "failed": failed,
        "unsure": unsure,
        "usable": round(answered / asked, 3) if asked else None,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--features", default="0-19")
    parser.add_argument("--nulls", type=int, default=2)
    parser.add_argument("--max-tokens", type=int, help="of one reply; what each question asks for when not given")
    parser.add_argument("--in-flight", type=int, default=8, help="calls at once, at most")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds of one attempt")
    parser.add_argument("--tokens", type=int, default=20_000_000, help="the job's budget")
    parser.add_argument("--extra", default="{}", help="more fields of a request's body, as JSON")
    parser.add_argument("--home", type=Path, help="where the database is kept")
    return parser.parse_args()


if __name__ == "__main__":
    main()
