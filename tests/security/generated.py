"""Requests made from the OpenAPI document: single ones that fit it or break it, and sequences that go on with what earlier answers named."""

import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st
from hypothesis.errors import Flaky, Unsatisfiable
from schemathesis.generation import GenerationMode

from api.app import create_app
from api.demo.servers import POSTGRES, own
from benches.in_process import in_process
from interp.config.settings import Settings
from interp.domain.errors import ServerMissingError
from interp.store import migrate
from interp.store.db.engine import make_engine
from tests.api import synthetic
from tests.security.test_requests import SPEC

HOST = {"Host": "localhost"}


@schemathesis.serializer("application/jsonl")
def jsonl(_context: Any, value: Any) -> bytes:
    """Sends a body of JSON Lines as it was drawn."""
    return value if isinstance(value, bytes) else str(getattr(value, "data", value)).encode("utf-8", "surrogatepass")


# Of the requests these are sequences, of so many steps each.
SEQUENCES, STEPS, AT_A_TIME = 0.25, 6, 16
MOST_SECONDS = 5.0
JOBS = 3


@dataclass
class Tally:
    """What became of requests: answers by status, how long the longest took (seconds of CPU), and those that were no answer.

    `asked` are the operations that had a request, `missed` those of the document that had none.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    asked: set[str] = field(default_factory=set)
    missed: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    longest: float = 0.0

    @property
    def requests(self) -> int:
        return sum(self.statuses.values())

    def of_class(self, first: int) -> int:
        """How many answers have a status of 2xx, 4xx or 5xx."""
        return sum(count for status, count in self.statuses.items() if status // 100 == first)

    def call(self, case: Any) -> Any:
        """Sends one request, and looks at its answer."""
        self.asked.add(case.operation.label)
        began = time.process_time()
        try:
            answer = case.call(headers={**(case.headers or {}), **HOST})
        except Exception as error:
            self.statuses[599] += 1
            self.faults.append(f"{case.method} {case.formatted_path}: {type(error).__name__}: {error}")
            hypothesis.reject()
        seconds = time.process_time() - began
        self.longest = max(self.longest, seconds)
        self.statuses[answer.status_code] += 1
        if fault := _fault(answer, seconds):
            self.faults.append(f"{case.method} {case.formatted_path} {case.query} {str(case.body)[:500]}: {fault}")
        return answer


def attack(settings: Settings, requests: int, seed: int) -> Tally:
    """Sends about so many requests to an app on the database of `settings`, which has been upgraded. The seed decides which."""
    # Streams of events end at once: nobody waits for a job that no worker does.
    app = create_app(settings, is_stopping=lambda: True)
    with in_process(app) as client:
        for number in range(JOBS):
            client.submit_job(SPEC | {"seed": number})
    # /readyz takes nothing, and says by a 503 that a machine is too busy for its looks.
    # The first key closes the service: all requests after it would be answered by 401.
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=HOST).exclude(path="/readyz").exclude(operation_id="create_key")
    tally = Tally()
    operations = [found.ok() for found in schema.get_all_operations()]
    strategies = [operation.as_strategy(generation_mode=mode) for operation in operations for mode in _modes(operation)]
    for cases in strategies:
        _single(tally, cases, round(requests * (1 - SEQUENCES) / len(strategies)), seed)
    _sequences(tally, schema, tally.requests + round(requests * SEQUENCES), seed)
    tally.missed = {f"{method.upper()} {path}" for path, of_path in app.openapi()["paths"].items() for method in of_path} - tally.asked
    return tally


def attack_both(requests: int, seed: int) -> dict[str, Tally]:
    """Half of the requests to a book in each database, by the database's name; all of them to SQLite where PostgreSQL is not to be had."""
    with ExitStack() as stack:
        urls = {"sqlite": ""}
        try:
            urls["postgresql"] = stack.enter_context(own(POSTGRES)).url
        except ServerMissingError as error:
            print(f"PostgreSQL is not attacked: {error}")
        return {name: _attack_book(url, requests // len(urls), seed) for name, url in urls.items()}


def _attack_book(url: str, requests: int, seed: int) -> Tally:
    with tempfile.TemporaryDirectory(prefix="glossator-requests-") as folder:
        settings = Settings(home=Path(folder), database_url=url)
        migrate.upgrade(settings.database_url)
        engine = make_engine(settings.database_url)
        synthetic.fill(engine)
        engine.dispose()
        return attack(settings, requests, seed)


def _modes(operation: Any) -> list[GenerationMode]:
    """What fits the document, and what breaks it: of a body and a query. There is next to nothing that could not stand in a path."""
    return list(GenerationMode) if operation.body or operation.query else [GenerationMode.POSITIVE]


def _limits(examples: int, **others: Any) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=max(1, examples),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        **others,
    )


def _single(tally: Tally, cases: st.SearchStrategy[Any], examples: int, seed: int) -> None:
    @hypothesis.seed(seed)
    @_limits(examples)
    @given(cases)
    def send(case: Any) -> None:
        tally.call(case)

    with suppress(Unsatisfiable):  # Every one of its requests was a fault, and is told as such.
        send()


def _sequences(tally: Tally, schema: Any, requests: int, seed: int) -> None:
    """Goes on until there are so many requests, some sequences at a time.

    Hypothesis wants the same answers each time, and calls it flaky that a job which was listed before has been cancelled since.
    """

    class Sequence(schema.as_state_machine()):  # type: ignore[misc]
        def call(self, case: Any, **_: Any) -> Any:
            return tally.call(case)

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            """Each answer was looked at when it came."""

    for number in range(requests):
        if tally.requests >= requests:
            return
        hypothesis.seed(seed + number)(Sequence)
        with suppress(Flaky, Unsatisfiable):
            Sequence.run(settings=_limits(AT_A_TIME, stateful_step_count=STEPS))


def _fault(answer: Any, seconds: float) -> str:
    kind = answer.headers.get("content-type", [""])[0]
    if answer.status_code >= 500:
        return f"{answer.status_code} {answer.text[:500]}"
    if answer.status_code >= 400 and kind != "application/problem+json":
        return f"{answer.status_code} of type {kind}"
    return f"{seconds:.1f} s of CPU" if seconds > MOST_SECONDS else ""
