"""Clients of the REST API: `Client` blocks, `AsyncClient` runs on an event loop."""

import os
from collections.abc import Callable, Coroutine
from functools import update_wrapper
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from glossator.errors import UnreachableError
from glossator.listings import AsyncListing, Listing
from glossator.operations import Operations
from glossator.retries import Retries
from glossator.session import NO_ANSWER, Session
from glossator.wire import AsyncWire, BlockingWire, run

DEFAULT_URL = "http://127.0.0.1:8420"
TIMEOUT = httpx.Timeout(60, connect=3)

P = ParamSpec("P")
T = TypeVar("T")


def blocking(operation: Callable[Concatenate[Operations, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate["Client", P], T]:
    """Return the method of Client that runs an operation."""

    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return run(operation(client._operations, *args, **kwargs))

    update_wrapper(method, operation)
    return method


def listing(operation: Callable[Concatenate[Operations, P], AsyncListing[T]]) -> Callable[Concatenate["Client", P], Listing[T]]:
    """Return the method of Client that iterates over a listing or a stream."""

    def method(client: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Listing[T]:
        return Listing(operation(client._operations, *args, **kwargs))

    update_wrapper(method, operation)
    return method


class Client:
    """A client of one server, GLOSSATOR_API_URL or this machine's by default.

    `key` is an API key, GLOSSATOR_API_KEY by default; a server on this machine needs none until one was made.
    Every method raises ApiError for a problem document, and UnreachableError where no Glossator server answers.
    """

    def __init__(
        self,
        url: str | None = None,
        transport: httpx.BaseTransport | None = None,
        *,
        key: str | None = None,
        timeout: httpx.Timeout | float = TIMEOUT,
        retries: Retries = Retries(),
    ) -> None:
        self.url = _url(url)
        try:
            http = httpx.Client(base_url=self.url, headers=_headers(key), timeout=timeout, transport=transport)
        except NO_ANSWER as error:
            raise _no_url(self.url, error) from error
        self._operations = Operations(Session(self.url, http, BlockingWire(http), retries))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    close = blocking(Operations.close)
    submit_job = blocking(Operations.submit_job)
    estimate_job = blocking(Operations.estimate_job)
    list_jobs = listing(Operations.list_jobs)
    get_job = blocking(Operations.get_job)
    cancel_job = blocking(Operations.cancel_job)
    pause_job = blocking(Operations.pause_job)
    resume_job = blocking(Operations.resume_job)
    retry_job = blocking(Operations.retry_job)
    upload_file = blocking(Operations.upload_file)
    join_files = blocking(Operations.join_files)
    list_files = listing(Operations.list_files)
    get_file = blocking(Operations.get_file)
    delete_file = blocking(Operations.delete_file)
    list_keys = listing(Operations.list_keys)
    create_key = blocking(Operations.create_key)
    get_own_key = blocking(Operations.get_own_key)
    get_key_usage = blocking(Operations.get_key_usage)
    set_key_quota = blocking(Operations.set_key_quota)
    revoke_key = blocking(Operations.revoke_key)
    list_audit_entries = listing(Operations.list_audit_entries)
    submit_check = blocking(Operations.submit_check)
    get_check = blocking(Operations.get_check)
    list_webhook_deliveries = listing(Operations.list_webhook_deliveries)
    get_job_usage = blocking(Operations.get_job_usage)
    list_job_calls = listing(Operations.list_job_calls)
    stream_job_events = listing(Operations.stream_job_events)
    wait = blocking(Operations.wait)
    list_dictionaries = listing(Operations.list_dictionaries)
    get_dictionary = blocking(Operations.get_dictionary)
    get_dictionary_figures = blocking(Operations.get_dictionary_figures)
    get_dictionary_league = blocking(Operations.get_dictionary_league)
    get_dictionary_stability = blocking(Operations.get_dictionary_stability)
    get_dictionary_map = blocking(Operations.get_dictionary_map)
    get_dictionary_health = blocking(Operations.get_dictionary_health)
    pin_current_run = blocking(Operations.pin_current_run)
    unpin_current_run = blocking(Operations.unpin_current_run)
    list_features = listing(Operations.list_features)
    stream_features = listing(Operations.stream_features)
    submit_export = blocking(Operations.submit_export)
    list_exports = listing(Operations.list_exports)
    get_export = blocking(Operations.get_export)
    delete_export = blocking(Operations.delete_export)
    get_export_content = blocking(Operations.get_export_content)
    list_batches = listing(Operations.list_batches)
    stream_batch_requests = listing(Operations.stream_batch_requests)
    put_batch_results = blocking(Operations.put_batch_results)
    create_review = blocking(Operations.create_review)
    list_reviews = listing(Operations.list_reviews)
    get_review_queue = blocking(Operations.get_review_queue)
    get_agreement = blocking(Operations.get_agreement)
    create_feature_list = blocking(Operations.create_feature_list)
    list_feature_lists = listing(Operations.list_feature_lists)
    get_feature_list = blocking(Operations.get_feature_list)
    list_listed_features = listing(Operations.list_listed_features)
    change_feature_list = blocking(Operations.change_feature_list)
    delete_feature_list = blocking(Operations.delete_feature_list)
    search_labels = blocking(Operations.search_labels)
    compute_activations = blocking(Operations.compute_activations)
    steer_text = blocking(Operations.steer_text)
    get_live_state = blocking(Operations.get_live_state)
    get_feature = blocking(Operations.get_feature)
    get_feature_provenance = blocking(Operations.get_feature_provenance)
    list_runs = listing(Operations.list_runs)
    get_run = blocking(Operations.get_run)
    list_explanations = listing(Operations.list_explanations)
    is_ready = blocking(Operations.is_ready)
    is_glossator = blocking(Operations.is_glossator)


class AsyncClient(Operations):
    """A client for programs on an event loop, with the methods of Client."""

    def __init__(
        self,
        url: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        key: str | None = None,
        timeout: httpx.Timeout | float = TIMEOUT,
        retries: Retries = Retries(),
    ) -> None:
        found = _url(url)
        try:
            http = httpx.AsyncClient(base_url=found, headers=_headers(key), timeout=timeout, transport=transport)
        except NO_ANSWER as error:
            raise _no_url(found, error) from error
        super().__init__(Session(found, http, AsyncWire(http), retries))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


def _url(url: str | None) -> str:
    return (url or os.environ.get("GLOSSATOR_API_URL") or DEFAULT_URL).rstrip("/")


def _headers(key: str | None) -> dict[str, str]:
    sent = key or os.environ.get("GLOSSATOR_API_KEY")
    return {"Authorization": f"Bearer {sent}"} if sent else {}


def _no_url(url: str, error: Exception) -> UnreachableError:
    return UnreachableError(f"No server answers at {url}.", str(error), "Start one with `glossator serve`, or set GLOSSATOR_API_URL to where one is.")
