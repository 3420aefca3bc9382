"""What is looked at before a job is stored: names, paths, all that the headers of files can tell, and whether the language models answer."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from api import estimating, needs, sampling
from api.endpoints import Endpoints, check_prices, check_windows
from api.locating import located
from api.needs import Need
from api.schemas import EstimateAnswer
from interp import addresses, files
from interp.errors import ChecksBusy
from interp.files import Roots
from interp.limited import Processes
from interp.preflight import Preflight, named
from interp.preflight_task import CHECK, Asked
from interp.settings import Settings
from interp.spec import JobSpec
from interp.store.jobs import Noticed

# Prompts of this many features are looked at for their length; more would make every submission slow.
LOOKED_AT = 4


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job with nothing wrong that its text alone shows: its spec with absolute paths and whole base URLs, who it asks, and what it may read."""

    spec: JobSpec
    needs: tuple[Need, ...]
    roots: Roots
    reading: Asked

    def with_facts(self, facts: Preflight) -> "Checked":
        """The job once its files have been looked at."""
        return Checked(named(self.spec, facts), self.needs, facts, self.roots)


@dataclass(frozen=True, slots=True)
class Checked:
    """A job that can be stored: its spec with absolute paths and whole base URLs, who it asks, what the preflight found out, and where it read."""

    spec: JobSpec
    needs: tuple[Need, ...]
    facts: Preflight
    roots: Roots

    @property
    def noticed(self) -> Noticed:
        """What the job keeps of the preflight."""
        return Noticed(self.facts.warnings, self.facts.corpus, self.facts.fingerprint)


def accept(spec: JobSpec, settings: Settings) -> Accepted:
    """All that needs neither files nor network. Raises the InputError that the spec deserves, EndpointRefused, PriceUnknown."""
    wanted = tuple(needs.needs_of(spec))
    needs.check_no_secrets(spec)
    needs.check_endpoints(spec, settings)
    needs.check_named(spec, wanted, settings)
    roots = Roots.of(settings)
    whole = needs.resolved(located(spec, Path.cwd(), roots), settings)
    check_prices(whole, wanted)
    return Accepted(whole, wanted, roots, Asked(whole, roots, settings.read_seconds, settings.read_bytes))


def check(spec: JobSpec, settings: Settings) -> Checked:
    """All that needs no network, in this very process. Stores nothing and opens no model. Raises what `accept` and the preflight raise."""
    accepted = accept(spec, settings)
    return accepted.with_facts(CHECK.function(accepted.reading))


def check_apart(accepted: Accepted, processes: Processes, seconds: float) -> Checked:
    """The job with its files read in a process of its own, whose start is waited for so long.

    Raises what `check` does, FilesTakeTooMuch and ChecksBusy.
    """
    with processes.begin(CHECK, accepted.reading, seconds) as pending:
        return accepted.with_facts(pending.result())


def check_in_time(accepted: Accepted, processes: Processes, seconds: float) -> Checked | None:
    """The same where it is over within so many seconds; None where it is not, and a worker has to do it."""
    until = time.monotonic() + seconds
    try:
        with processes.begin(CHECK, accepted.reading, seconds) as pending:
            return accepted.with_facts(pending.result()) if pending.wait(max(0.0, until - time.monotonic())) else None
    except ChecksBusy:
        return None


def estimate(checked: Checked, engine: Engine) -> EstimateAnswer:
    """What the job would ask of its language models; nothing is stored, and no model is asked."""
    return estimating.answer(checked.spec, draw(checked, engine), checked.facts)


def check_receiver(spec: JobSpec, settings: Settings) -> None:
    """Looks up where the job's webhook would go. A name that nobody knows here is let through: upkeep looks it up where it runs, at each try.

    Raises WebhookRefused.
    """
    if spec.webhook is not None:
        with suppress(OSError):
            addresses.find(spec.webhook.url, settings.webhook_guard())


def draw(checked: Checked, engine: Engine, most: int = sampling.MOST) -> sampling.Sample:
    """Some features of the job, real or supposed, to count its prompts from."""
    with files.within(checked.roots):
        return sampling.draw(checked.spec, checked.facts, engine, most)


def check_models(accepted: Accepted, checked: Checked | None, settings: Settings, engine: Engine, endpoints: Endpoints) -> None:
    """Asks the endpoints of the job's models, and holds its prompts against their windows where its files are known already.

    Raises EndpointUnreachable, KeyRefused, ModelUnknown, AbilityMissing and PromptTooLong.
    """
    if not accepted.needs:
        return
    windows = endpoints.check(accepted.spec, accepted.needs, settings)
    if checked is not None and any(window is not None for window in windows.values()):
        sample = draw(checked, engine, LOOKED_AT)
        check_windows(checked.spec, estimating.count(checked.spec, sample).longest(), windows)
