"""Run one job on an embedded service of this process: the plain demo."""

from typing import Any

from api.cli.connect import embedded
from api.cli.output import progress, report
from api.cli.output.console import err, say
from interp.config.settings import Settings
from interp.domain.spec import JobSpec


def run_embedded(settings: Settings, spec: JobSpec, reported: bool = True) -> dict[str, Any]:
    """Submit the job to an embedded service, follow and return it; raises JobDidNotCompleteError."""
    with embedded(settings) as client:
        submitted = client.submit_job(spec.model_dump(mode="json"))
        say(f"job {submitted['id']}")
        finished = progress.follow(client, submitted["id"], err)
        progress.raise_unless_completed(finished)
        if reported:
            report.print_report(client, finished)
        progress.require_explained(client, finished)
    return finished
