"""`glossator import`: evidence and human labels that other tools recorded."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.commands.submit import assignments, read_spec
from api.cli.output.console import out, print_json, say
from interp.config.settings import settings
from interp.domain.cleaning import visible
from interp.domain.errors import InputError

if TYPE_CHECKING:
    from interp.store.db.engine import Session
    from interp.store.results.imports import ImportedRun


def import_records(
    folder: Annotated[Path, typer.Argument(help="Activation records in the form of feature-circuits: *contexts.json, annotations.jsonl.")],
    subject: Annotated[str, typer.Option(min=1, help="The model that was recorded: the first part of the dictionaries' names.")],
    author: Annotated[str | None, typer.Option(help="Who wrote the labels that name no author.")] = None,
    explainer: Annotated[list[str] | None, typer.Option(help="Submit a job on each run, with this explainer; repeat for more.")] = None,
    scorer: Annotated[list[str] | None, typer.Option(help="A scorer of that job; repeat for more.")] = None,
    change: Annotated[list[str] | None, typer.Option("--set", help="Any other setting of that job: models.explainer.name=...")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Import activation records and human labels as runs, into the database of the settings.

    Statistics that records do not have are null. A job on the records needs neither model nor corpus; workers of `glossator serve` do it.
    """
    found = settings()
    place = str(folder.resolve())
    # Imported here: NumPy and SQLAlchemy take half a second.
    from interp.config.home import make_home
    from interp.corpus import feature_records
    from interp.security import allowed_files
    from interp.store import migrate
    from interp.store.db.engine import make_engine, transaction
    from interp.store.results import imports

    # The operator names the folder, and no job.
    with allowed_files.within(allowed_files.Roots((place,))):
        records = feature_records.read(Path(place))
    if found.is_alone:
        make_home(found.home)
        migrate.upgrade(found.database_url)
    engine = make_engine(found.database_url)
    try:
        with transaction(engine) as session:
            written = imports.save(session, records, subject, place, author)
            jobs = {run.name: _submit(session, run, place, explainer, scorer, change) for run in written if explainer and run.features}
    finally:
        engine.dispose()
    if as_json:
        print_json([{"run": run.name, "features": list(run.features), "labels": run.labels, "job": jobs.get(run.name)} for run in written])
        return
    for run in written:
        out.print(f"{visible(run.name)}: {len(run.features)} features with contexts, {run.labels} labels{_job(jobs.get(run.name))}", markup=False)
    if records.unread:
        say(f"{records.unread} lines of {feature_records.LABELS} name no feature, or one that has a label, and were left out.")


def _submit(
    session: "Session", run: "ImportedRun", folder: str, explainers: list[str] | None, scorers: list[str] | None, change: list[str] | None
) -> str:
    """Write a job on a run's features that have contexts, and return its id."""
    from interp.planning.plan import Sizes, plan, ranges_of
    from interp.store.queue import jobs

    given: dict[str, Any] = {
        "subject.model": folder,
        "dictionary.source": folder,
        "corpus.path": folder,
        "dictionary.name": run.name.rpartition("/")[0],
    }
    given |= {"features": ",".join(map(str, run.features)), "explainers": explainers, "scorers": scorers or []}
    spec, sizes = read_spec(None, given | assignments(change)), settings()
    if "random_weights" in spec.controls:
        raise InputError("Imported records have no random_weights control.", why="It runs a model.", cure="Leave it out of controls.")
    plans = plan(ranges_of(run.features), [], [], None, bool(spec.scorers), Sizes(sizes.merge_chunk_features, sizes.explain_chunk_features))
    return jobs.submit_on_run(session, spec, run.dictionary_id, run.id, plans).id


def _job(job_id: str | None) -> str:
    return "" if job_id is None else f", job {job_id}"
