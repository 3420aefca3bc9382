"""Several runs of one dictionary stand apart in every listing, page and export, and each row says where it comes from."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from click.testing import Result
from sqlalchemy import Engine, delete, select
from typer.testing import CliRunner

from api.cli import app, connect
from glossator import ApiError, Client
from interp.config.settings import Settings
from interp.domain.explanation import Explanation, ExplanationFamily
from interp.files.evidence_codec import encode_evidence
from interp.store.db.engine import transaction
from interp.store.db.tables import DictionaryRow, EvidenceRow, FeatureRow, RunRow
from interp.store.db.tables import ExplanationRow as Row
from interp.store.listings import queries
from interp.store.results import dictionary_scores, evidence, explanations, runs
from interp.store.results.dictionary_scores import BestExplanation
from tests.api import synthetic
from tests.api.synthetic import NAME

FEW = 5


@pytest.fixture
def second(store: Engine) -> Iterator[Callable[[], None]]:
    """A second run of the dictionary, of another corpus and five features, not finished; called, it completes."""
    with transaction(store) as session:
        dictionary_id = session.scalars(select(DictionaryRow.id).where(DictionaryRow.name == NAME)).one()
        run_id = runs.save(session, "f" * 64, dictionary_id, {"seed": 1}, {"path": "/texts/other"}, 400)
        gathered = [synthetic.feature_evidence(index) for index in range(FEW)]
        evidence.save(session, run_id, [evidence.Gathered(item.feature, item.statistics, encode_evidence(item)) for item in gathered])
        for settings in ("q" * 64, "p" * 64):
            made = [Explanation(index, "pattern", f"other {settings[0]} [{index}]", rule={}, provenance={}) for index in range(FEW)]
            explanations.save(session, ExplanationFamily(run_id, "pattern", settings), made, "k")
        ids = {index: row for index, (row, _) in explanations.load(session, ExplanationFamily(run_id, "pattern", "p" * 64), [(0, FEW)]).items()}
        dictionary_scores.show_best(session, run_id, [BestExplanation(index, ids[index], f"other p [{index}]") for index in range(FEW)])

    def complete() -> None:
        with transaction(store) as session:
            runs.complete(session, run_id)

    yield complete
    with transaction(store) as session:
        for table in (Row, FeatureRow, EvidenceRow):
            session.execute(delete(table).where(table.run_id == run_id))
        session.execute(delete(RunRow).where(RunRow.id == run_id))


@pytest.fixture
def command(service_settings: Settings, store: Engine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(connect, "settings", lambda: service_settings.model_copy(update={"port": 1}))
    return lambda *arguments: CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_runs_are_listed_with_what_they_are_of(client: Client, second: Callable[[], None]) -> None:
    listed = list(client.list_runs(NAME))
    assert [(run["name"], run["corpus"], run["tokens"], run["covered_features"], run["status"], run["current"]) for run in listed] == [
        (f"{NAME}/1", "unknown", 1000, 12, "completed", True),
        (f"{NAME}/2", "other", 400, FEW, "incomplete", False),
    ]
    assert {(run["firing_level"], run["firing_rate"]) for run in listed} == {("zero", None)}
    assert listed == list(client.list_runs())
    assert listed[1] == client.get_run(listed[1]["id"])
    second()
    assert client.get_run(listed[1]["id"])["status"] == "completed"
    assert client.get_dictionary(NAME)["current_run"] == f"{NAME}/1", "it covers less"


def test_listings_show_the_current_run_alone_and_any_that_is_named(client: Client, second: Callable[[], None]) -> None:
    before = list(client.list_features(NAME))
    assert {(row["run"], row["explainer"], row["job"]) for row in before if row["label"]} == {(f"{NAME}/1", "pattern", "j")}
    assert {row["scorer"] for row in before if row["score"] is not None} == {"detection"}
    second()
    assert list(client.list_features(NAME)) == before
    other = list(client.list_features(NAME, run="2"))
    assert [(row["index"], row["label"], row["run"], row["corpus"], row["job"]) for row in other] == [
        (index, f"other p [{index}]", f"{NAME}/2", "other", "k") for index in range(FEW)
    ]
    assert [row["index"] for row in client.list_features(NAME, run=f"{NAME}/2", q="[3]")] == [3]
    assert list(client.list_features(NAME, run="2", q="self")) == []
    assert client.list_features(NAME, run="1")


def test_a_feature_and_its_provenance_are_of_one_run(client: Client, second: Callable[[], None]) -> None:
    assert [row["job"] for row in client.get_feature(NAME, 3)["explanations"]] == ["j"]
    found = client.get_feature(NAME, 3, run="2")
    assert (found["run"], found["corpus"], found["evidence"]["tokens"]) == (f"{NAME}/2", "other", 400)
    assert [(row["settings_digest"][0], row["best"], row["run"]) for row in found["explanations"]] == [
        ("p", True, f"{NAME}/2"),
        ("q", False, f"{NAME}/2"),
    ]
    assert found["nearest"][0]["label"] == "other p [0]"
    provenance = client.get_feature_provenance(NAME, 3, run="2")
    assert [told["explanation"]["settings_digest"][0] for told in provenance["explanations"]] == ["p", "q"]
    assert provenance["run"] == f"{NAME}/2"
    with pytest.raises(ApiError, match=r"run 2"):
        client.get_feature(NAME, 7, run="2")


def test_explanations_are_of_current_runs_unless_a_run_is_named(client: Client, second: Callable[[], None]) -> None:
    second()
    assert {row["run"] for row in client.list_explanations()} == {f"{NAME}/1"}
    for filters in ({"dictionary": NAME, "run": "2"}, {"run": f"{NAME}/2"}, {"run": "f" * 12}):
        rows = list(client.list_explanations(**filters))
        assert [(row["index"], row["best"]) for row in rows] == [(index, best) for index in range(FEW) for best in (False, True)]
        assert {row["run"] for row in rows} == {f"{NAME}/2"}


def test_a_run_that_is_pinned_is_shown_until_it_is_unpinned(http: httpx.Client, client: Client, second: Callable[[], None]) -> None:
    path = f"/v1/dictionaries/{NAME}/current-run"
    refused = http.put(path, json={"run": "2"})
    assert refused.status_code == 409
    assert "not finished" in refused.json()["detail"]
    second()
    pinned = client.pin_current_run(NAME, "2")
    assert (pinned["current_run"], pinned["pinned"]) == (f"{NAME}/2", True)
    assert {row["run"] for row in client.list_features(NAME)} == {row["run"] for row in client.list_explanations()} == {f"{NAME}/2"}
    for _ in range(2):
        unpinned = client.unpin_current_run(NAME)
        assert (unpinned["current_run"], unpinned["pinned"]) == (f"{NAME}/1", False)
    for body, status in (({"run": "9"}, 404), ({"run": "nonsense"}, 422), ({}, 422), ({"run": "1", "x": 1}, 422)):
        assert http.put(path, json=body).status_code == status


def test_a_listing_ends_in_the_run_that_it_began_in(http: httpx.Client, client: Client, second: Callable[[], None]) -> None:
    second()
    for path in (f"/v1/dictionaries/{NAME}/features", "/v1/explanations"):
        page = http.get(path, params={"limit": 4}).json()
        rows = page["items"]
        client.pin_current_run(NAME, "2")
        while page["next_cursor"]:
            page = http.get(path, params={"limit": 4, "cursor": page["next_cursor"]}).json()
            rows += page["items"]
        client.unpin_current_run(NAME)
        assert [(row["index"], row["run"]) for row in rows] == [(index, f"{NAME}/1") for index in range(12)]


def test_the_command_line_lists_runs_and_tells_blocks_apart(command: Callable[..., Result], second: Callable[[], None]) -> None:
    second()
    assert [line.split()[0] for line in command("runs", NAME).stdout.splitlines()[1:]] == [f"{NAME}/1", f"{NAME}/2"]
    assert json.loads(command("runs", "--json").stdout)[1]["corpus"] == "other"
    assert f"{NAME}/1" in command("dictionaries").stdout
    assert command("features", NAME, "--run", "2").stdout.splitlines()[0] == f"run {NAME}/2  corpus other"
    printed = command("feature", f"{NAME}:3", "--run", "2").stdout
    assert f"run {NAME}/2  settings pppppppp  job k" in printed
    assert f"run {NAME}/2  settings qqqqqqqq  job k" in printed
    assert f"run {NAME}/1" not in printed
    assert f"run {NAME}/2" in command("provenance", f"{NAME}:3", "--run", "2").stdout
    assert "pinned" in command("runs", NAME, "--pin", "2").stdout
    assert "pinned" not in command("runs", NAME, "--unpin").stdout


def test_a_run_states_at_which_rate_its_features_fire(command: Callable[..., Result], client: Client, store: Engine) -> None:
    with transaction(store) as session:
        row = queries.dictionary(session, NAME)
        made = runs.save(session, "a" * 64, row.id, {"collection": {"firing_level": "auto", "firing_rate": 0.025}}, {"firing_level": "quantile"}, 7)
    try:
        found = list(client.list_runs(NAME))[-1]
        assert (found["firing_level"], found["firing_rate"]) == ("quantile", 0.025)
        printed = command("runs", NAME).stdout.splitlines()
        assert "above 0" in printed[1]
        assert "at 2.5% of tokens" in printed[-1]
    finally:
        with transaction(store) as session:
            session.execute(delete(RunRow).where(RunRow.id == made))


def test_an_export_is_of_one_run_and_no_row_comes_twice(command: Callable[..., Result], second: Callable[[], None]) -> None:
    second()
    found: dict[str | None, list[dict[str, Any]]] = {}
    for run in (None, "1", "2"):
        printed = command("export", NAME, "--format", "csv", *(["--run", run] if run else [])).stdout
        found[run] = list(csv.DictReader(io.StringIO(printed)))
        lines = [json.loads(line) for line in command("export", NAME, *(["--run", run] if run else [])).stdout.splitlines()]
        assert [row["index"] for row in lines] == sorted({int(row["index"]) for row in found[run]})
    assert found[None] == found["1"]
    for run in ("1", "2"):
        rows = found[run]
        assert {row["run"] for row in rows} == {f"{NAME}/{run}"}
        keys = [(row["run"], row["index"], row["explainer"], row["settings_digest"], row.get("scorer")) for row in rows]
        assert len(set(keys)) == len(keys) == (12 if run == "1" else 2 * FEW)
    assert {row["corpus"] for row in found["2"]} == {"other"}
