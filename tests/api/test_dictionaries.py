"""What the reading endpoints answer, on a book that real repositories wrote."""

from typing import Any

import httpx
import pytest

from glossator import ApiError, Client
from interp.store.listings import keyset
from tests.api import synthetic
from tests.api.synthetic import NAME


def test_a_dictionary_is_found_by_id_and_by_name(client: Client) -> None:
    by_name = client.get_dictionary(NAME)
    assert client.get_dictionary(str(by_name["id"])) == by_name
    assert by_name["states"] == {"active": 11, "dead": 1}
    assert by_name["subject"] == "toy"
    assert NAME in [row["name"] for row in client.list_dictionaries()]


def test_an_unknown_dictionary_is_a_problem_that_names_the_known_ones(http: httpx.Client) -> None:
    response = http.get("/v1/dictionaries/none@such/features")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == "/problems/not-found"
    assert problem["instance"] == "/v1/dictionaries/none@such/features"
    assert NAME in problem["details"]["known"]
    assert http.get(problem["type"]).json()["title"] == problem["title"]


def test_features_are_sorted_with_undefined_ones_last_in_both_directions(client: Client) -> None:
    rising = [row["index"] for row in client.list_features(NAME, sort="score")]
    falling = [row["index"] for row in client.list_features(NAME, sort="score", order="desc")]
    assert rising == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 10, 11]
    assert falling == [9, 8, 7, 6, 5, 4, 3, 2, 1, 11, 10, 0]


def test_features_are_filtered(client: Client) -> None:
    assert [row["index"] for row in client.list_features(NAME, min_score=0.3, max_lift=0.0)] == [3, 4, 5]
    assert [row["index"] for row in client.list_features(NAME, state="dead")] == [11]
    assert [row["index"] for row in client.list_features(NAME, q="100%_SELF [7")] == [7]
    assert [row["index"] for row in client.list_features(NAME, min_density=0.048)] == [8, 9, 10]


def test_pages_join_to_the_whole_listing(http: httpx.Client) -> None:
    whole = http.get(f"/v1/dictionaries/{NAME}/features", params={"sort": "lift", "order": "desc"}).json()
    assert whole["next_cursor"] is None
    walked: list[Any] = []
    cursor = None
    for _ in range(20):
        page = http.get(
            f"/v1/dictionaries/{NAME}/features",
            params={"sort": "lift", "order": "desc", "limit": 3, "cursor": cursor} if cursor else {"sort": "lift", "order": "desc", "limit": 3},
        ).json()
        walked += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert walked == whole["items"]


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"cursor": "bm9uc2Vuc2U"}, "cannot be read"),
        ({"cursor": "%%%"}, "cannot be read"),
        ({"sort": "lift", "cursor": "THE NEXT ONE"}, "another listing"),
        ({"q": "self", "cursor": "THE NEXT ONE"}, "another listing"),
    ],
)
def test_a_cursor_of_another_listing_is_refused(http: httpx.Client, params: dict[str, str], says: str) -> None:
    path = f"/v1/dictionaries/{NAME}/features"
    following = http.get(path, params={"sort": "score", "limit": 2}).json()["next_cursor"]
    asked = {"sort": "score"} | params | {"cursor": params["cursor"].replace("THE NEXT ONE", following)}
    response = http.get(path, params=asked)
    assert response.status_code == 422
    assert response.json()["code"] == "cursor-invalid"
    assert says in response.json()["detail"]


@pytest.mark.parametrize("params", [{"limit": 501}, {"limit": 0}, {"sort": "beauty"}, {"min_score": "nan"}, {"colour": "red"}, {"state": "asleep"}])
def test_a_listing_that_makes_no_sense_lists_the_fields_that_are_wrong(http: httpx.Client, params: dict[str, Any]) -> None:
    response = http.get(f"/v1/dictionaries/{NAME}/features", params=params)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in response.json()["errors"]] == [f"query.{next(iter(params))}"]


def test_a_feature_has_everything(client: Client) -> None:
    found = client.get_feature(NAME, 3, items=True)
    assert found["name"] == f"{NAME}:3"
    assert found["statistics"]["density"] == pytest.approx(0.043)
    assert found["statistics"]["test"] == {"windows_seen": 50, "windows_active": 20}
    assert len(found["histogram"]["edges"]) == len(found["histogram"]["counts"]) + 1
    assert found["histogram"]["counts"] == [30, 0, 0, 0, 10]
    assert sum(found["histogram"]["counts"]) == 40
    assert [context["kind"] for context in found["contexts"]] == ["top", "uniform", "inactive"]
    assert found["promoted"] == [{"token": ".", "token_id": 2, "logit": 1.25}]
    assert found["suppressed"] == [{"token": "caf", "token_id": 5, "logit": -1.5}]
    assert found["nearest"] == [
        {"index": 0, "name": f"{NAME}:0", "cosine": 0.75, "label": "100%_self [0]", "score": None},
        {"index": 15, "name": f"{NAME}:15", "cosine": 0.5, "label": None, "score": None},
    ]
    assert found["evidence"]["tokens"] == 1000
    [explanation] = found["explanations"]
    [score] = explanation["scores"]
    assert score["value"] == pytest.approx(0.3)
    assert score["interval"] == {"low": pytest.approx(0.2), "high": pytest.approx(0.4), "level": 0.95, "method": "wilson"}
    assert score["null"]["q_value"] == 0.01
    assert score["items"][1] == {"context": "b:32", "kind": "inactive", "truth": 0.0, "prediction": None, "failure": "timeout", "detail": None}
    assert score["details"]["metrics"] == {"f1": pytest.approx(0.3)}


def test_tokens_of_a_context_join_to_its_text_and_split_characters_show_whole(client: Client) -> None:
    for context in client.get_feature(NAME, 0)["contexts"]:
        assert "".join(context["tokens"]) == synthetic.TEXT
        assert len(context["tokens"]) == len(context["activations"])
        assert max(context["activations"]) == context["max_activation"]


def test_documents_keep_all_their_64_bits(client: Client) -> None:
    assert [context["document"] for context in client.get_feature(NAME, 0)["contexts"]][1] == "f" * 16


def test_an_undefined_score_has_a_reason_and_no_figures(client: Client) -> None:
    [score] = client.get_feature(NAME, 0)["explanations"][0]["scores"]
    assert score["value"] is None
    assert score["interval"] is None
    assert score["reason"] == "only positives"
    assert score["items"] is None


def test_a_dead_feature_says_so(client: Client) -> None:
    found = client.get_feature(NAME, synthetic.DEAD)
    assert found["state"] == "dead"
    assert found["contexts"] == []
    assert found["quantiles"] == []
    assert found["histogram"] == {"edges": [], "counts": []}
    assert found["explanations"][0]["failure"] == "no context fires"


@pytest.mark.parametrize(("index", "says"), [(13, "No job has collected it."), (16, "features 0 to 15"), (2**31 - 1, "features 0 to 15")])
def test_a_feature_that_is_not_there_says_why(client: Client, index: int, says: str) -> None:
    with pytest.raises(ApiError, match=says):
        client.get_feature(NAME, index)


def test_explanations_come_with_their_scores_in_the_order_of_features(client: Client) -> None:
    found = list(client.list_explanations(dictionary=NAME))
    assert [row["index"] for row in found] == list(range(12))
    assert [len(row["scores"]) for row in found] == [1] * 10 + [0, 0]
    assert found[10]["text"] is None
    assert found[10]["failure"]
    assert list(client.list_explanations(dictionary=NAME, index=4)) == [found[4]]
    assert list(client.list_explanations(dictionary=NAME, q="self [5]")) == [found[5]]
    assert list(client.list_explanations(explainer="oracle")) == []
    assert list(client.list_explanations(limit=3, dictionary=NAME)) == found[:3]


def test_pages_of_explanations_join_to_the_whole_listing(http: httpx.Client) -> None:
    whole = http.get("/v1/explanations", params={"dictionary": NAME}).json()["items"]
    first = http.get("/v1/explanations", params={"dictionary": NAME, "limit": 7}).json()
    rest = http.get("/v1/explanations", params={"dictionary": NAME, "limit": 7, "cursor": first["next_cursor"]}).json()
    assert first["items"] + rest["items"] == whole
    assert rest["next_cursor"] is None


@pytest.mark.parametrize("path", [f"/v1/dictionaries/{NAME}/features", "/v1/explanations"])
def test_only_the_last_page_is_shorter_than_its_limit(http: httpx.Client, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that few rows have: the store examines some rows per query, the API goes on until the page is full."""
    monkeypatch.setattr(keyset, "EXAMINED", 2)
    monkeypatch.setattr(keyset, "FOUND_OF_RARE", -1)
    pages: list[list[int]] = []
    params = {"q": "self", "limit": "4"}
    while True:
        page = http.get(path, params=params).json()
        pages.append([row["index"] for row in page["items"]])
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert [index for indices in pages for index in indices] == list(range(10))
    assert [len(indices) for indices in pages] == [4, 4, 2]
