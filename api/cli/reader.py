"""What commands read with: a client of a server, or the local database in this process."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from interp.domain.cleaning import one_line

log = logging.getLogger(__name__)

Body = dict[str, Any]
PAGE = 500


class Reader(Protocol):
    """What can be asked without a worker, as the REST API answers it. Methods raise GlossatorError for what the API refuses."""

    def estimate_job(self, spec: Mapping[str, Any]) -> Body: ...

    def list_jobs(self, status: str | None = None, limit: int | None = None) -> Iterator[Body]: ...

    def get_job(self, job_id: str) -> Body: ...

    def list_job_webhooks(self, job_id: str, limit: int | None = None) -> Iterator[Body]: ...

    def get_job_usage(self, job_id: str) -> Body: ...

    def list_dictionaries(self) -> Iterator[Body]: ...

    def list_features(self, dictionary: str, limit: int | None = None, **filters: Any) -> Iterator[Body]: ...

    def list_runs(self, dictionary: str | None = None, limit: int | None = None) -> Iterator[Body]: ...

    def get_run(self, dictionary: str, run: str) -> Body: ...

    def pin_current_run(self, dictionary: str, run: str) -> Body: ...

    def unpin_current_run(self, dictionary: str) -> Body: ...

    def get_feature(self, dictionary: str, index: int, items: bool = False, run: str | None = None) -> Body: ...

    def get_feature_provenance(self, dictionary: str, index: int, run: str | None = None) -> Body: ...

    def list_explanations(self, limit: int | None = None, **filters: Any) -> Iterator[Body]: ...


def paged(ask: Callable[[str | None, int], Body], limit: int | None) -> Iterator[Body]:
    """Every row of a listing, or the first `limit`: `ask` answers a cursor and a size with a page, when it is needed."""
    cursor: str | None = None
    left = limit
    while left is None or left > 0:
        page = ask(cursor, PAGE if left is None else min(PAGE, left))
        yield from page["items"]
        for row in page.get("unreadable", ()):
            log.warning("%s", one_line(f"A row of this listing cannot be shown: {row['id']} ({row['why']})"))
        left = None if left is None else left - len(page["items"])
        cursor = page["next_cursor"]
        if cursor is None:
            return
