"""Create the models that explainers and scorers ask, and hold a process's endpoints.

A call goes through these steps: recall its answer; join an identical call in flight; then, attempt by attempt, reserve budget, wait for the
concurrency limit, send, settle; at last record it. One client serves all jobs of a process and is used from one event loop.
"""

import json
import re
from functools import cache
from typing import TYPE_CHECKING

from interp.config.outgoing import OutgoingPolicy, Reach
from interp.domain.cleaning import one_line
from interp.domain.errors import EndpointRefusedError, EndpointUnreachableError
from interp.domain.spec import FILES, ExplainerSpec, ModelSpec
from interp.llm.attempts import AttemptLoop
from interp.llm.base import Ability
from interp.llm.cache_key import Namer, shown_url
from interp.llm.call_store import CallStore, Tag
from interp.llm.gather import CallsInFlight
from interp.llm.label_endpoint import ClientLabelEndpoint
from interp.llm.model import ClientModel
from interp.llm.pricing import rates_of
from interp.llm.transports.base import BatchEndpoint, ChatTransport
from interp.llm.transports.live import LiveTransport
from interp.llm.transports.retry import EXPLAIN

if TYPE_CHECKING:
    from interp.config.settings import Settings
    from interp.llm.transports.endpoint import Endpoint

MAX_URL = 200
OWN = "Leave base_url out to take the server's own, or have"
USER = re.compile(r"//.*@")


class LlmClient:
    """A factory of models for explainers and scorers; `close` ends the connections."""

    def __init__(self, settings: "Settings") -> None:
        policy = settings.llm_guard()
        self._settings, self._reach = settings, cache(lambda base_url, field="": reach_of(policy, base_url, field))
        self._endpoints: dict[str, Endpoint] = {}
        self._attempts: dict[tuple[str, str], AttemptLoop] = {}
        self._transports: dict[tuple[int, str], ChatTransport] = {}
        self._calls = CallsInFlight()

    def model(self, spec: ModelSpec, call_store: CallStore, tag: Tag, abilities: frozenset[Ability] = frozenset()) -> ClientModel:
        """Bind a model with probed `abilities` to a call store and a tag.

        Raises KeyRefusedError, EndpointUnreachableError and EndpointRefusedError for a key and a URL that cannot be sent or called at all.
        """
        base_url = self.base_url_of(spec)
        return ClientModel(
            spec=spec,
            base_url=base_url,
            call_store=call_store,
            tag=tag,
            abilities=abilities | ({Ability.LOGPROBS} if spec.logprobs else frozenset()),
            rates=rates_of(spec, base_url),
            namer=Namer(spec, base_url),
            attempts=self.attempts(spec),
            transport=self._transport(spec),
            in_flight=self._calls,
        )

    def label_endpoint(self, spec: ExplainerSpec, call_store: CallStore, tag: Tag) -> ClientLabelEndpoint:
        """Bind an explainer's endpoint to a call store and a tag; raises like `model`."""
        url = str(spec.url)
        base_url = url.rstrip("/")
        reach, settings = self._reach(url, "The explainer's url"), self._settings
        name = (base_url, f"{EXPLAIN} {spec.key_header} {spec.concurrency}")
        if name not in self._attempts:
            from interp.llm.transports.endpoint import Endpoint

            most = settings.llm_max_concurrent_calls
            made = Endpoint(base_url, settings.key_of(base_url), reach, settings.llm_max_reply_bytes, key_header=spec.key_header)
            self._endpoints[" ".join(name)] = made
            self._attempts[name] = AttemptLoop(made, EXPLAIN, shown_url(url), min(spec.concurrency or most, most), settings.llm_max_outage_seconds)
        return ClientLabelEndpoint(spec, url[len(base_url) :], call_store, tag, self._attempts[name], self._calls)

    def base_url_of(self, spec: ModelSpec) -> str:
        """Return a model's base URL; raises EndpointUnreachableError or, if not listed, EndpointRefusedError."""
        base_url = spec.endpoint(self._settings.llm_base_url)
        if base_url != FILES:
            self._reach(base_url)
        return base_url

    def endpoint(self, base_url: str) -> "Endpoint":
        """Return a base URL's endpoint and key; raises EndpointUnreachableError and EndpointRefusedError."""
        from interp.llm.transports.endpoint import Endpoint  # imports an HTTP client, which a process without calls does not need

        if base_url not in self._endpoints:
            settings = self._settings
            self._endpoints[base_url] = Endpoint(base_url, settings.key_of(base_url), self._reach(base_url), settings.llm_max_reply_bytes)
        return self._endpoints[base_url]

    def _asked(self, base_url: str) -> BatchEndpoint:
        """Return the endpoint of a base URL, or for FILES the artifact store."""
        if base_url != FILES:
            return self.endpoint(base_url)
        from interp.files.artifact_store import Store
        from interp.llm.transports.batch_files import BatchFiles

        settings = self._settings
        return BatchFiles(Store.of(settings.artifacts_url, settings.artifact_options, settings.home / "cache"))

    def attempts(self, spec: ModelSpec) -> AttemptLoop:
        """Return the limits and the breaker of a model at an endpoint."""
        base_url, settings = self.base_url_of(spec), self._settings
        name = (base_url, spec.model)
        if name not in self._attempts:
            self._attempts[name] = AttemptLoop(
                self._asked(base_url), spec.model, shown_url(base_url), settings.llm_max_concurrent_calls, settings.llm_max_outage_seconds
            )
        return self._attempts[name]

    async def close(self) -> None:
        for transport in self._transports.values():
            await transport.close()
        for endpoint in self._endpoints.values():
            await endpoint.close()
        self._transports.clear()
        self._endpoints.clear()
        self._attempts.clear()

    def _transport(self, spec: ModelSpec) -> ChatTransport:
        attempts = self.attempts(spec)
        name = (id(attempts), spec.transport)
        if name not in self._transports:
            if spec.transport == "live":
                self._transports[name] = LiveTransport(attempts.endpoint, attempts.quirks)
            else:
                from interp.llm.transports.batch_queue import BatchTransport

                self._transports[name] = BatchTransport(attempts.endpoint, attempts.quirks, self._settings.llm_batch_poll_interval_seconds)
        return self._transports[name]


def reach_of(guard: OutgoingPolicy, base_url: str, field: str = "") -> Reach:
    """Return the addresses for an endpoint, which a job names in `field`.

    Raises EndpointUnreachableError for a base URL that cannot be read, and EndpointRefusedError for one that is on no list.
    """
    shown = one_line(USER.sub("//", base_url.partition("?")[0]), MAX_URL)
    try:
        reach = guard.reach(base_url)
    except ValueError as error:
        what = f"The base URL {shown} cannot be called." if not field else f"{field} cannot be called: {shown}."
        raise EndpointUnreachableError(what, why=f"{one_line(str(error))}.", cure="Write it as https://host:port/v1.") from None
    if reach is None:
        has_own = not field or field.endswith("base_url")
        raise EndpointRefusedError(
            f"{field or 'The model'} names an endpoint that this server does not ask: {shown}.",
            why="Prompts go to endpoints that the server's settings name, and nowhere else.",
            cure=f"{OWN if has_own else 'Have'} the operator name it and start again: GLOSSATOR_LLM_ENDPOINTS='{json.dumps([shown])}'.",
        )
    return reach
