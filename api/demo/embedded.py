"""Run one job on an embedded service of this process: the plain demo."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from api.cli.output import progress, report
from api.cli.output.console import err, say
from glossator import Client
from interp.config.home import make_home
from interp.config.settings import Settings
from interp.domain.spec import JobSpec


@contextmanager
def embedded(settings: Settings) -> Iterator[Client]:
    """Run an embedded service, whose workers log to a file, and yield its client."""
    from api.server import Service

    make_home(settings.home)
    with (settings.home / "workers.log").open("ab") as log, Service(settings, "127.0.0.1", 0, log_to=log) as service, Client(service.url) as client:
        say(f"Glossator is listening on {service.url}; its workers log to {log.name}")
        yield client


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
