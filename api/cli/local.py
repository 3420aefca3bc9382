"""Read the local database in this process through the routes' functions, without FastAPI and HTTP."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from api.schemas.field_errors import field_errors
from interp.config.settings import Settings
from interp.domain.access import LOCAL
from interp.domain.errors import InputError
from interp.domain.lifecycle import JobStatus
from interp.domain.polarity import ADDRESS
from interp.store.db.engine import Engine, Session, snapshot, transaction
from interp.store.listings.queries import MAX_LIMIT

if TYPE_CHECKING:
    from api.reads.vocabularies import Vocabularies
    from interp.exchange.export import ExportPlan
    from interp.files.artifact_store import Store

log = logging.getLogger(__name__)

Body = dict[str, Any]
Arguments = TypeVar("Arguments", bound=BaseModel)


class FeatureOfRun(BaseModel):
    """A feature as a person writes it, and a run by its user-visible name."""

    index: str = Field(pattern=ADDRESS)
    run: str | None = Field(default=None, min_length=1, max_length=400)


class BatchFilters(BaseModel):
    """Filters of batches."""

    status: Literal["open", "ended"] | None = None


class Local:
    """`glossator.Client`'s reading methods on the local database; each imports what it needs."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings

    def estimate_job(self, spec: Mapping[str, Any]) -> Body:
        """Return the estimate of a job's language model calls; stores nothing."""
        from api.cli.output.progress import fetch_bar
        from api.jobs import admission
        from interp.domain.spec import JobSpec

        with fetch_bar() as progress:
            named = admission.with_features(JobSpec.model_validate(spec), self._engine)
            checked = admission.check(named, self._settings, progress)
        return _body(admission.estimate(checked, self._engine))

    def list_jobs(self, status: str | None = None, limit: int | None = None, owner: str | None = None) -> Iterator[Body]:
        from api.reads import jobs

        wanted = None if status is None else JobStatus(status)
        return self._pages(lambda session, cursor, size: jobs.jobs(session, wanted, cursor, size, owner), limit)

    def get_job(self, job_id: str) -> Body:
        from api.reads import jobs

        return self._read(lambda session: jobs.job(session, job_id))

    def list_webhook_deliveries(self, job_id: str, limit: int | None = None) -> Iterator[Body]:
        from api.reads import jobs

        return self._pages(lambda session, cursor, size: jobs.deliveries(session, job_id, cursor, size), limit)

    def get_job_usage(self, job_id: str) -> Body:
        from api.reads import jobs

        return self._read(lambda session: jobs.usage_of(session, job_id))

    def list_batches(self, job: str | None = None, status: str | None = None, limit: int | None = None) -> Iterator[Body]:
        from api.reads.llm import batches

        wanted = _validated(BatchFilters, status=status).status
        return self._pages(lambda session, cursor, size: batches.batches(session, self._store, job, wanted, cursor, size), limit)

    def stream_batch_requests(self, batch_id: str) -> Iterator[bytes]:
        from interp.llm.transports import batch_files

        return batch_files.blocks_of(self._store, batch_files.requests_of(batch_id))

    def put_batch_results(self, batch_id: str, path: Path) -> Body:
        from api.jobs.batch_results import receive
        from glossator.archive import blocks_of

        return _body(receive(self._engine, self._settings, batch_id, blocks_of(path, lambda _sent: None)))

    def list_dictionaries(self) -> Iterator[Body]:
        from api.reads import dictionaries

        return self._pages(dictionaries.dictionaries, None)

    def get_dictionary(self, dictionary: str) -> Body:
        from api.reads import dictionaries

        return self._read(lambda session: dictionaries.dictionary(session, dictionary))

    def get_dictionary_health(self, dictionary: str, run: str | None = None, against: Sequence[str] = ()) -> Body:
        from api.reads import health

        return self._read(lambda session: health.health(session, dictionary, run, against))

    def get_dictionary_league(self, dictionary: str, run: str | None = None) -> Body:
        from api.reads.curation import league

        return self._read(lambda session: league.table(session, dictionary, run))

    def get_dictionary_stability(self, dictionary: str, difference: float = 0.01) -> Body:
        from api.reads.curation import stability

        return self._read(lambda session: stability.stability(session, dictionary, difference))

    def list_features(self, dictionary: str, limit: int | None = None, **filters: Any) -> Iterator[Body]:
        from api.reads import dictionaries as reads

        def page(session: Session, cursor: str | None, size: int) -> BaseModel:
            return reads.features(session, dictionary, _validated(reads.FeatureFilters, **filters, cursor=cursor, limit=size))

        return self._pages(page, limit)

    def search_labels(self, limit: int | None = None, cursor: str | None = None, **filters: Any) -> Body:
        from api.reads.search import hits as reads
        from interp.store.listings.label_codes import LabelCodes

        wanted = _validated(reads.SearchFilters, limit=limit, cursor=cursor, **filters)
        return self._read(lambda session: reads.labels(session, wanted, LabelCodes()))

    def list_feature_lists(self, limit: int | None = None, owner: str | None = None) -> Iterator[Body]:
        from api.reads.curation import lists

        return self._pages(lambda session, cursor, size: lists.lists(session, owner, cursor, size), limit)

    def get_feature_list(self, reference: str | int) -> Body:
        from api.reads.curation import lists

        return self._read(lambda session: lists.one(session, str(reference)))

    def list_listed_features(self, reference: str | int, limit: int | None = None) -> Iterator[Body]:
        from api.reads.curation import lists

        return self._pages(lambda session, cursor, size: lists.features(session, str(reference), cursor, size), limit)

    def create_feature_list(self, name: str, features: Sequence[str] = (), description: str = "") -> Body:
        from api.reads.curation import lists
        from api.schemas.curation.lists import NewListRequest

        wanted = _validated(NewListRequest, name=name, features=features, description=description)
        return self._write(lambda session: lists.create(session, LOCAL, wanted))

    def change_feature_list(
        self, reference: str | int, add: Sequence[str] = (), remove: Sequence[str] = (), name: str | None = None, description: str | None = None
    ) -> Body:
        from api.reads.curation import lists
        from api.schemas.curation.lists import ListChangeRequest

        wanted = _validated(ListChangeRequest, add=add, remove=remove, name=name, description=description)
        return self._write(lambda session: lists.change(session, LOCAL, str(reference), wanted))

    def delete_feature_list(self, reference: str | int) -> Body:
        from api.reads.curation import lists

        return self._write(lambda session: lists.delete(session, LOCAL, str(reference)))

    def list_runs(self, dictionary: str | None = None, limit: int | None = None) -> Iterator[Body]:
        from api.reads import runs

        return self._pages(lambda session, cursor, size: runs.runs(session, dictionary, cursor, size), limit)

    def pin_current_run(self, dictionary: str, run: str) -> Body:
        from api.reads import runs

        return self._write(lambda session: runs.pin(session, dictionary, run))

    def unpin_current_run(self, dictionary: str) -> Body:
        from api.reads import runs

        return self._write(lambda session: runs.unpin(session, dictionary))

    def get_feature(self, dictionary: str, index: int | str, items: bool = False, run: str | None = None) -> Body:
        from api.reads import features

        of = _validated(FeatureOfRun, index=str(index), run=run)
        return self._read(lambda session: features.feature(session, self._vocabularies, dictionary, of.index, of.run, items))

    def get_feature_provenance(self, dictionary: str, index: int | str, run: str | None = None) -> Body:
        from api.reads import provenance

        of = _validated(FeatureOfRun, index=str(index), run=run)
        return self._read(lambda session: provenance.provenance(session, self._vocabularies, dictionary, of.index, of.run))

    def list_explanations(self, limit: int | None = None, **filters: Any) -> Iterator[Body]:
        from api.reads import explanations as reads

        def page(session: Session, cursor: str | None, size: int) -> BaseModel:
            return reads.explanations(session, _validated(reads.ExplanationFilters, **filters, cursor=cursor, limit=size))

        return self._pages(page, limit)

    def stream_features(self, dictionary: str, form: str, **filters: Any) -> Iterator[bytes]:
        """Yield all features that match, in a format that is one file."""
        from interp.exchange.formats.base import Portions
        from interp.exchange.read import portions

        plan, _ = self._plan(dictionary=dictionary, format=form, **filters)
        read: Portions = portions(self._engine, plan.query)
        return (piece.content for piece in plan.format.write(plan.source, read, plan.query.parts, plan.options))

    def export(self, request: Mapping[str, Any], output: Path, progress: Callable[[int, int | None], None]) -> Body:
        """Write an export and return its manifest.

        `progress` gets the features done and their total.
        """
        from interp.exchange import export

        plan, total = self._plan(**request)
        write = export.to_folder if plan.format.facts.is_folder else export.to_file
        return write(plan, self._engine, output, lambda done: progress(done, total))

    def _plan(self, **request: Any) -> "tuple[ExportPlan, int | None]":
        from interp.exchange.request import ExportRequest, plan_of, total_of

        asked = _validated(ExportRequest, **request)
        with snapshot(self._engine) as session:
            plan = plan_of(session, asked)
            return plan, total_of(session, plan)

    @cached_property
    def _vocabularies(self) -> "Vocabularies":
        from api.reads.vocabularies import Vocabularies

        return Vocabularies()

    @cached_property
    def _store(self) -> "Store":
        from workers.artifact_paths import store_of

        return store_of(self._settings)

    def _read(self, answer: Callable[[Session], BaseModel]) -> Body:
        with snapshot(self._engine) as session:
            return _body(answer(session))

    def _write(self, change: Callable[[Session], BaseModel]) -> Body:
        with transaction(self._engine) as session:
            return _body(change(session))

    def _pages(self, page: Callable[[Session, str | None, int], BaseModel], limit: int | None) -> Iterator[Body]:
        """Yield all rows of a listing, or the first `limit` rows."""
        cursor: str | None = None
        while limit is None or limit > 0:
            size = MAX_LIMIT if limit is None else min(MAX_LIMIT, limit)
            with snapshot(self._engine) as session:
                found = _body(page(session, cursor, size))
            yield from found["items"]
            for row in found.get("unreadable", ()):
                log.warning("A row cannot be shown: %s (%s)", row["id"], row["why"])
            limit = None if limit is None else limit - len(found["items"])
            cursor = found["next_cursor"]
            if cursor is None:
                return


def _body(answer: BaseModel) -> Body:
    """Return the answer as JSON content, as the API's client returns it."""
    found: Body = json.loads(answer.model_dump_json())
    return found


def _validated(kind: type[Arguments], **given: Any) -> Arguments:
    """Return the arguments that are not None, validated as by the API; raises InputError."""
    try:
        return kind.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        found = field_errors(error.errors(), kind)
        cure = "Correct what is named; `--help` lists every option."
        raise InputError("; ".join(f"{item.field}: {item.message}" for item in found), cure=cure) from error
