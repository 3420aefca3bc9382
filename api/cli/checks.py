"""Checks of `glossator doctor`, one function each; the bucket check removes what it writes."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from api.cli import failures
from api.cli.output.console import thousands
from api.http.readiness import artifacts_fault
from interp.config.home import CURE, check_readable, occupant, write_fault
from interp.config.settings import Settings, is_loopback
from interp.domain.errors import GlossatorError, HomeUnusableError, LlmError
from interp.domain.lifecycle import Queue
from interp.files.atomic import nearest_existing
from interp.security.allowed_files import Roots
from interp.store.access import keys
from interp.store.db import revision
from interp.store.db.engine import SQLAlchemyError, make_engine, make_url, snapshot
from interp.store.queue import metrics
from interp.store.queue.metrics import Readings
from workers.wakeup import broker_fault

PACKAGES = ("glossator", "fastapi", "sqlalchemy", "celery", "torch", "transformers", "transformer-lens", "numpy")
MODELS = ("torch", "transformers", "transformer_lens")
IMPORT_SECONDS = 120
ENDPOINT_SECONDS = 5.0
LOW_SPACE = 2 * 1024**3
NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `cure` is empty if all is well."""

    name: str
    well: bool
    detail: str
    cure: str = ""


Check = Callable[[Settings], list[Finding]]


def versions(_found: Settings) -> list[Finding]:
    def of(package: str) -> str:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            return f"{package} –"

    return [Finding("versions", True, f"Python {sys.version.split()[0]}, " + ", ".join(of(package) for package in PACKAGES))]


def home(found: Settings) -> list[Finding]:
    """Check the service's folder, and name the process that uses it."""
    if not found.is_alone:
        return [Finding("home", True, f"{found.home}; the database and the broker are servers")]
    try:
        check_readable(found.home)
    except HomeUnusableError as error:
        return [finding_of(error, "home")]
    nearest = nearest_existing(found.home)
    if fault := write_fault(nearest):
        return [finding_of(fault, "home")]
    if server := occupant(found.home):
        return [Finding("home", True, f"{found.home}; process {server.pid} serves it{f' at {server.url}' if server.url else ''}")]
    return [Finding("home", True, f"{found.home} {'can be written to' if nearest == found.home else 'is not there yet, and can be made'}")]


def address(found: Settings) -> list[Finding]:
    """Check the listening address, and whether other machines reach it unintentionally."""
    if is_loopback(found.host):
        return [Finding("address", True, f"{found.host}:{found.port}, which only this machine reaches")]
    if found.admin_key.get_secret_value() or _has_keys(found):
        return [Finding("address", True, f"{found.host}:{found.port}, which other machines reach with a key")]
    cure = "Make a key with `glossator keys create`, or set GLOSSATOR_HOST=127.0.0.1."
    return [Finding("address", False, f"{found.host}: other machines reach it, and there is no key; `glossator serve` refuses it", cure)]


def _has_keys(found: Settings) -> bool:
    """Return whether the database has a key; False for one that cannot be read."""
    if _is_unmade(found):
        return False
    engine = make_engine(found.database_url)
    try:
        with snapshot(engine) as session:
            return keys.any_exists(session)
    except SQLAlchemyError:
        return False
    finally:
        engine.dispose()


def database(found: Settings) -> list[Finding]:
    if found.is_alone and (nearest := nearest_existing(found.home)) and not nearest.is_dir():
        return [Finding("database", False, f"{nearest} is a file", CURE)]
    if _is_unmade(found):
        path = Path(str(make_url(found.database_url).database))
        if fault := write_fault(nearest_existing(path.parent)):
            return [finding_of(fault, "database")]
        return [Finding("database", True, f"{path} is not there yet; `glossator serve` makes it")]
    engine = make_engine(found.database_url)
    shown = engine.url.render_as_string(hide_password=True)
    began = time.monotonic()
    try:
        fault = revision.unfit(engine)
        milliseconds = 1000 * (time.monotonic() - began)
        if fault:
            return [Finding("database", False, f"{shown}: {fault.what} {fault.why}", fault.cure)]
    finally:
        engine.dispose()
    return [Finding("database", True, f"{shown} is at this version, and answers in {milliseconds:.0f} ms")]


def broker(found: Settings) -> list[Finding]:
    if fault := broker_fault(found):
        return [finding_of(fault, "broker")]
    return [Finding("broker", True, f"{found.shown_broker} {'can be written to' if found.is_embedded else 'answers'}")]


def workers(found: Settings) -> list[Finding]:
    """Check that each queue has a live worker; none is needed before the first start."""
    if _is_unmade(found):
        return [Finding("workers", True, "none yet; `glossator serve` starts them")]
    figures = _figures(found)
    if figures is None:
        return [Finding("workers", True, "not known without the database")]
    alive = {queue: int(figures["workers"][str(queue),]) for queue in Queue}
    detail = ", ".join(f"{number} {queue}" for queue, number in alive.items())
    idle = [queue for queue in (Queue.GPU, Queue.LLM) if not alive[queue]]
    if idle:
        waiting = {queue: int(figures["queue_chunks"][str(queue), "ready"]) for queue in idle}
        lacking = " and ".join(f"none of {queue} ({thousands(waiting[queue])} chunks wait for one)" for queue in idle)
        commands = " and ".join(f"`glossator worker {queue}`" for queue in idle)
        cure = f"Start {commands}, or `glossator serve` with its own workers."
        return [Finding("workers", False, f"{detail}; there is {lacking}", cure)]
    expired = int(sum(figures["leases_expired"].values()))
    if expired:
        cure = "Start upkeep: glossator worker upkeep (`glossator serve` with workers does it by itself)."
        return [Finding("workers", False, f"{detail}; {expired} leases have expired, and upkeep has not released them", cure)]
    return [Finding("workers", True, detail)]


def endpoints(found: Settings) -> list[Finding]:
    """Check every endpoint with a key, and the server's own if it is set."""
    asked = [found.llm_base_url] if found.llm_api_key.get_secret_value() or "llm_base_url" in found.model_fields_set else []
    asked += [url for url in found.llm_keys if url.rstrip("/") != found.llm_base_url.rstrip("/")]
    if not asked:
        return [Finding("endpoint", True, "none is set up; only jobs that ask a language model need one (GLOSSATOR_LLM_BASE_URL, _API_KEY)")]
    return [_endpoint(found, url) for url in asked]


def _endpoint(found: Settings, base_url: str) -> Finding:
    # Imported here: its SDK takes a second to import.
    from interp.llm.cache_key import shown_url
    from interp.llm.probe import models_now

    shown = shown_url(base_url)
    try:
        models = models_now(found, base_url, ENDPOINT_SECONDS)
    except LlmError as error:
        return Finding("endpoint", False, f"{error.what} {error.why or ''}".strip(), error.cure or "See to the endpoint.")
    names = ", ".join(models[:NAMES_SHOWN]) + (f" and {len(models) - NAMES_SHOWN} more" if len(models) > NAMES_SHOWN else "")
    return Finding("endpoint", True, f"{shown} answers" + (f": {names}" if models else ""))


def artifacts(found: Settings) -> list[Finding]:
    if fault := artifacts_fault(found):
        cure = "Give yourself the right to write there, or set GLOSSATOR_ARTIFACTS_URL (and GLOSSATOR_ARTIFACT_OPTIONS for a bucket)."
        return [Finding("artifacts", False, f"{found.artifacts_url}: {fault}", cure)]
    return [Finding("artifacts", True, f"{found.artifacts_url} can be written to")]


def roots(found: Settings) -> list[Finding]:
    """Check the folders that jobs of a server started here may read."""
    if not found.allowed_roots:
        return [Finding("roots", True, "jobs may name no files, only models of the Hub; GLOSSATOR_ROOTS opens folders")]
    own = Roots.of(found)
    shut = [root for root in map(str, found.allowed_roots) if not own.permit_path(root)]
    gone = [root for root in map(str, found.roots or ()) if root not in shut and not Path(root).exists()]
    if shut or gone:
        why = [f"{root} is the service's own, or the system's" for root in shut] + [f"{root} does not exist" for root in gone]
        return [Finding("roots", False, "; ".join(why), "Name other folders in GLOSSATOR_ROOTS.")]
    return [Finding("roots", True, f"jobs may read files under {', '.join(map(str, found.allowed_roots))}")]


def space(found: Settings) -> list[Finding]:
    nearest = nearest_existing(found.home)
    free = shutil.disk_usage(nearest).free
    cure = "" if free >= LOW_SPACE else "Free some, or move GLOSSATOR_HOME: a job may need a few GiB."
    return [Finding("disk", free >= LOW_SPACE, f"{free / 1024**3:.1f} GiB free at {nearest}", cure)]


def models(found: Settings) -> list[Finding]:
    """Import the model packages, if needed here, in a process of their own (torch)."""
    if not found.is_embedded and not any(map(find_spec, MODELS)):
        return [Finding("models", True, f"not installed here: what runs gpu workers needs {', '.join(MODELS)}")]
    code = f"import {', '.join(MODELS)}; print('cuda' if torch.cuda.is_available() else 'cpu')"
    try:
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=IMPORT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        detail = f"importing {', '.join(MODELS)} took over {IMPORT_SECONDS} s"
        return [Finding("models", False, detail, "Look at the disk: the first import reads gigabytes.")]
    if ran.returncode == 0:
        return [Finding("models", True, f"{', '.join(MODELS)} can be imported; device {ran.stdout.split()[-1]}")]
    reason = ran.stderr.strip().splitlines()[-1] if ran.stderr.strip() else f"status {ran.returncode}"
    return [Finding("models", False, reason, "Install what the gpu worker needs: pip install 'glossator[models]'.")]


def _is_unmade(found: Settings) -> bool:
    """Return whether the database is a missing file, which a check must not create."""
    url = make_url(found.database_url)
    return url.get_backend_name() == "sqlite" and not os.path.exists(str(url.database))  # noqa: PTH110 - a folder may be shut


def _figures(found: Settings) -> dict[str, Readings] | None:
    try:
        engine = make_engine(found.database_url)
    except GlossatorError:
        return None
    try:
        with snapshot(engine) as session:
            return metrics.read(session, found.lease_seconds)
    except SQLAlchemyError:
        return None
    finally:
        engine.dispose()


def finding_of(error: GlossatorError, name: str) -> Finding:
    """Return an error as the result of a check."""
    return Finding(name, False, f"{error.what} {error.why}".strip(), error.cure or "See docs/deploy.md.")


def run(check: Check, found: Settings) -> list[Finding]:
    """Return the findings of one check, including an installation fault that stops it."""
    try:
        return check(found)
    except Exception as error:
        known = failures.known(error)
        if known is None:
            raise
        return [finding_of(known, check.__name__)]


CHECKS: tuple[Check, ...] = (versions, home, address, database, broker, workers, endpoints, artifacts, roots, space, models)
