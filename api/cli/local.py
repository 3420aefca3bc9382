"""Read the local database in this process through the routes' functions, without FastAPI and HTTP."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from api.schemas.field_errors import field_errors
from interp.config.settings import Settings
from interp.domain.errors import InputError
from interp.domain.lifecycle import JobStatus
from interp.domain.polarity import ADDRESS
from interp.store.db.engine import Engine, Session, snapshot, transaction
from interp.store.listings.queries import MAX_LIMIT

if TYPE_CHECKING:
    from api.reads.vocabularies import Vocabularies

log = logging.getLogger(__name__)

Body = dict[str, Any]
Arguments = TypeVar("Arguments", bound=BaseModel)


class FeatureOfRun(BaseModel):
    """A feature as a person writes it, and a run by its user-visible name."""

    index: str = Field(pattern=ADDRESS)
    run: str | None = Field(default=None, min_length=1, max_length=400)


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
            checked = admission.check(JobSpec.model_validate(spec), self._settings, progress)
        return _body(admission.estimate(checked, self._engine))

    def list_jobs(self, status: str | None = None, limit: int | None = None) -> Iterator[Body]:
        from api.reads import jobs

        wanted = None if status is None else JobStatus(status)
        return self._pages(lambda session, cursor, size: jobs.jobs(session, wanted, cursor, size), limit)

    def get_job(self, job_id: str) -> Body:
        from api.reads import jobs

        return self._read(lambda session: jobs.job(session, job_id))

    def list_webhook_deliveries(self, job_id: str, limit: int | None = None) -> Iterator[Body]:
        from api.reads import jobs

        return self._pages(lambda session, cursor, size: jobs.deliveries(session, job_id, cursor, size), limit)

    def get_job_usage(self, job_id: str) -> Body:
        from api.reads import jobs

        return self._read(lambda session: jobs.usage_of(session, job_id))

    def list_dictionaries(self) -> Iterator[Body]:
        from api.reads import dictionaries

        return self._pages(dictionaries.dictionaries, None)

    def list_features(self, dictionary: str, limit: int | None = None, **filters: Any) -> Iterator[Body]:
        from api.reads import dictionaries as reads

        def page(session: Session, cursor: str | None, size: int) -> BaseModel:
            return reads.features(session, dictionary, _validated(reads.FeatureFilters, **filters, cursor=cursor, limit=size))

        return self._pages(page, limit)

    def list_runs(self, dictionary: str | None = None, limit: int | None = None) -> Iterator[Body]:
        from api.reads import runs

        return self._pages(lambda session, cursor, size: runs.runs(session, dictionary, cursor, size), limit)

    def pin_current_run(self, dictionary: str, run: str) -> Body:
        from api.reads import runs

        with transaction(self._engine) as session:
            return _body(runs.pin(session, dictionary, run))

    def unpin_current_run(self, dictionary: str) -> Body:
        from api.reads import runs

        with transaction(self._engine) as session:
            return _body(runs.unpin(session, dictionary))

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

    @cached_property
    def _vocabularies(self) -> "Vocabularies":
        from api.reads.vocabularies import Vocabularies

        return Vocabularies()

    def _read(self, answer: Callable[[Session], BaseModel]) -> Body:
        with snapshot(self._engine) as session:
            return _body(answer(session))

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
