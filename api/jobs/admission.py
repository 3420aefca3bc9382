"""Check a job before it is stored: names, paths, file headers, language models."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from api.jobs import estimate as estimating
from api.jobs import estimate_sample
from api.jobs.endpoint_check import EndpointProbeCache, check_prices, check_windows
from api.jobs.estimate import COUNT, CountRequest, longest_of
from api.jobs.paths import located
from api.schemas.usage import EstimateAnswer
from interp.config.settings import Settings
from interp.domain.access import Principal
from interp.domain.cleaning import one_line
from interp.domain.errors import ChecksBusyError, CorpusError, InputError
from interp.domain.spec import JobSpec
from interp.planning import model_requirements as needs
from interp.planning.fetching import fetch, needs_worker, reads_remote_corpus
from interp.planning.model_requirements import Need
from interp.planning.preflight import CHECK, Preflight, PreflightRequest, settled
from interp.security import addresses, allowed_files, uploads
from interp.security.allowed_files import Roots
from interp.security.sandbox import Processes, Task
from interp.store import feature_lists
from interp.store import uploads as stored
from interp.store.db.engine import Engine, Session, snapshot

Given = TypeVar("Given")
Found = TypeVar("Found")

# Features whose prompts' lengths are counted; more would slow every submission.
COUNTED_FEATURES = 4


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job with a valid spec (absolute paths and URLs), its models, its readable files."""

    spec: JobSpec
    needs: tuple[Need, ...]
    reading: PreflightRequest

    def with_facts(self, facts: Preflight) -> "AdmittedJob":
        """Return the job with the results of the preflight of its files."""
        spec = settled(self.spec, facts)
        return AdmittedJob(spec, facts, replace(self.reading, spec=spec))


@dataclass(frozen=True, slots=True)
class AdmittedJob:
    """A job that can be stored, with the preflight's results and its readable files."""

    spec: JobSpec
    facts: Preflight
    reading: PreflightRequest


def with_features(spec: JobSpec, engine: Engine) -> JobSpec:
    """Return the job with a named list's features in its place; raises NotFoundError, InputError."""
    if spec.named_list is None:
        return spec
    if spec.dictionaries:
        raise InputError("A list names the features of one dictionary.", cure="Submit a job for each dictionary, or write the features as numbers.")
    with snapshot(engine) as session:
        return spec.model_copy(update={"features": feature_lists.for_job(session, spec.named_list, spec.dictionary.name)})


def accept(spec: JobSpec, settings: Settings) -> Accepted:
    """Check what needs no files or network; raises InputError, EndpointRefusedError, PriceUnknownError."""
    wanted = tuple(needs.needs_of(spec))
    needs.check_no_secrets(spec)
    needs.check_endpoints(spec, settings)
    needs.check_named(spec, wanted, settings)
    roots = Roots.of(settings)
    whole = needs.resolved(located(spec, Path.cwd(), roots), settings)
    check_prices(whole, wanted)
    return Accepted(whole, wanted, PreflightRequest(whole, roots, settings.preflight_timeout_seconds, settings.preflight_max_bytes))


def check(spec: JobSpec, settings: Settings, progress: Callable[[float], None] = lambda _share: None) -> AdmittedJob:
    """Fetch and check in this process; raises what `accept`, `fetch` and the preflight raise."""
    accepted = accept(spec, settings)
    with allowed_files.within(accepted.reading.roots):
        whole = fetch(accepted.spec, progress)
    accepted = replace(accepted, spec=whole, reading=replace(accepted.reading, spec=whole))
    return accepted.with_facts(CHECK.function(accepted.reading))


def check_apart(accepted: Accepted, processes: Processes, seconds: float) -> AdmittedJob:
    """Check in a sandbox; raises what `check` raises, FilesTakeTooMuchError, ChecksBusyError."""
    if reads_remote_corpus(accepted.spec):
        raise CorpusError(
            f"{one_line(accepted.spec.corpus.path)} is not on this machine.",
            why="An estimate reads texts at once, and only a worker fetches them.",
            cure="Estimate with some of its texts in a local file; or submit the job with a budget.",
        )
    with processes.begin(CHECK, accepted.reading, seconds) as pending:
        return accepted.with_facts(pending.result())


def check_in_time(accepted: Accepted, processes: Processes, seconds: float) -> AdmittedJob | None:
    """Return the checked job; None where a worker continues: after `seconds`, or for the network."""
    with allowed_files.within(accepted.reading.roots):
        if needs_worker(accepted.spec):
            return None
    facts = _in_time(CHECK, accepted.reading, processes, seconds)
    return None if facts is None else accepted.with_facts(facts)


def estimate(checked: AdmittedJob, engine: Engine) -> EstimateAnswer:
    """Estimate the job in this process, without storing anything or calling a model."""
    drawn = estimate_sample.draw(checked.spec, checked.facts, engine)
    return estimating.answer(checked.spec, drawn, COUNT.function(CountRequest(checked.reading, drawn)), checked.facts)


def estimate_apart(checked: AdmittedJob, engine: Engine, processes: Processes, seconds: float) -> EstimateAnswer:
    """Estimate in a sandbox, after up to `seconds` of waiting; raises FilesTakeTooMuchError, ChecksBusyError."""
    drawn = estimate_sample.draw(checked.spec, checked.facts, engine)
    with processes.begin(COUNT, CountRequest(checked.reading, drawn), seconds) as pending:
        return estimating.answer(checked.spec, drawn, pending.result(), checked.facts)


def check_uploads(engine: Engine, caller: Principal, spec: JobSpec) -> None:
    """Raise FileMissingError unless the caller sees the uploads that a job names."""
    if upload_ids := uploads.named_in(spec):
        with snapshot(engine) as session:
            stored.check_there(session, caller, upload_ids)


def hold_uploads(session: Session, caller: Principal, spec: JobSpec, settings: Settings) -> None:
    """Keep the job's uploads in the transaction that writes it; raises FileMissingError."""
    stored.hold(session, caller, uploads.named_in(spec), settings.retain_uploads_days)


def check_receiver(spec: JobSpec, settings: Settings) -> None:
    """Resolve the job's webhook; raises WebhookRefusedError.

    A name that does not resolve here passes: the upkeep worker resolves it at each attempt.
    """
    if spec.webhook is not None:
        with suppress(OSError):
            addresses.find(spec.webhook.url, settings.webhook_guard())


def check_models(accepted: Accepted, settings: Settings, endpoints: EndpointProbeCache) -> dict[str, int | None]:
    """Probe the job's models, and return their context windows (tokens, None: unknown) by role.

    Raises EndpointUnreachableError, KeyRefusedError, ModelUnknownError and AbilityMissingError.
    """
    return endpoints.check(accepted.spec, accepted.needs, settings) if accepted.needs else {}


def check_prompts(checked: AdmittedJob, windows: dict[str, int | None], engine: Engine, processes: Processes, seconds: float) -> None:
    """Compare the job's prompts with its models' context windows; raises PromptTooLongError.

    If that takes longer than `seconds`, nothing is checked, and the calls themselves may fail.
    """
    if all(window is None for window in windows.values()):
        return
    counting = CountRequest(checked.reading, estimate_sample.draw(checked.spec, checked.facts, engine, COUNTED_FEATURES))
    counted = _in_time(COUNT, counting, processes, seconds)
    if counted is not None:
        check_windows(checked.spec, longest_of(counted), windows)


def _in_time(task: Task[Given, Found], given: Given, processes: Processes, seconds: float) -> Found | None:
    """Return what a process finds within `seconds`, its start included; else None."""
    until = time.monotonic() + seconds
    try:
        with processes.begin(task, given, seconds) as pending:
            return pending.result() if pending.wait(max(0.0, until - time.monotonic())) else None
    except ChecksBusyError:
        return None
