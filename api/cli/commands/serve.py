"""`glossator serve`, `glossator worker` and `glossator db`: run processes, maintain the database."""

import gc
import webbrowser
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from api.cli.output.console import out, print_json, thousands
from api.cli.output.transfer import size_of, transfer_bars
from interp.config.home import make_home
from interp.config.settings import Settings, settings
from interp.domain.errors import SettingsInvalidError
from interp.domain.lifecycle import Queue
from interp.observability import logs, traces
from interp.observability.import_time import without_collecting

log = logs.get_logger(__name__)

database = typer.Typer(no_args_is_help=True, help="The database's tables.", add_completion=False, rich_markup_mode=None)


def _refuse_old_option(given: bool) -> None:
    if given:
        raise SettingsInvalidError(
            "There is no --i-know-there-is-no-login any more.",
            why="A server that other machines reach needs a key.",
            cure="Leave it out, and make a key with `glossator keys create`.",
        )


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = None,
    workers: Annotated[bool, typer.Option("--workers/--no-workers", help="Start workers as child processes.")] = True,
    opens: Annotated[bool, typer.Option("--open", help="Open the pages in this machine's browser.")] = False,
    _no_login: Annotated[bool, typer.Option("--i-know-there-is-no-login", hidden=True, callback=_refuse_old_option)] = False,
) -> None:
    """Serve pages and the REST API, with its own workers. Unfinished jobs continue."""
    # The folders that jobs may read depend on the listening address.
    found = settings() if host is None else settings().model_copy(update={"host": host})
    # Imported after the check of the settings: uvicorn and Celery take half a second.
    with without_collecting():
        from api.server import Service, end_process
        from workers.wakeup import broker_fault

    if found.is_alone:
        make_home(found.home)
    if fault := broker_fault(found):
        raise fault
    logs.configure(found, "api")
    traces.configure(found, "api", "api")
    with Service(found, found.host, found.port if port is None else port, workers) as service:
        out.print(f"Glossator is listening on {service.url}  (pages: {service.url}/, REST: {service.url}/docs, data: {found.home})")
        if not service.has_keys:
            out.print("There are no keys: whoever uses this machine may do anything. `glossator keys create` makes one, and closes the service.")
        if opens and not webbrowser.open(f"{service.url}/"):
            out.print(f"No browser was found: open {service.url}/ yourself.")
        # What the start has made stays, so the garbage collector need not scan it.
        gc.freeze()
        service.wait()
        log.info("stopping: workers return their chunks")
    end_process()


def worker(
    queue: Annotated[Queue, typer.Argument(help="gpu opens models and collects; llm explains and scores; upkeep takes back what dead workers held.")],
    name: Annotated[str | None, typer.Option(help="Name in the log.")] = None,
) -> None:
    """Run one worker of one queue, beside `glossator serve --no-workers` or on another machine."""
    found = settings()  # Raises SettingsInvalidError before a second of imports.
    _check_installation(found)
    with without_collecting():
        from workers.process import main

    main(queue, name)


def _check_installation(found: Settings) -> None:
    """Check what a worker needs at its start; later it tolerates outages.

    Raises HomeUnusableError, DatabaseUnfitError, BrokerUnreachableError, and the driver's error for a database that does not answer.
    """
    from interp.store.db import revision
    from interp.store.db.engine import make_engine
    from workers.wakeup import broker_fault

    if found.is_alone:
        make_home(found.home)
    engine = make_engine(found.database_url)
    try:
        revision.check(engine)
    finally:
        engine.dispose()
    if fault := broker_fault(found):
        raise fault


@database.command()
def upgrade() -> None:
    """Upgrade the database's tables to this version."""
    found = settings()
    from interp.store import migrate

    if found.is_alone:
        make_home(found.home)
    migrate.upgrade(found.database_url)
    out.print("The database is at this version.")


@database.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing: say what would go.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Delete what has passed GLOSSATOR_RETAIN_..._DAYS, as upkeep does hourly; evidence, explanations and scores stay."""
    found = settings()
    # Imported here: it needs Celery's settings and an artifact store's driver.
    from interp.store.db import revision
    from interp.store.db.engine import make_engine
    from workers.maintenance.cleanup import prune as forget

    if found.is_alone:
        make_home(found.home)
    engine = make_engine(found.database_url)
    try:
        revision.check(engine)
        counts = forget(engine, found, dry_run)
    finally:
        engine.dispose()
    if as_json:
        print_json(counts)
        return
    for name, count in counts.items():
        out.print(f"{thousands(count):>12} {name} {'would go' if dry_run else 'gone'}")


@database.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder; a service starts on it with GLOSSATOR_HOME.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Copy an embedded service, which may run, into a new home."""
    found = settings()
    from interp.store.backup import back_up

    with transfer_bars() as bars:
        bar = bars.add_task("artifacts", total=None)
        copied = back_up(found, folder.absolute(), lambda done, total: bars.update(bar, completed=done, total=total))
    if as_json:
        print_json(asdict(copied))
        return
    out.print(
        f"The database ({size_of(copied.database_bytes)}) and {thousands(copied.files)} artifacts ({size_of(copied.file_bytes)}) are in {folder}."
    )
    out.print(f"To start a service on it: GLOSSATOR_HOME={folder} glossator serve")


@database.command()
def embed(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Embed the labels that search by meaning does not know yet."""
    found = settings()
    from rich.progress import Progress

    from api.cli.output.console import err
    from interp.store.db import revision
    from interp.store.db.engine import make_engine
    from workers.label_vectors import embed_listed

    if found.is_alone:
        make_home(found.home)
    engine, done = make_engine(found.database_url), 0
    try:
        revision.check(engine)
        with Progress(console=err, transient=True) as bar:
            task = bar.add_task("labels", total=None)
            for done, total in embed_listed(engine):
                bar.update(task, completed=done, total=total)
    finally:
        engine.dispose()
    if as_json:
        print_json({"labels": done})
        return
    out.print(f"{thousands(done)} labels embedded.")
