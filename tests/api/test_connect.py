"""The reading commands, on the local database through the app in this process, and over the network."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import Result
from sqlalchemy import Engine
from typer.testing import CliRunner

from api.cli import app, connect
from api.server import Service
from glossator import Client
from interp.config.settings import Settings
from tests.api.synthetic import FEATURES, LEVELS, NAME

NOBODY = 1  # a port that nobody listens on
Command = Callable[..., Result]


@pytest.fixture(params=["in process", "over the network"])
def command(request: pytest.FixtureRequest, service_settings: Settings, store: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """Runs a command on the synthetic book, whichever way it is reached."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments, catch_exceptions=False)

    if request.param == "in process":
        monkeypatch.setattr(connect, "settings", lambda: service_settings.model_copy(update={"port": NOBODY}))
        yield run
        return
    with Service(service_settings, "127.0.0.1", 0, workers=False) as service:
        monkeypatch.setattr(connect, "settings", lambda: service_settings.model_copy(update={"api_url": service.url}))
        yield run


def test_features_are_listed_as_the_api_lists_them(command: Command, client: Client) -> None:
    result = command("features", NAME, "--sort", "score", "--order", "desc", "--max-q-value", "0.05", "--min-score", "0.5")
    assert result.exit_code == 0
    rows = result.stdout.splitlines()[2:]
    assert [row.split()[0] for row in rows] == ["9", "8", "7", "6", "5"]
    assert "100%_self [9]" in rows[0]
    assert "+0.40" in rows[0]
    as_json = command("features", NAME, "--sort", "score", "--order", "desc", "--max-q-value", "0.05", "--min-score", "0.5", "--json")
    assert json.loads(as_json.stdout) == list(client.list_features(NAME, sort="score", order="desc", max_q_value=0.05, min_score=0.5))


def test_listings_and_exports_state_the_firing_level(command: Command, client: Client) -> None:
    told = {item["index"]: item["firing_level"] for item in client.list_features(NAME)}
    assert told == {index: LEVELS.get(index, 0.0) for index in range(FEATURES)}
    head, row = command("features", NAME, "--min-score", "0.9").stdout.splitlines()[1:]
    assert "firing level" in head
    assert "0.0375" in row.split()
    assert "firing level" not in command("features", NAME, "--max-score", "0.8").stdout, "0 of all of them says nothing"
    assert "fires above 0.0375, fires at" in command("feature", f"{NAME}:9").stdout
    exported = [json.loads(line) for line in command("export", NAME).stdout.splitlines()]
    assert {row["index"]: row["firing_level"] for row in exported} == told
    rows = list(csv.DictReader(io.StringIO(command("export", NAME, "--format", "csv").stdout)))
    assert {int(row["index"]): float(row["firing_level"]) for row in rows} == told


def test_a_feature_is_saved_as_a_picture(command: Command, tmp_path: Path) -> None:
    picture = tmp_path / "feature.svg"
    result = command("feature", f"{NAME}:3", "--svg", str(picture))
    assert result.exit_code == 0
    assert result.stdout == ""
    content = picture.read_text()
    assert content.startswith("<svg")
    assert "url(" not in content.replace("url(#", "")
    assert f"{NAME}:3" in content


@pytest.mark.parametrize("reference", [f"{NAME}:3", "toy/1-res/3"])
def test_a_feature_is_shown_with_everything(command: Command, reference: str) -> None:
    result = command("feature", reference)
    assert result.exit_code == 0
    shown = result.stdout
    assert f"{NAME}:3" in shown
    assert "100%_self [3]" in shown
    for part in ("detection", "0.30 [0.20, 0.40]", "null 0.50", "lift -0.20", "q 0.01", "99 answered", "1 failed"):
        assert part in shown
    assert "fires at 4.300% of tokens" in shown
    assert "100%_self [0]" in shown, "the nearest feature comes with its label"
    assert shown.count("«self».↵→café␛[2J") == 1, "the strongest token of the top context is marked, controls are signs"
    assert "\x1b" not in shown


def test_a_feature_as_json_is_the_answer_of_the_api(command: Command, client: Client) -> None:
    assert json.loads(command("feature", f"{NAME}:3", "--json").stdout) == client.get_feature(NAME, 3, items=True)


def test_contexts_are_chosen_by_split_and_number(command: Command) -> None:
    assert "«self»" not in command("feature", f"{NAME}:3", "--split", "test").stdout
    assert "café" not in command("feature", f"{NAME}:3", "--contexts", "0").stdout


def test_a_dead_feature_is_shown(command: Command) -> None:
    result = command("feature", f"{NAME}:11")
    assert result.exit_code == 0
    assert "no label: no context fires" in result.stdout


def test_what_is_printed_is_what_the_api_streams(command: Command, http: httpx.Client) -> None:
    for form in ("jsonl", "csv"):
        streamed = http.get(f"/v1/dictionaries/{NAME}/features", params={"format": form, "min_score": 0.5, "explainer": "pattern"})
        printed = command("export", NAME, "--format", form, "--min-score", "0.5", "--explainer", "pattern").stdout
        assert printed.splitlines() == streamed.text.splitlines()
        assert len(printed.splitlines()) == 5 + (form == "csv")


def test_csv_export_has_a_row_a_score(command: Command) -> None:
    rows = list(csv.DictReader(io.StringIO(command("export", NAME, "--format", "csv").stdout)))
    assert [int(row["index"]) for row in rows] == list(range(12))
    assert rows[3]["text"] == "100%_self [3]"
    assert (float(rows[3]["value"]), float(rows[3]["low"]), float(rows[3]["null_value"]), float(rows[3]["q_value"])) == pytest.approx(
        (0.3, 0.2, 0.5, 0.01)
    )
    assert (rows[0]["value"], rows[0]["reason"]) == ("", "only positives")
    assert (rows[11]["scorer"], rows[11]["failure"]) == ("", "no context fires")


def test_an_export_that_fails_leaves_no_file(service_settings: Settings, store: Engine, tmp_path: Path) -> None:
    environment = os.environ | service_settings.environment() | {"GLOSSATOR_PORT": str(NOBODY)}
    output = tmp_path / "none.csv"
    script = [sys.executable, "-c", "from api.cli import main; main()", "export", "none@such", "-o", str(output)]
    ran = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "error: No dictionary 'none@such'." in ran.stderr
    assert f"cure: Known: {NAME}." in ran.stderr
    assert "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_a_server_and_a_database_the_error_names_the_cure(tmp_path: Path) -> None:
    environment = os.environ | {"GLOSSATOR_HOME": str(tmp_path / "nowhere"), "GLOSSATOR_PORT": str(NOBODY)}
    for arguments in (["features", NAME], ["job", "list"]):
        ran = subprocess.run(
            [sys.executable, "-c", "from api.cli import main; main()", *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 2
        assert "glossator serve" in ran.stderr
    assert not (tmp_path / "nowhere").exists(), "reading must not make a database"
