"""`glossator doctor`: what an installation needs, what is there, and what to do about the rest."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from api.cli.console import out, print_json
from interp.disk import is_writable, nearest_existing
from interp.errors import ArtifactsUnreachable, DiskFull
from interp.settings import Settings, settings
from interp.store import migrate
from interp.store.engine import READING, make_engine
from workers.artifacts import store_of

PACKAGES = ("glossator", "fastapi", "sqlalchemy", "celery", "torch", "transformers", "transformer-lens", "numpy")
MODELS = ("torch", "transformers", "transformer_lens")
IMPORT_SECONDS = 120
LOW_SPACE = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `cure` is empty where all is well."""

    name: str
    well: bool
    detail: str
    cure: str = ""


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Look at everything an installation needs, and say what to do about what is missing."""
    found = settings()
    findings = [check(found) for check in CHECKS]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            mark = Text("ok   ", "green") if finding.well else Text("WRONG", "bold red")
            out.print(mark + Text(f"  {finding.name}: {finding.detail}"), soft_wrap=True)
            if finding.cure:
                out.print(Text(f"       cure: {finding.cure}", "yellow"), soft_wrap=True)
    if not all(finding.well for finding in findings):
        raise typer.Exit(1)


def _versions(_found: Settings) -> Finding:
    def of(package: str) -> str:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            return f"{package} –"

    return Finding("versions", True, f"Python {sys.version.split()[0]}, " + ", ".join(of(package) for package in PACKAGES))


def _database(found: Settings) -> Finding:
    parsed = make_url(found.database_url)
    if parsed.get_backend_name() == "sqlite" and not Path(str(parsed.database)).exists():
        return Finding("database", True, f"{parsed.database} is not there yet; `glossator serve` makes it")
    engine = make_engine(found.database_url)
    shown = engine.url.render_as_string(hide_password=True)
    try:
        current = migrate.is_current(engine.execution_options(**READING))
    except SQLAlchemyError as error:
        return Finding(
            "database", False, f"{shown} does not answer: {error.args[0] if error.args else error}", "Start it, or set GLOSSATOR_DATABASE_URL."
        )
    finally:
        engine.dispose()
    if not current:
        return Finding("database", False, f"{shown} is not at this version", "Run `glossator db upgrade` (`glossator serve` does it by itself).")
    return Finding("database", True, f"{shown} is at this version")


def _broker(found: Settings) -> Finding:
    if not found.is_embedded:
        return Finding("broker", True, f"{found.broker_url.split('@')[-1]} (a server; workers connect to it)")
    return _writable("broker", found.broker_folder)


def _artifacts(found: Settings) -> Finding:
    try:
        store_of(found).check()
    except (ArtifactsUnreachable, DiskFull) as error:
        return Finding("artifacts", False, f"{error.what} {error.why}", error.cure)
    return Finding("artifacts", True, f"{found.artifacts} can be written to")


def _writable(name: str, folder: Path) -> Finding:
    if is_writable(folder):
        return Finding(name, True, f"{folder} can be written to" + ("" if folder.exists() else " (it will be made)"))
    cure = f"Give yourself the right to write to {nearest_existing(folder)}, or set GLOSSATOR_HOME."
    return Finding(name, False, f"{folder} cannot be written to", cure)


def _space(found: Settings) -> Finding:
    nearest = nearest_existing(found.home)
    free = shutil.disk_usage(nearest).free
    detail = f"{free / 1024**3:.1f} GiB free at {nearest}"
    return Finding("disk", free >= LOW_SPACE, detail, "" if free >= LOW_SPACE else "Free some, or move GLOSSATOR_HOME: a job may need a few GiB.")


def _models(_found: Settings) -> Finding:
    """In a process of its own, because this one must not load torch."""
    code = f"import {', '.join(MODELS)}; print('cuda' if torch.cuda.is_available() else 'cpu')"
    try:
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=IMPORT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Finding(
            "models", False, f"importing {', '.join(MODELS)} took over {IMPORT_SECONDS} s", "Look at the disk: the first import reads gigabytes."
        )
    if ran.returncode == 0:
        return Finding("models", True, f"{', '.join(MODELS)} can be imported; device {ran.stdout.split()[-1]}")
    reason = ran.stderr.strip().splitlines()[-1] if ran.stderr.strip() else f"status {ran.returncode}"
    return Finding("models", False, reason, "Install what the gpu worker needs: pip install 'glossator[models]'.")


CHECKS: tuple[Callable[[Settings], Finding], ...] = (_versions, _database, _broker, _artifacts, _space, _models)
