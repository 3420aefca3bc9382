"""What is looked at before a job is stored: names, paths, all that the headers of files can tell, and whether the language models answer."""

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from api.jobs import estimate as estimating
from api.jobs import estimate_sample
from api.jobs.endpoint_check import EndpointProbeCache, check_prices, check_windows
from api.jobs.estimate_task import COUNT, Counting
from api.jobs.path_resolution import located
from api.schemas.usage import EstimateAnswer
from interp.config.settings import Settings
from interp.domain.errors import ChecksBusyError
from interp.domain.spec import JobSpec
from interp.planning import model_requirements as needs
from interp.planning.model_requirements import Need
from interp.planning.preflight import CHECK, Preflight, PreflightRequest, named
from interp.security import addresses
from interp.security.allowed_files import Roots
from interp.security.sandbox import Processes, Task
from interp.store.db.engine import Engine

Given = TypeVar("Given")
Found = TypeVar("Found")

# Prompts of this many features are looked at for their length; more would make every submission slow.
LOOKED_AT = 4


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job with nothing wrong that its text alone shows: its spec with absolute paths and whole base URLs, who it asks, and what it may read."""

    spec: JobSpec
    needs: tuple[Need, ...]
    reading: PreflightRequest

    def with_facts(self, facts: Preflight) -> "AdmittedJob":
        """The job once its files have been looked at."""
        spec = named(self.spec, facts)
        return AdmittedJob(spec, facts, replace(self.reading, spec=spec))


@dataclass(frozen=True, slots=True)
class AdmittedJob:
    """A job that can be stored: its spec with absolute paths and whole base URLs, what the preflight found out, and what it may read."""

    spec: JobSpec
    facts: Preflight
    reading: PreflightRequest


def accept(spec: JobSpec, settings: Settings) -> Accepted:
    """All that needs neither files nor network. Raises the InputError that the spec deserves, EndpointRefused, PriceUnknown."""
    wanted = tuple(needs.needs_of(spec))
    needs.check_no_secrets(spec)
    needs.check_endpoints(spec, settings)
    needs.check_named(spec, wanted, settings)
    roots = Roots.of(settings)
    whole = needs.resolved(located(spec, Path.cwd(), roots), settings)
    check_prices(whole, wanted)
    return Accepted(whole, wanted, PreflightRequest(whole, roots, settings.preflight_timeout_seconds, settings.preflight_max_bytes))


def check(spec: JobSpec, settings: Settings) -> AdmittedJob:
    """All that needs no network, in this very process. Stores nothing and opens no model. Raises what `accept` and the preflight raise."""
    accepted = accept(spec, settings)
    return accepted.with_facts(CHECK.function(accepted.reading))


def check_apart(accepted: Accepted, processes: Processes, seconds: float) -> AdmittedJob:
    """The job with its files read in a process of its own, whose start is waited for so long.

    Raises what `check` does, FilesTakeTooMuch and ChecksBusy.
    """
    with processes.begin(CHECK, accepted.reading, seconds) as pending:
        return accepted.with_facts(pending.result())


def check_in_time(accepted: Accepted, processes: Processes, seconds: float) -> AdmittedJob | None:
    """The same where it is over within so many seconds; None where it is not, and a worker has to do it."""
    facts = _in_time(CHECK, accepted.reading, processes, seconds)
    return None if facts is None else accepted.with_facts(facts)


def estimate(checked: AdmittedJob, engine: Engine) -> EstimateAnswer:
    """What the job would ask of its language models, in this very process; nothing is stored, and no model is asked."""
    drawn = estimate_sample.draw(checked.spec, checked.facts, engine)
    return estimating.answer(checked.spec, drawn, COUNT.function(Counting(checked.reading, drawn)), checked.facts)


def estimate_apart(checked: AdmittedJob, engine: Engine, processes: Processes, seconds: float) -> EstimateAnswer:
    """The same, counted in a process of its own, whose start is waited for so long. Raises FilesTakeTooMuch and ChecksBusy, too."""
    drawn = estimate_sample.draw(checked.spec, checked.facts, engine)
    with processes.begin(COUNT, Counting(checked.reading, drawn), seconds) as pending:
        return estimating.answer(checked.spec, drawn, pending.result(), checked.facts)


def check_receiver(spec: JobSpec, settings: Settings) -> None:
    """Looks up where the job's webhook would go. A name that nobody knows here is let through: upkeep looks it up where it runs, at each try.

    Raises WebhookRefused.
    """
    if spec.webhook is not None:
        with suppress(OSError):
            addresses.find(spec.webhook.url, settings.webhook_guard())


def check_models(accepted: Accepted, settings: Settings, endpoints: EndpointProbeCache) -> dict[str, int | None]:
    """Asks the endpoints of the job's models; their windows in tokens by role, None where nobody says.

    Raises EndpointUnreachable, KeyRefused, ModelUnknown and AbilityMissing.
    """
    return endpoints.check(accepted.spec, accepted.needs, settings) if accepted.needs else {}


def check_prompts(checked: AdmittedJob, windows: dict[str, int | None], engine: Engine, processes: Processes, seconds: float) -> None:
    """Holds the job's prompts against its models' windows, where that takes so many seconds at most; else the calls will tell.

    Raises PromptTooLong.
    """
    if all(window is None for window in windows.values()):
        return
    counting = Counting(checked.reading, estimate_sample.draw(checked.spec, checked.facts, engine, LOOKED_AT))
    counted = _in_time(COUNT, counting, processes, seconds)
    if counted is not None:
        check_windows(checked.spec, counted.longest, windows)


def _in_time(task: Task[Given, Found], given: Given, processes: Processes, seconds: float) -> Found | None:
    """What a process finds within so many seconds, its start included; None where that takes longer."""
    until = time.monotonic() + seconds
    try:
        with processes.begin(task, given, seconds) as pending:
            return pending.result() if pending.wait(max(0.0, until - time.monotonic())) else None
    except ChecksBusyError:
        return None
