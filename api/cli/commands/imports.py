"""`glossator import`: evidence and human labels that other tools recorded."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.commands.submit import assignments, read_spec
from api.cli.output.console import out, print_json, say
from interp.config.settings import settings
from interp.domain.cleaning import visible
from interp.domain.errors import InputError

if TYPE_CHECKING:
    from interp.exchange.labels import ImportedLabels
    from interp.store.db.engine import Engine, Session
    from interp.store.results.imports import ImportedRun


def import_records(
    folder: Annotated[
        Path,
        typer.Argument(help="A folder of records (*contexts.json, batch-*.json, neurons), labels (.csv, .jsonl, .jsonl.gz), or results of Delphi."),
    ],
    subject: Annotated[str | None, typer.Option(min=1, help="The model that was recorded, where the records don't name it.")] = None,
    dictionary: Annotated[str | None, typer.Option(help="The dictionary whose features a file of labels is of.")] = None,
    run: Annotated[str | None, typer.Option(help="Its run, the current one when not given.")] = None,
    author: Annotated[str | None, typer.Option(help="Who wrote the labels that name no author.")] = None,
    explainer: Annotated[list[str] | None, typer.Option(help="Submit a job on each run, with this explainer; repeat for more.")] = None,
    scorer: Annotated[list[str] | None, typer.Option(help="A scorer of that job; repeat for more.")] = None,
    change: Annotated[list[str] | None, typer.Option("--set", help="Any other setting of that job: models.explainer.name=...")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Import activation records and human labels as runs, into the database of the settings.

    Statistics that records do not have are null. A job on the records needs neither model nor corpus; workers of `glossator serve` do it.
    """
    if dictionary is not None:
        _import_labels(folder, dictionary, run, author, as_json)
        return
    if subject is None and not folder.is_dir():
        raise InputError("Nothing says what is imported.", cure="Give --subject with a folder of records, or --dictionary with a file of labels.")
    found = settings()
    place = str(folder.resolve())
    # Imported here: NumPy and SQLAlchemy take half a second.
    from interp.config.home import make_home
    from interp.corpus import record_forms
    from interp.exchange import delphi_results
    from interp.security import allowed_files
    from interp.store import migrate
    from interp.store.db.engine import make_engine, transaction
    from interp.store.results import imports
    from workers.label_vectors import embed_texts

    # The operator names the folder, and no job.
    with allowed_files.within(allowed_files.Roots((place,))):
        records = record_forms.read(Path(place))
    model = subject or records.model
    if model is None:
        raise InputError("The records name no model.", cure="Give it with --subject.")
    if found.is_alone:
        make_home(found.home)
        migrate.upgrade(found.database_url)
    engine = make_engine(found.database_url)
    try:
        with transaction(engine) as session:
            written = imports.save(session, records, model, place, author)
            of_delphi = [one for one in written if delphi_results.has_module(Path(place), one.hook_point)]
            labelled = {one.name: _delphi_labels(session, one, Path(place)) for one in of_delphi}
            jobs = {one.name: _submit(session, one, place, explainer, scorer, change) for one in written if explainer and one.features}
        embed_texts(engine, [label.text for one in records.dictionaries for label in one.labels])
        written = [replace(one, labels=one.labels + labelled.get(one.name, 0)) for one in written]
    finally:
        engine.dispose()
    if as_json:
        print_json([{"run": one.name, "features": list(one.features), "labels": one.labels, "job": jobs.get(one.name)} for one in written])
        return
    for one in written:
        out.print(f"{visible(one.name)}: {len(one.features)} features with contexts, {one.labels} labels{_job(jobs.get(one.name))}", markup=False)
    if records.unread:
        say(f"{records.unread} labels name no feature or one that has a label, or have no text, and were left out.")


def _delphi_labels(session: "Session", run: "ImportedRun", folder: Path) -> int:
    """Write the explanations and reported scores of Delphi's results beside its latents; return how many."""
    from interp.exchange import delphi_results
    from interp.security import allowed_files
    from interp.store.results import labels

    with allowed_files.within(allowed_files.Roots((str(folder),))):
        found = delphi_results.read(folder, run.hook_point)
    texts = [(label.feature, label.text, label.method, label.author) for label in found.labels]
    return labels.save(session, run.id, texts, found.digest, folder.name, found.reported)


def _import_labels(file: Path, dictionary: str, run: str | None, author: str | None, as_json: bool) -> None:
    """Write a file's labels as explanations of a dictionary's features."""
    from interp.store.db.engine import make_engine, transaction
    from interp.store.listings import queries
    from interp.store.results import labels, runs

    engine = make_engine(settings().database_url)
    try:
        found = _labels(engine, file, dictionary)
        with transaction(engine) as session:
            row = queries.dictionary(session, dictionary)
            of = runs.shown(session, row, run)
            read_labels = [(label.feature, label.text, label.method, label.author or author) for label in found.labels]
            written = labels.save(session, of.id, read_labels, found.digest, file.name, found.reported)
            name = f"{row.name}/{of.number}"
    finally:
        engine.dispose()
    if as_json:
        print_json({"run": name, "labels": written, "unread": found.unread, "source_digest": found.digest})
        return
    out.print(f"{visible(name)}: {written} labels", markup=False)
    if found.unread:
        say(f"{found.unread} rows name no feature or have no text, and were left out.")


def _labels(engine: "Engine", file: Path, dictionary: str) -> "ImportedLabels":
    """Read a file of labels, or a folder of Delphi's results of the dictionary's module."""
    from interp.exchange import delphi_results
    from interp.exchange.labels import read
    from interp.security import allowed_files
    from interp.store.db.engine import snapshot
    from interp.store.listings import queries

    if not delphi_results.is_results(file):
        return read(file)
    with snapshot(engine) as session:
        hook_point = queries.dictionary(session, dictionary).hook_point
    folder = file.resolve()
    with allowed_files.within(allowed_files.Roots((str(folder),))):
        return delphi_results.read(folder, hook_point)


def _submit(
    session: "Session", run: "ImportedRun", folder: str, explainers: list[str] | None, scorers: list[str] | None, change: list[str] | None
) -> str:
    """Write a job on a run's features that have contexts, and return its id."""
    from interp.domain.lifecycle import Stage
    from interp.planning.plan import AskedFeatures, Sizes, plan, ranges_of
    from interp.planning.settings_digest import stages_of, trials_of
    from interp.store.queue import jobs

    given: dict[str, Any] = {
        "subject.model": folder,
        "dictionary.source": folder,
        "corpus.path": folder,
        "dictionary.name": run.name.rpartition("/")[0],
    }
    given |= {"features": ",".join(map(str, run.features)), "explainers": explainers, "scorers": scorers or []}
    spec, sizes = read_spec(None, given | assignments(change)), settings()
    for control in ("random_weights", "random_dictionary"):
        if control in spec.controls:
            raise InputError(f"Imported records have no {control} control.", why="It runs a model.", cure="Leave it out of controls.")
    asked = AskedFeatures(ranges_of(run.features))
    if spec.health is not None:
        raise InputError("Imported records have no health report.", why="It runs a model.", cure="Leave out health.")
    if Stage.PROBE in stages_of(spec):
        raise InputError("Imported records have no model to run texts through.", why="A scorer of the job does.", cure="Leave out generation.")
    if trials_of(spec):
        raise InputError("Imported records have no model to run texts through.", why="An explainer does.", cure="Leave out agent, token_change.")
    plans = plan([asked], [], None, stages_of(spec), Sizes(sizes.merge_chunk_features, sizes.explain_chunk_features))
    return jobs.submit_on_run(session, spec, run.dictionary_id, run.id, plans).id


def _job(job_id: str | None) -> str:
    return "" if job_id is None else f", job {job_id}"
