"""Hostile files at the API: 422 with what, why and cure, and nothing of them in the database."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from benches.in_process import InProcess
from interp.config.settings import Settings
from interp.domain.spec import JobSpec
from tests import databases
from tests.security import checkpoints as made
from tests.security.mutants import DICTIONARIES, Case, cases

Change = Callable[[Path], Any]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    return cases(tmp_path_factory.mktemp("cases"))


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    home = tmp_path_factory.mktemp("home")
    settings = Settings(home=home, database_url=f"sqlite:///{home / 'jobs.db'}", broker_url="")
    databases.upgrade(settings.database_url)
    with httpx.Client(transport=InProcess(create_app(settings)), base_url="http://127.0.0.1") as client:
        yield client


def posted(http: httpx.Client, job: JobSpec) -> httpx.Response:
    # The server's own roots are those of these tests: see tests/conftest.py.
    return http.post("/v1/jobs", json=job.model_dump(mode="json", exclude_defaults=True))


def field(name: str, **changes: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")

    return change


def content(name: str, raw: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(raw)


CHANGES: dict[str, tuple[str, Change]] = {
    "k beyond the features": ("SAELens", field("cfg.json", k=10**6)),
    "k is a text": ("SAELens", field("cfg.json", k="4")),
    "a factor that is NaN": ("SAELens, scaled", field("cfg.json", norm_scaling_factor=float("nan"))),
    "a factor that overflows": ("SAELens, scaled", field("cfg.json", norm_scaling_factor=1e-45)),
    "a model that is an object": ("SAELens, old", field("cfg.json", model_name={})),
    "a deep config": ("sparsify", content("cfg.json", b'{"a":' * 5000 + b"1" + b"}" * 5000)),
    "a header that is null": ("SAELens", content("sae_weights.safetensors", made.safetensors(b"null"))),
    "a lying header": ("SAELens", lambda folder: made.sparse(folder / "sae_weights.safetensors", bytes([0, 0, 0, 0, 3, 0, 0, 0]), 14 << 30)),
    "a trainer that is a text": ("dictionary_learning", field("config.json", trainer="x")),
    "a vocabulary of 10^9": ("subject, byte-level", field("config.json", vocab_size=10**9)),
    "a tokenizer of numbers": ("subject, byte-level", field("tokenizer.json", added_tokens=[3])),
    "a subject whose header is null": ("subject, byte-level", content("model.safetensors", made.safetensors(b"null"))),
}


@pytest.mark.parametrize("what", CHANGES)
def test_hostile_files_are_refused_at_submission(http: httpx.Client, found: dict[str, Case], what: str) -> None:
    kind, change = CHANGES[what]
    case = found[kind]
    try:
        change(next(iter(case.files)).parent)
        answer = posted(http, case.job)
    finally:
        for path, raw in case.files.items():
            path.write_bytes(raw)
    assert answer.status_code == 422, answer.text
    assert answer.json()["cure"]
    assert len(answer.content) < 4000
    assert http.get("/v1/jobs").json()["items"] == []


@pytest.mark.parametrize("kind", DICTIONARIES)
def test_the_same_jobs_are_estimated_as_they_are(http: httpx.Client, found: dict[str, Case], kind: str) -> None:
    job = found[kind].job.model_dump(mode="json", exclude_defaults=True)
    answer = http.post("/v1/jobs/estimate", json=job)
    assert answer.status_code == 200, answer.text
