"""Named lists: of one owner, read by all, and filters of whatever reads features."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, delete
from typer.testing import CliRunner

from api.cli import app
from api.jobs import admission
from glossator import ApiError, Client
from interp.config.settings import Settings
from interp.domain.access import Principal, Scope
from interp.domain.errors import ConflictError, InputError
from interp.domain.spec import JobSpec
from interp.exchange.read import portions
from interp.exchange.request import ExportRequest, plan_of
from interp.store import feature_lists
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import FeatureListRow
from interp.store.listings.queries import FeatureSort
from interp.store.results import dictionaries
from tests.api.synthetic import NAME, VOCABULARY

ODD = [f"{NAME}:{index}" for index in (9, 3, 7, 11)]
BOTH = "toy@0-neurons"
JOB: dict[str, Any] = {"subject": {"model": "m"}, "dictionary": {"source": "d"}, "corpus": {"path": "c"}, "features": "list:odd"}


@pytest.fixture(autouse=True)
def nothing_left(store: Engine) -> Iterator[None]:
    yield
    with transaction(store) as session:
        session.execute(delete(FeatureListRow))


@pytest.fixture
def odd(client: Client) -> dict[str, Any]:
    return client.create_feature_list("odd", ODD, "says too much")


def indices(client: Client, **filters: Any) -> list[int]:
    return [row["index"] for row in client.list_features(NAME, **filters)]


def test_a_list_has_what_was_added_once(client: Client, odd: dict[str, Any]) -> None:
    assert (odd["name"], odd["size"], odd["dictionaries"], odd["owner"]) == ("odd", 4, {NAME: 4}, None)
    changed = client.change_feature_list("odd", add=[ODD[0], f"{NAME}:2"], remove=[f"{NAME}:11", f"{NAME}:5"], name="even", description="")
    assert (changed["name"], changed["size"], changed["description"]) == ("even", 4, "")
    assert client.change_feature_list(odd["id"], add=[ODD[0]]) | {"changed_at": 0} == changed | {"changed_at": 0}
    assert [item["name"] for item in client.list_listed_features("even")] == [f"{NAME}:{index}" for index in (2, 3, 7, 9)]
    assert [item["index"] for item in client.list_listed_features(odd["id"], 2)] == [2, 3]
    assert [found["name"] for found in client.list_feature_lists()] == ["even"]
    client.delete_feature_list("even")
    assert list(client.list_feature_lists()) == []


def test_pages_of_a_list_hold_each_feature_once(client: Client, odd: dict[str, Any], http: httpx.Client) -> None:
    seen, cursor = [], None
    while True:
        page = http.get("/v1/lists/odd/features", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        seen += [item["index"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [3, 7, 9, 11]


@pytest.mark.parametrize("sort", FeatureSort)
def test_the_listing_is_filtered_in_every_order(client: Client, odd: dict[str, Any], sort: FeatureSort) -> None:
    assert sorted(indices(client, list="odd", sort=sort.value)) == [3, 7, 9, 11]
    every = indices(client, sort=sort.value, order="desc")
    assert indices(client, list="odd", sort=sort.value, order="desc") == [index for index in every if index in (3, 7, 9, 11)]
    assert indices(client, list=str(odd["id"]), sort=sort.value, min_score=0.4) == indices(client, list="odd", sort=sort.value, min_score=0.4)


def test_the_label_filter_and_the_search_stay_in_the_list(client: Client, odd: dict[str, Any]) -> None:
    label = next(client.list_features(NAME, list="odd"))["label"]
    word = label.split()[0]
    inside = {index for index in indices(client, q=word) if index in (3, 7, 9, 11)}
    assert set(indices(client, q=word, list="odd")) == inside
    for scorer in (None, "detection"):
        hits = client.search_labels(mode="text", q=word, list="odd", scorer=scorer)["items"]
        assert {hit["index"] for hit in hits} == {3, 7, 9, 11} & {hit["index"] for hit in client.search_labels(mode="text", q=word)["items"]}


def test_an_export_holds_the_list(store: Engine, odd: dict[str, Any]) -> None:
    with snapshot(store) as session:
        plan = plan_of(session, ExportRequest(dictionary=NAME, format="jsonl", list="odd", features="0-8"))
    assert [record.index for some in portions(store, plan.query, plan.among) for record in some] == [3, 7]
    assert plan.asked["list"] == "odd"


def test_a_job_takes_the_features_of_a_list(store: Engine, client: Client, odd: dict[str, Any]) -> None:
    assert admission.with_features(JobSpec.model_validate(JOB), store).features == (3, 7, 9, 11)
    named = JOB | {"dictionary": {"source": "d", "name": "other@1-res"}}
    with pytest.raises(InputError, match="other@1-res"):
        admission.with_features(JobSpec.model_validate(named), store)
    with pytest.raises(InputError, match="one dictionary"):
        several = {name: value for name, value in JOB.items() if name != "dictionary"} | {"dictionaries": [{"source": "d"}, {"source": "e"}]}
        admission.with_features(JobSpec.model_validate(several), store)


def test_a_negative_side_names_its_feature_in_a_job(store: Engine, client: Client) -> None:
    with transaction(store) as session:
        dictionaries.save_subject(session, "n" * 64, "toy", {}, VOCABULARY)
        kinds = {"hook_point": "blocks.0.hook_resid_pre", "architecture": "neurons", "d_in": 4, "n_features": 8, "config": {}, "polarity": "both"}
        dictionaries.save_dictionary(session, "n" * 64, name=BOTH, digest="n" * 64, **kinds)
    client.create_feature_list("odd", [f"{BOTH}:1-", f"{BOTH}:1", f"{BOTH}:3-", *ODD])
    named = JOB | {"dictionary": {"source": "d", "name": BOTH}}
    assert admission.with_features(JobSpec.model_validate(named), store).features == (1, 3)
    with pytest.raises(InputError, match="several"):
        admission.with_features(JobSpec.model_validate(JOB), store)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/lists/nobody", None, 404),
        ("GET", "/v1/lists/9999999999999999999", None, 404),
        ("GET", "/v1/lists/99999999999999999999", None, 404),
        ("GET", f"/v1/dictionaries/{NAME}/features?list=nobody", None, 404),
        ("GET", "/v1/search?q=a&list=nobody", None, 404),
        ("POST", "/v1/exports", {"dictionary": NAME, "format": "csv", "list": "nobody"}, 404),
        ("POST", "/v1/jobs", JOB | {"features": "list:nobody"}, 404),
        ("POST", "/v1/jobs", JOB | {"features": "list:"}, 422),
        ("POST", "/v1/lists", {"name": "odd"}, 409),
        ("PATCH", "/v1/lists/odd", {"name": "other", "remove": ODD}, 409),
        ("POST", "/v1/lists", {"name": "12"}, 422),
        ("POST", "/v1/lists", {"name": "a\x00"}, 422),
        ("POST", "/v1/lists", {"name": "new", "features": ["nobody@1:1"]}, 404),
        ("POST", "/v1/lists", {"name": "new", "features": [f"{NAME}:99"]}, 422),
        ("POST", "/v1/lists", {"name": "new", "features": [f"{NAME}:1-"]}, 422),
        ("POST", "/v1/lists", {"name": "new", "features": [f"{NAME}:1"] * 10_001}, 422),
        ("PATCH", "/v1/lists/odd", {"add": [f"{NAME}:1", f"{NAME}:99"]}, 422),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    http: httpx.Client, client: Client, odd: dict[str, Any], method: str, path: str, body: Any, status: int
) -> None:
    client.create_feature_list("other")
    answer = http.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    assert [found["size"] for found in client.list_feature_lists()] == [4, 0]


def test_a_list_is_not_longer_than_it_may_be(client: Client, odd: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_lists, "MOST_FEATURES", 5)
    client.change_feature_list("odd", add=[f"{NAME}:1"])
    with pytest.raises(ApiError, match="6 features"):
        client.change_feature_list("odd", add=[f"{NAME}:2"])
    assert client.get_feature_list("odd")["size"] == 5


def test_only_its_owner_and_admins_change_a_list(store: Engine) -> None:
    alice, bob, admin = (Principal(name, name, frozenset({scope})) for name, scope in (("a", Scope.SUBMIT), ("b", Scope.SUBMIT), ("c", Scope.ADMIN)))
    with transaction(store) as session:
        feature_lists.create(session, alice.owner, "odd", "")
        with pytest.raises(ConflictError):
            feature_lists.held(session, bob, "odd")
        assert feature_lists.held(session, admin, "odd").owner == "a"
        assert [row.name for row in feature_lists.page(session, "a", 0, 5)] == ["odd"]
        assert feature_lists.page(session, "b", 0, 5) == []


def test_the_command_does_the_same_without_a_server(store: Engine, service_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOSSATOR_HOME", str(service_settings.home))
    monkeypatch.setenv("GLOSSATOR_DATABASE_URL", service_settings.database_url)
    monkeypatch.setattr("api.cli.connect._server", lambda _: None)
    runner = CliRunner()
    made = runner.invoke(app, ["list", "create", "odd", f"{NAME}:3", "-"], input=f"{NAME}:5 {NAME.replace('@', '/')}/7\n")
    assert made.exit_code == 0, made.output
    assert runner.invoke(app, ["list", "show", "odd"]).stdout.split() == [f"{NAME}:{index}" for index in (3, 5, 7)]
    assert runner.invoke(app, ["list", "remove", "odd", f"{NAME}:5"]).exit_code == 0
    assert "odd" in runner.invoke(app, ["list", "show"]).stdout
    listed = runner.invoke(app, ["features", NAME, "--list", "odd", "--json"])
    assert '"index": 7' in listed.stdout
    assert '"index": 5' not in listed.stdout
    assert runner.invoke(app, ["list", "delete", "odd"]).exit_code == 0
