"""The whole way: a real `glossator serve` with its own workers runs jobs that came over REST."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benches import tiny
from examples.client import explain
from glossator import Client
from interp.domain.spec import JobSpec

GLOSSATOR = [sys.executable, "-c", "from api.cli import main; main()"]
# Limits for machines that are busy with other tests; nothing waits for them where all is well.
START, STOP, DEADLINE = 120, 120, 360


class Server:
    """A `glossator serve` process on a home of its own."""

    def __init__(self, home: Path) -> None:
        environment = os.environ | {"GLOSSATOR_HOME": str(home), "GLOSSATOR_LLM_WORKERS": "1"}
        self._log = (home / "log").open("a+")
        command = [*GLOSSATOR, "serve", "--port", "0"]
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=self._log, text=True)
        assert self._process.stdout
        found = re.search(r"http://\S+?:\d+", self._process.stdout.readline())
        assert found, (home / "log").read_text()
        self.url = found[0]

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self._process.poll() is None:
            self._process.send_signal(number)
        self._process.communicate(timeout=STOP)
        self._log.close()
        return self._process.returncode


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Server]:
    running = Server(home)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as found:
        yield found


@pytest.fixture(scope="module")
def first(client: Client, tiny_job: JobSpec) -> dict[str, Any]:
    """A completed job over all features, scored by detection alone."""
    body = tiny_job.model_dump(mode="json") | {"scorers": [{"name": "detection", "nulls": 5}]}
    return run(client, body)


def run(client: Client, body: dict[str, Any]) -> dict[str, Any]:
    job = client.submit_job(body)
    deadline = time.monotonic() + DEADLINE
    for event in client.stream_job_events(job["id"]):
        assert time.monotonic() < deadline, event.data
        if event.name == "end":
            break
    finished = client.get_job(job["id"])
    assert finished["status"] == "completed", finished["error"]
    return finished


@pytest.mark.timeout(800)
def test_a_job_over_rest_fills_the_database(client: Client, first: dict[str, Any]) -> None:
    assert first["request_counts"]["total"] == tiny.FEATURES
    assert {stage["stage"] for stage in first["stages"]} == {"prepare", "collect", "merge", "explain", "score", "map", "summarise"}
    assert all(stage["done"] == stage["total"] for stage in first["stages"])
    assert first["started_at"] <= first["finished_at"]
    dictionary = client.get_dictionary(first["dictionary"])
    assert sum(dictionary["states"].values()) == tiny.FEATURES
    listed = list(client.list_features(first["dictionary"], sort="score", order="desc"))
    assert sorted(item["index"] for item in listed) == list(range(tiny.FEATURES))
    explained = [item for item in listed if item["label"]]
    assert len(explained) == first["summary"]["features"]["explained"]


@pytest.mark.timeout(800)
def test_contexts_of_the_two_splits_share_no_document_and_inactive_ones_are_silent(client: Client, first: dict[str, Any]) -> None:
    seen = 0
    for item in client.list_features(first["dictionary"], state="active", limit=8):
        found = client.get_feature(first["dictionary"], item["index"], items=True)
        documents: dict[str, set[str]] = {"explain": set(), "test": set()}
        for context in found["contexts"]:
            documents[context["split"]].add(context["document"])
            silent = context["kind"] in ("inactive", "near_miss")
            assert (context["max_activation"] == 0) == silent
            seen += 1
        assert not documents["explain"] & documents["test"]
        for score in (score for explanation in found["explanations"] for score in explanation["scores"]):
            tested = {context["id"] for context in found["contexts"] if context["split"] == "test"}
            assert {item["context"] for item in score["items"]} <= tested
    assert seen


@pytest.mark.timeout(800)
def test_a_second_job_with_another_scorer_collects_nothing(client: Client, first: dict[str, Any], tiny_job: JobSpec) -> None:
    second = run(client, tiny_job.model_dump(mode="json") | {"scorers": [{"name": "simulation", "nulls": 5}]})
    assert second["run"] == first["run"]
    assert not {"collect", "merge"} & {stage["stage"] for stage in second["stages"]}
    assert second["summary"]["tokens_per_s"] is None
    scorers = {score["scorer"] for row in client.list_explanations(dictionary=first["dictionary"]) for score in row["scores"]}
    assert scorers == {"detection", "simulation"}


@pytest.mark.timeout(800)
def test_a_job_on_another_corpus_stands_apart_in_rest_command_line_and_export(
    client: Client, home: Path, first: dict[str, Any], tiny_job: JobSpec
) -> None:
    name, before = first["dictionary"], list(client.list_features(first["dictionary"], run=first["run"]))
    body = tiny_job.model_dump(mode="json")
    second = run(client, body | {"corpus": body["corpus"] | {"max_tokens": 2000}, "scorers": [{"name": "detection", "nulls": 5}]})
    assert (first["run"], second["run"]) == (f"{name}/1", f"{name}/2")
    assert list(client.list_features(name, run="1")) == before
    of = {made["run"]: list(client.list_features(name, run=made["run"])) for made in (first, second)}
    for run_name, rows in of.items():
        assert {row["run"] for row in rows} == {run_name}
        assert sorted(row["index"] for row in rows) == list(range(tiny.FEATURES))
    assert client.get_dictionary(name)["current_run"] == second["run"], "covers as much, and completed last"
    assert list(client.list_features(name)) == of[second["run"]]
    tokens = [made["summary"]["tokens"] for made in (first, second)]
    assert [listed["tokens"] for listed in client.list_runs(name)] == tokens
    assert [client.get_feature(name, 0, run=number)["evidence"]["tokens"] for number in ("1", "2")] == tokens

    def printed(*arguments: str) -> str:
        environment = os.environ | {"GLOSSATOR_HOME": str(home), "GLOSSATOR_API_URL": client.url}
        ran = subprocess.run([*GLOSSATOR, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    assert all(made["run"] in printed("runs", name) for made in (first, second))
    for made in (first, second):
        assert f"run {made['run']}" in printed("feature", f"{name}:0", "--run", made["run"])
        rows = list(csv.DictReader(printed("export", name, "--run", made["run"], "--format", "csv").splitlines()))
        assert {(row["run"], row["corpus"]) for row in rows} == {(made["run"], "corpus.jsonl")}
        keys = [(row["index"], row["explainer"], row["settings_digest"], row["scorer"]) for row in rows]
        assert len(set(keys)) == len(keys) > 0


@pytest.mark.timeout(800)
def test_two_dictionaries_at_once_by_the_command_line(server: Server, client: Client, tiny_job: JobSpec, tmp_path: Path) -> None:
    folders = [str(tmp_path / str(features)) for features in (14, 12)]
    for folder, features in zip(folders, (14, 12), strict=True):
        tiny.write_dictionary(Path(folder), tiny.WIDTH, features)
    body = tiny_job.model_dump(mode="json")
    del body["dictionary"]
    body |= {"scorers": [{"name": "detection", "nulls": 5}], "controls": ["null", "random_weights"], "features": "0-9"}
    (tmp_path / "job.yaml").write_text(json.dumps(body))
    sources = [option for folder in folders for option in ("--dictionary", folder)]
    command = [*GLOSSATOR, "submit", str(tmp_path / "job.yaml"), *sources, "--json"]
    done = subprocess.run(command, env=os.environ | {"GLOSSATOR_API_URL": server.url}, capture_output=True, text=True, timeout=DEADLINE, check=True)
    job = json.loads(done.stdout)
    assert (job["status"], job["request_counts"]["total"]) == ("completed", 20)
    assert client.estimate_job(job["spec"])["features"] == 20
    names = [made["dictionary"] for made in job["runs"]]
    assert len(set(names)) == 2
    assert [one["dictionary"] for one in job["summary"]["dictionaries"]] == names
    for made, figures in zip(job["runs"], job["summary"]["dictionaries"], strict=True):
        listed = list(client.list_features(made["dictionary"], run=made["run"]))
        assert [item["index"] for item in listed] == list(range(10))
        assert sum(bool(item["label"]) for item in listed) == figures["features"]["explained"] > 0
        assert figures["scores"]["detection"]["scored"] > 0
    end = time.monotonic() + DEADLINE
    while (control := client.get_job(job["control"]["id"]))["status"] != "completed":
        assert time.monotonic() < end, control
        time.sleep(0.2)
    assert len(control["runs"]) == 2
    assert all("-random@" in made["dictionary"] for made in control["runs"])
    compared = client.get_job(job["id"])["summary"]["random_weights"]["dictionaries"]
    assert [(one["dictionary"], list(one["scores"])) for one in compared] == [(name, ["detection"]) for name in names]
    shown = subprocess.run([*GLOSSATOR, "job", "show", job["id"]], env=os.environ | {"GLOSSATOR_API_URL": server.url}, capture_output=True, text=True)
    assert all(name in shown.stdout for name in names), shown.stderr


@pytest.mark.timeout(800)
def test_health_is_measured_once_and_read_again(server: Server, home: Path, client: Client, first: dict[str, Any], tmp_path: Path) -> None:
    def health(*options: str) -> tuple[dict[str, Any], str]:
        environment = os.environ | {"GLOSSATOR_HOME": str(home), "GLOSSATOR_API_URL": server.url}
        command = [*GLOSSATOR, "health", first["dictionary"], "--run", first["run"], "--json", *options]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=DEADLINE)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout), ran.stderr

    made, said = health("--set", "tokens=512")
    job = client.get_job(made["job"])
    assert f"job {job['id']}" in said
    assert (job["status"], job["run"], job["spec"]["explainers"], job["spec"]["health"]["tokens"]) == ("completed", first["run"], [], 512)
    assert {stage["stage"] for stage in job["stages"]} == {"prepare", "health", "summarise"}, "nothing is collected again"
    again, said = health("--html", str(tmp_path / "health.html"))
    assert again == made
    assert "job" not in said
    assert f"<h1>Health of {first['dictionary']}</h1>" in (tmp_path / "health.html").read_text()


@pytest.mark.timeout(800)
def test_the_database_can_be_read_when_the_server_is_gone(server: Server, home: Path, first: dict[str, Any]) -> None:
    environment = os.environ | {"GLOSSATOR_HOME": str(home), "GLOSSATOR_PORT": "1"}
    command = [*GLOSSATOR, "feature", f"{first['dictionary']}:0"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert f"{first['dictionary']}:0" in ran.stdout


def test_the_script_of_the_client_submits_follows_searches_and_draws(
    client: Client, first: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On evidence that is there already."""
    monkeypatch.setenv("GLOSSATOR_API_URL", client.url)
    job, page = tmp_path / "job.yaml", tmp_path / "found.html"
    job.write_text(json.dumps(first["spec"]))
    label = next(row.label for row in client.list_features(first["dictionary"], state="active") if row.label)
    explain.main(job, label[:20], page)
    assert label in capsys.readouterr().out
    assert page.read_text().count("<svg") >= 3


@pytest.mark.timeout(800)
def test_health_without_a_server_is_measured_by_one_of_its_own(server: Server, home: Path, first: dict[str, Any]) -> None:
    assert server.stop() == 0
    environment = os.environ | {"GLOSSATOR_HOME": str(home), "GLOSSATOR_PORT": "1"}
    command = [*GLOSSATOR, "health", first["dictionary"], "--again", "--set", "tokens=256", "--json"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["report"]["dictionary"] == first["dictionary"], "measured by a service of the command's own"
