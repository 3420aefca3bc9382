"""`glossator serve`, `glossator worker` and `glossator db`: run processes, maintain the database."""

from typing import Annotated

import typer

from api.cli.output.console import out, print_json, thousands
from interp.config.home import make_home
from interp.config.settings import Settings, settings
from interp.domain.lifecycle import Queue
from interp.observability import logs, traces
from interp.observability.import_time import without_collecting

log = logs.get_logger(__name__)

database = typer.Typer(no_args_is_help=True, help="The database's tables.", add_completion=False, rich_markup_mode=None)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = None,
    workers: Annotated[bool, typer.Option("--workers/--no-workers", help="Start workers as child processes.")] = True,
    i_know_there_is_no_login: Annotated[
        bool, typer.Option("--i-know-there-is-no-login", help="Listen where other machines reach the API, though anyone may do anything there.")
    ] = False,
) -> None:
    """Serve the REST API, with its own workers. Unfinished jobs continue."""
    # The folders that jobs may read depend on the listening address.
    given = {"host": host, "i_know_there_is_no_login": i_know_there_is_no_login or None}
    found = settings().model_copy(update={name: value for name, value in given.items() if value is not None})
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
        out.print(f"Glossator is listening on {service.url}  (REST: {service.url}/docs, data: {found.home})")
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
