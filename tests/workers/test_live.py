"""The model at hand: a real model behind the API, on both databases, with workers that die, wait and give way."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import Engine, select, update

from api.app import create_app
from api.server import Service
from benches import tiny
from benches.in_process import InProcess
from glossator import NO_RETRIES, ApiError, Client
from interp.config.settings import Settings
from interp.corpus.documents import index
from interp.domain.errors import InputError
from interp.domain.evidence import ACTIVE_KINDS
from interp.domain.lifecycle import Queue
from interp.domain.live import ActivationsWork
from interp.domain.spec import JobSpec
from interp.planning import preflight
from interp.planning.fingerprint import models_key
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import LiveRequestRow, RunRow
from interp.store.listings import feature_detail, queries
from interp.store.queue import jobs, live, workers
from tests import databases
from workers.live import LiveLane
from workers.runtime import Runtime
from workers.tasks.live import open_runs_of
from workers.tasks.model_cache import InWork, ModelCache, NoRoomError, model_cache_of
from workers.turns import Turns
from workers.worker import drain

NAME = "tiny@1-res"
DEADLINE = 60.0


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def runtime(request: pytest.FixtureRequest, tiny_job: JobSpec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A worker's runtime on a database in which the tiny job is complete."""
    folder = Path(tiny_job.subject.model).parent
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    settings = Settings(home=tmp_path_factory.mktemp("live"), database_url=url, roots=(folder,), lease_seconds=3600)
    databases.upgrade_and_empty(settings.database_url)
    found = Runtime.of(settings)
    with transaction(found.engine) as session:
        job = tiny_job.model_copy(update={"scorers": ()})
        jobs.submit(session, job, preflight.check(job))
    drain(found, Queue.GPU, Queue.LLM)
    yield found
    found.engine.dispose()


@contextmanager
def lane_of(runtime: Runtime, answer: Any = None) -> Iterator[Runtime]:
    """A worker process's live lane, known as a worker."""
    with transaction(runtime.engine) as session:
        workers.seen(session, runtime.owner, runtime.info)
    runtime.stopping.clear()
    lane = LiveLane(runtime, answer)
    lane.start()
    yield runtime
    runtime.stopping.set()
    lane.join()
    runtime.stopping.clear()


@pytest.fixture(scope="module")
def client(runtime: Runtime) -> Iterator[Client]:
    with Client("http://test", InProcess(create_app(runtime.settings)), retries=NO_RETRIES) as found:
        yield found


@pytest.fixture
def lane(runtime: Runtime) -> Iterator[Runtime]:
    with lane_of(runtime) as found:
        yield found


def rows(engine: Engine) -> list[LiveRequestRow]:
    with snapshot(engine) as session:
        return list(session.scalars(select(LiveRequestRow)))


def ask(runtime: Runtime, seconds: float = DEADLINE) -> str:
    """Writes a request, as the API does."""
    work = ActivationsWork(texts=("def value",), features=(1,), levels=(0.0,))
    with transaction(runtime.engine) as session:
        run = session.scalars(select(RunRow)).one()
        return live.submit(session, None, run.id, models_key(run.identity), work, seconds)


def take(runtime: Runtime, request_id: str) -> tuple[Any, Any]:
    with transaction(runtime.engine) as session:
        return live.take(session, request_id)


def test_a_document_of_the_corpus_has_its_evidence_to_the_last_bit(lane: Runtime, client: Client, tiny_job: JobSpec) -> None:
    with snapshot(lane.engine) as session:
        dictionary, run = queries.dictionary(session, NAME), session.scalars(select(RunRow)).one()
        every = {index: feature_detail.read(session, dictionary, run, index).evidence.contexts for index in range(0, tiny.FEATURES, 5)}
    texts = {document.id: document.text for document in index(tiny_job.corpus).documents()}
    seen = sorted({int(document) for contexts in every.values() for document in contexts.documents})
    seen, compared = seen[:40], 0
    for group in (seen[first : first + 8] for first in range(0, len(seen), 8)):
        found = client.compute_activations(NAME, [texts[document] for document in group], features=list(every), top_k=0)
        assert found["exact"]
        for document, text in zip(group, found["texts"], strict=True):
            for read in text["features"]:
                contexts = every[read["index"]]
                for row in np.flatnonzero((contexts.documents == document) & np.isin(contexts.kinds, list(ACTIVE_KINDS))):
                    head, first = int(contexts.positions[row] == 0), int(contexts.starts[row])
                    stored = contexts.activations[row, head : int(contexts.lengths[row])]
                    assert read["activations"][first : first + len(stored)] == [float(str(value)) for value in stored.astype(np.float32)]
                    compared += int((stored > 0).sum())
    assert compared > 100
    assert rows(lane.engine) == [], "nothing of a text stays"


def test_the_strongest_features_have_their_labels_and_places(lane: Runtime, client: Client) -> None:
    found = client.compute_activations(NAME, ["def value(self", "import list"], against=["None None"], top_k=5, per_token=2)
    assert found["run"] == f"{NAME}/1"
    for one in found["top"]:
        feature = client.get_feature(NAME, one["index"])
        assert (one["label"], one["max_activation"]) == (feature["label"], feature["max_activation"])
        read = client.compute_activations(NAME, ["def value(self", "import list"], features=[one["index"]], top_k=0)
        values = [text["features"][0]["activations"] for text in read["texts"]]
        assert values[one["text"]][one["token"]] == one["value"] == max(map(max, values))
    against = client.compute_activations(NAME, ["None None"], features=[one["index"] for one in found["differences"]], top_k=0)
    for one, other in zip(found["differences"], against["texts"][0]["features"], strict=True):
        assert max(other["activations"]) < one["value"] + max(other["activations"])
    assert [len(text["per_token"]) for text in found["texts"]] == [len(text["tokens"]) for text in found["texts"]]
    assert "".join(found["texts"][0]["tokens"]) == "def value(self"


def test_a_text_is_steered_by_the_features_largest_activation(lane: Runtime, client: Client) -> None:
    feature = max(client.list_features(NAME), key=lambda one: one["max_activation"])
    found = client.steer_text(NAME, feature["index"], "def ", strength=6, seeds=[1, 2], max_new_tokens=5, temperature=1)
    assert found["strength"] == pytest.approx(6 * feature["max_activation"])
    assert [one["seed"] for one in found["continuations"]] == [1, 2]
    assert any(one["plain"] != one["steered"] for one in found["continuations"])
    again = client.steer_text(NAME, feature["index"], "def ", strength=0, seeds=[2], max_new_tokens=5, temperature=1)["continuations"][0]
    assert again["plain"] == again["steered"] == found["continuations"][1]["plain"]


HOSTILE = ["\x1b[31m\x07", "<s>", "<s><s>x", "\u202e\ufeff", "\U0001f9d1\u200d\U0001f680", "\n" * 50, "e\u0301", "\x7f\x01"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_read_as_they_are(lane: Runtime, client: Client, text: str) -> None:
    found = client.compute_activations(NAME, [text], features=[0], top_k=1)
    assert "".join(found["texts"][0]["tokens"]) == text
    # Text that looks like a special token is text.
    assert all(found["texts"][0]["counted"])


def test_what_cannot_be_asked_is_refused_and_nothing_is_stored(lane: Runtime, client: Client) -> None:
    transport = InProcess(create_app(lane.settings))
    url = f"http://test/v1/dictionaries/{NAME}/activations"
    refused: list[tuple[Any, int]] = [
        (b'{"texts": ["\\ud800"]}', 422),
        (b'{"texts": ["\\u0000"]}', 422),
        ({"texts": [""]}, 422),
        ({"texts": []}, 422),
        ({"texts": ["x" * 1_000_000]}, 422),
        ({"texts": ["x" * 20_000] * 3}, 422),
        ({"texts": ["x"] * 17}, 422),
        ({"texts": ["x"], "top_k": 101}, 422),
        ({"texts": ["x"], "features": [10**9]}, 422),
        ({"texts": ["x"], "features": ["3-"]}, 404),
        ({"texts": ["x"], "top_k": 0}, 422),
        ({"texts": ["x"], "run": "9"}, 404),
        ({"texts": ["x y " * 2500]}, 422),
        ({"texts": ["x"], "deadline_seconds": 1e9}, 422),
    ]
    with httpx.Client(transport=transport) as http:
        for body, status in refused:
            sent = {"content": body, "headers": {"content-type": "application/json"}} if isinstance(body, bytes) else {"json": body}
            answer = http.post(url, **sent)  # type: ignore[arg-type]
            assert answer.status_code == status, (body if len(str(body)) < 200 else "long", answer.text[:300])
            assert answer.json()["code"] != "internal"
        steering = {"feature": "1", "prompt": "x", "strength": 1}
        for change in ({"strength": 1e9}, {"seeds": [1] * 5}, {"max_new_tokens": 1000}, {"temperature": 3}, {"prompt": "x " * 500}, {"feature": "x"}):
            assert http.post(url.replace("activations", "steer"), json=steering | change).status_code == 422, change
    assert rows(lane.engine) == []


def test_without_a_worker_the_answer_says_so_at_once(runtime: Runtime, client: Client) -> None:
    with transaction(runtime.engine) as session:
        workers.gone(session, runtime.owner)
    assert client.get_live_state(NAME)["state"] == "no-worker"
    with pytest.raises(ApiError) as refused:
        client.compute_activations(NAME, ["x"])
    assert (refused.value.status, refused.value.problem["code"]) == (503, "live-unavailable")
    assert refused.value.problem["details"]["waits_for"] == "no-worker"


class Held:
    """An answer that waits for the test, and says what it was told."""

    def __init__(self, opens: bool = True) -> None:
        self.began, self.go, self.ended, self.opens = threading.Event(), threading.Event(), threading.Event(), opens

    def __call__(self, runtime: Runtime, lease: live.LiveLease, opened: Callable[[], object], between: Callable[[], object]) -> dict[str, Any]:
        if self.opens:
            opened()
        self.began.set()
        try:
            while not self.go.wait(0.005):
                between()
        finally:
            self.ended.set()
        raise InputError("never asked")


@pytest.mark.parametrize(("opens", "status", "waits_for"), [(True, 504, None), (False, 503, "opening")])
def test_at_the_deadline_the_answer_says_what_was_waited_for(
    runtime: Runtime, client: Client, opens: bool, status: int, waits_for: str | None
) -> None:
    held = Held(opens)
    with lane_of(runtime, held):
        with pytest.raises(ApiError) as late:
            client.compute_activations(NAME, ["x"], deadline_seconds=2.0)
        assert late.value.status == status
        assert late.value.problem.get("details", {}).get("waits_for") == waits_for
        # The worker stops, since the row is gone.
        assert held.ended.wait(DEADLINE)
    assert rows(runtime.engine) == []


def test_a_worker_that_takes_nothing_is_said_to_be_busy(runtime: Runtime, client: Client) -> None:
    with transaction(runtime.engine) as session:
        workers.seen(session, runtime.owner, runtime.info)
    with pytest.raises(ApiError) as late:
        client.compute_activations(NAME, ["x"], deadline_seconds=0.05)
    assert (late.value.status, late.value.problem["details"]["waits_for"]) == (503, "busy")


def test_a_client_that_goes_ends_the_work(runtime: Runtime) -> None:
    held = Held()
    with lane_of(runtime, held), Service(runtime.settings, "127.0.0.1", 0, workers=False) as service:
        body = b'{"texts": ["x"], "deadline_seconds": 100}'
        names = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        head = f"POST /v1/dictionaries/{NAME}/activations HTTP/1.1\r\n{names}\r\n\r\n"
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode() + body)
            assert held.began.wait(DEADLINE)
        assert held.ended.wait(DEADLINE)
        until(lambda: not rows(runtime.engine))


def test_a_request_of_a_killed_worker_goes_to_another_once(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is killed writes nothing: its lease runs out."""
    monkeypatch.setattr("workers.live.LEASE_SECONDS", -1.0)
    request_id = ask(runtime)
    for _ in range(live.MOST_ATTEMPTS):
        with transaction(runtime.engine) as session:
            lease = live.claim(session, -1.0, (), 0.0)
        assert lease is not None
        assert lease.id == request_id
    with transaction(runtime.engine) as session:
        assert live.claim(session, 5.0, (), 0.0) is None, "it kills its workers"
        assert not live.finish(session, dataclasses.replace(lease, token="another"), {}), "its lease is another's"
    reply, problem = take(runtime, request_id)
    assert reply is None
    assert problem["code"] == "live-unavailable"


def test_a_process_that_is_killed_at_work_leaves_its_request_to_the_next(runtime: Runtime, client: Client) -> None:
    held = """
import os, sys
from interp.config.settings import Settings
from workers.live import LiveLane
from workers.runtime import Runtime
def answer(runtime, lease, opened, between):
    opened()
    print("at work", flush=True)
    while True:
        between()
runtime = Runtime.of(Settings())
lane = LiveLane(runtime, answer)
while not lane.run_next():
    pass
"""
    process = subprocess.Popen(
        [sys.executable, "-c", held], env=os.environ | runtime.settings.environment(), stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    with transaction(runtime.engine) as session:
        workers.seen(session, runtime.owner, runtime.info)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(client.compute_activations(NAME, ["def"], features=[1], deadline_seconds=60)))
    thread.start()
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"at work\n"
    finally:
        process.kill()
        process.communicate()
    # Its lease is left to run out; here it is ended, so that the test need not wait.
    with transaction(runtime.engine) as session:
        session.execute(update(LiveRequestRow).values(lease_expires_at=datetime(2020, 1, 1, tzinfo=UTC)))
    with lane_of(runtime):
        thread.join(DEADLINE)
    assert found[0]["texts"][0]["tokens"] == ["def"]


def test_a_worker_that_stops_hands_its_request_back(runtime: Runtime) -> None:
    held = Held()
    with lane_of(runtime, held):
        request_id = ask(runtime)
        assert held.began.wait(DEADLINE)
    (row,) = rows(runtime.engine)
    assert (row.id, row.status, row.attempts) == (request_id, "waiting", 0)
    take(runtime, request_id)


def test_models_are_left_to_the_worker_that_has_them_open(runtime: Runtime) -> None:
    request_id = ask(runtime)
    with transaction(runtime.engine) as session:
        key = rows(runtime.engine)[0].models_key
        assert not live.waits(session, (), 100.0)
        assert live.claim(session, 5.0, ("other",), 100.0) is None
        assert live.waits(session, (key,), 100.0)
        assert live.claim(session, 5.0, (key,), 100.0) is not None
    take(runtime, request_id)


def test_too_many_wait_and_old_ones_are_deleted(runtime: Runtime, client: Client) -> None:
    for _ in range(live.MOST_OF_OWNER):
        ask(runtime)
    with transaction(runtime.engine) as session:
        workers.seen(session, runtime.owner, runtime.info)
    with pytest.raises(ApiError) as refused:
        client.compute_activations(NAME, ["x"])
    assert (refused.value.status, refused.value.problem["code"]) == (429, "live-busy")
    with transaction(runtime.engine) as session:
        assert live.expire(session) == 0
        session.execute(update(LiveRequestRow).values(deadline_at=datetime(2020, 1, 1, tzinfo=UTC)))
        assert live.claim(session, 5.0, (), 0.0) is None
        assert live.expire(session) == live.MOST_OF_OWNER


def test_the_worker_keeps_as_many_models_open_as_it_may(lane: Runtime, client: Client) -> None:
    client.compute_activations(NAME, ["x"], top_k=1)
    assert client.compute_activations(NAME, ["x"], top_k=1)["opening_seconds"] < 0.05
    held, cache = open_runs_of(lane.settings), model_cache_of(lane.settings)
    assert len(held._runs) == 1
    # A job that needs the room takes it, and nothing holds the model.
    with cache.lock:
        cache.lru.evict_for(cache.lru.capacity_bytes, ())
    assert not held._runs


def test_models_are_not_opened_into_the_memory_of_a_job(runtime: Runtime, tiny_job: JobSpec) -> None:
    cache = ModelCache(10**6)
    with pytest.raises(NoRoomError):
        cache.open(runtime, tiny_job, [0], InWork(("x",), 10**6), is_strict=True)
    assert cache.lru.used_bytes == 0
    assert cache.open(runtime, tiny_job, [0])[0].nbytes > 0
    assert json.loads(json.dumps(runtime.info.loaded_models))


def test_an_imported_run_and_another_ones_files_are_refused(lane: Runtime, client: Client) -> None:
    with transaction(lane.engine) as session:
        tokens = session.scalars(select(RunRow.tokens)).one()
        session.execute(update(RunRow).values(tokens=0))
    try:
        with pytest.raises(ApiError) as refused:
            client.compute_activations(NAME, ["x"])
        assert refused.value.status == 409
    finally:
        with transaction(lane.engine) as session:
            session.execute(update(RunRow).values(tokens=tokens))


def test_collection_begins_no_batch_while_a_request_is_at_work() -> None:
    turns, batches, go = Turns(), [], threading.Event()

    def collect() -> None:
        with turns.chunk():
            for number in range(5):
                batches.append(number)
                go.wait()
                turns.give_way()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.turns.GIVE_WAY_SECONDS", DEADLINE)
        thread = threading.Thread(target=collect)
        with turns.live():
            thread.start()
            until(lambda: batches)
            go.set()
            # Its first batch was begun; the next waits, whatever time passes.
            until(lambda: not turns._is_reading)
            assert batches == [0]
        thread.join(DEADLINE)
    assert batches == [0, 1, 2, 3, 4]


def test_models_that_disturb_one_another_are_read_between_two_batches() -> None:
    turns, order = Turns(), []

    def collect() -> None:
        with turns.chunk():
            for _ in range(50):
                order.append("begin")
                until(lambda: turns._live or "live" in order)
                order.append("end")
                turns.give_way()

    thread = threading.Thread(target=collect)
    thread.start()
    until(lambda: order)
    with turns.live(), turns.alone(lambda: None):
        order.append("live")
        assert order.count("begin") == order.count("end")
    thread.join(DEADLINE)
    place = order.index("live")
    assert order[:place].count("begin") == order[:place].count("end")
    assert order.count("end") == 50


def test_work_goes_on_under_requests_without_end() -> None:
    turns, batches = Turns(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.turns.GIVE_WAY_SECONDS", 0.001)
        with turns.live(), turns.chunk():
            for number in range(5):
                batches.append(number)
                turns.give_way()
    assert batches == [0, 1, 2, 3, 4]
