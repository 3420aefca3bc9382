"""What `glossator doctor` looks at: one function a thing. Looking changes nothing, but for a file that is written to a bucket and removed again."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from api.cli.console import thousands
from api.readiness import artifacts_fault, database_fault, migrations_fault
from interp.disk import nearest_existing
from interp.errors import LlmError
from interp.files import Roots
from interp.lifecycle import Queue
from interp.settings import Settings
from interp.store import metrics
from interp.store.engine import make_engine, snapshot
from interp.store.metrics import Figures
from workers.reach import broker_fault

PACKAGES = ("glossator", "fastapi", "sqlalchemy", "celery", "torch", "transformers", "transformer-lens", "numpy")
MODELS = ("torch", "transformers", "transformer_lens")
IMPORT_SECONDS = 120
ENDPOINT_SECONDS = 5.0
LOW_SPACE = 2 * 1024**3
NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `cure` is empty where all is well."""

    name: str
    well: bool
    detail: str
    cure: str = ""


def versions(_found: Settings) -> list[Finding]:
    def of(package: str) -> str:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            return f"{package} –"

    return [Finding("versions", True, f"Python {sys.version.split()[0]}, " + ", ".join(of(package) for package in PACKAGES))]


def database(found: Settings) -> list[Finding]:
    if _is_unmade(found):
        return [Finding("database", True, f"{make_url(found.database_url).database} is not there yet; `glossator serve` makes it")]
    engine = make_engine(found.database_url)
    shown = engine.url.render_as_string(hide_password=True)
    began = time.monotonic()
    try:
        if fault := database_fault(engine):
            return [Finding("database", False, f"{shown} {fault}", "Start it, or set GLOSSATOR_DATABASE_URL.")]
        milliseconds = 1000 * (time.monotonic() - began)
        if migrations_fault(engine):
            cure = "Run `glossator db upgrade` (`glossator serve` does it by itself)."
            return [Finding("database", False, f"{shown} is not at this version", cure)]
    finally:
        engine.dispose()
    return [Finding("database", True, f"{shown} is at this version, and answers in {milliseconds:.0f} ms")]


def broker(found: Settings) -> list[Finding]:
    shown = found.broker_folder if found.is_embedded else found.broker_url.split("@")[-1]
    if fault := broker_fault(found):
        cure = "Give yourself the right to write there, or set GLOSSATOR_HOME." if found.is_embedded else "Start it, or set GLOSSATOR_BROKER_URL."
        return [Finding("broker", False, f"{shown} {fault}", cure)]
    return [Finding("broker", True, f"{shown} {'can be written to' if found.is_embedded else 'answers'}")]


def workers(found: Settings) -> list[Finding]:
    """Who is alive, and which queue has nobody. Before the first start there is no database, and nobody is missed."""
    if _is_unmade(found):
        return [Finding("workers", True, "none yet; `glossator serve` starts them")]
    figures = _figures(found)
    if figures is None:
        return [Finding("workers", True, "not known without the database")]
    alive = {queue: int(figures.workers[str(queue),]) for queue in Queue}
    detail = ", ".join(f"{number} {queue}" for queue, number in alive.items())
    idle = [queue for queue in (Queue.GPU, Queue.LLM) if not alive[queue]]
    if idle:
        waiting = {queue: int(figures.queue_chunks[str(queue), "ready"]) for queue in idle}
        lacking = " and ".join(f"none of {queue} ({thousands(waiting[queue])} chunks wait for one)" for queue in idle)
        commands = " and ".join(f"`glossator worker {queue}`" for queue in idle)
        cure = f"Start {commands}, or `glossator serve` with its own workers."
        return [Finding("workers", False, f"{detail}; there is {lacking}", cure)]
    expired = int(sum(figures.leases_expired.values()))
    if expired:
        cure = "Start upkeep: glossator worker upkeep (`glossator serve` with workers does it by itself)."
        return [Finding("workers", False, f"{detail}; {expired} leases have run out, and nobody has taken them back", cure)]
    return [Finding("workers", True, detail)]


def endpoints(found: Settings) -> list[Finding]:
    """Every endpoint that a key is there for, and the server's own if it is no public one."""
    asked = [found.llm_base_url] if found.llm_api_key.get_secret_value() or "llm_base_url" in found.model_fields_set else []
    asked += [url for url in found.llm_keys if url.rstrip("/") != found.llm_base_url.rstrip("/")]
    if not asked:
        return [Finding("endpoint", True, "none is set up; only jobs that ask a language model need one (GLOSSATOR_LLM_BASE_URL, _API_KEY)")]
    return [_endpoint(found, url) for url in asked]


def _endpoint(found: Settings, base_url: str) -> Finding:
    # The SDK behind it: a second of imports, which those who ask nobody do without.
    from interp.llm.cache import shown_url
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
        cure = "Give yourself the right to write there, or set GLOSSATOR_ARTIFACTS (and GLOSSATOR_ARTIFACT_OPTIONS for a bucket)."
        return [Finding("artifacts", False, f"{found.artifacts}: {fault}", cure)]
    return [Finding("artifacts", True, f"{found.artifacts} can be written to")]


def roots(found: Settings) -> list[Finding]:
    """What jobs of a server or worker that is started here may read."""
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
    """In a process of its own, because this one must not load torch. Where workers run elsewhere, this machine need not have any of it."""
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
    """Whether the database is a file that is still to be made: looking must not make it."""
    url = make_url(found.database_url)
    return url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists()


def _figures(found: Settings) -> Figures | None:
    engine = make_engine(found.database_url)
    try:
        with snapshot(engine) as session:
            return metrics.figures(session, found.lease_seconds)
    except SQLAlchemyError:
        return None
    finally:
        engine.dispose()


Check = Callable[[Settings], list[Finding]]
CHECKS: tuple[Check, ...] = (versions, database, broker, workers, endpoints, artifacts, roots, space, models)
