"""The map of a dictionary: columns of points, a figure of a run, the hits of a query."""

import base64
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import Engine, select

from glossator import ApiError, Client
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import DictionaryRow
from interp.store.results import feature_maps
from tests.api.synthetic import FEATURES, NAME

PATH = f"/v1/dictionaries/{NAME}/map"


@pytest.fixture(scope="module")
def places(store: Engine) -> np.ndarray:
    """A map of the book's dictionary, whose feature 3 has no direction."""
    found = np.random.default_rng(0).random((FEATURES + 4, 2)).astype(np.float32)
    found[3] = np.nan
    with transaction(store) as session:
        dictionary_id = session.scalars(select(DictionaryRow.id).where(DictionaryRow.name == NAME)).one()
        feature_maps.save(session, dictionary_id, "j", 0, found, {"layout": 0.4, "components": 0.1, "random": 0.05, "sampled": 15})
    return found


def column(found: dict[str, Any], name: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(found["points"][name]), "<i4" if name == "feature" else "<f4")


def test_every_placed_feature_is_a_point(client: Client, places: np.ndarray) -> None:
    found = client.get_dictionary_map(NAME)
    placed = [index for index in range(FEATURES + 4) if index != 3]
    assert (found["features"], found["placed"], found["quality"]["layout"]) == (FEATURES + 4, len(placed), 0.4)
    assert column(found, "feature").tolist() == placed
    assert np.abs(np.stack([column(found, "x"), column(found, "y")], axis=1) - places[placed]).max() < 1e-4
    rows = {row["index"]: row for row in client.list_features(NAME)}
    for colour in ("score", "lift", "density", "max_activation", "q_value", "shrunken_score"):
        coloured = client.get_dictionary_map(NAME, colour=colour)
        values = column(coloured, "value")
        for index, value in zip(placed, values.tolist(), strict=True):
            expected = rows.get(index, {}).get(colour)
            assert np.isnan(value) if expected is None else value == pytest.approx(expected, rel=1e-6), (colour, index)
        known = values[np.isfinite(values) & (values > 0 if coloured["by_decades"] else True)]
        assert (coloured["low"], coloured["high"]) == ((known.min(), known.max()) if len(known) else (None, None))


def test_hits_are_those_of_the_search(client: Client, places: np.ndarray) -> None:
    searched = client.search_labels(q="self", mode="text", dictionary=NAME, limit=500)
    found = client.get_dictionary_map(NAME, q="self", mode="text", points=False)
    assert [hit["index"] for hit in found["hits"]] == [hit["index"] for hit in searched["items"]] != []
    assert found["points"] is None
    assert len(client.get_dictionary_map(NAME, q="self", mode="text", hits=2, points=False)["hits"]) == 2
    assert client.get_dictionary_map(NAME, q="  ", points=False)["hits"] == []
    assert client.get_dictionary_map(NAME, q='"zz" (' * 20, mode="text", points=False)["hits"] == []


@pytest.mark.parametrize(
    "query",
    [
        "colour=label",
        "colour=__class__",
        "q=a%00b",
        "q=" + "a" * 401,
        "hits=0",
        "hits=501",
        "points=perhaps",
        "mode=regex",
        "run=",
        "more=1",
        "run=%00",
    ],
)
def test_what_is_no_query_is_refused(http: httpx.Client, places: np.ndarray, query: str) -> None:
    answer = http.get(f"{PATH}?{query}")
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize("q", ["%", "_", "'; drop table features; --", "*", '"', "\\", "a" * 400, "￿🦔", "OR AND NOT", "{1,2}"])
def test_any_text_may_be_searched(client: Client, places: np.ndarray, q: str) -> None:
    assert isinstance(client.get_dictionary_map(NAME, q=q, mode="text", points=False)["hits"], list)


def test_a_dictionary_without_a_map_says_how_to_get_one(client: Client, store: Engine, places: np.ndarray) -> None:
    with transaction(store) as session:
        dictionary_id = session.scalars(select(DictionaryRow.id).where(DictionaryRow.name == NAME)).one()
        session.execute(feature_maps.FeatureMapRow.__table__.delete())
    with pytest.raises(ApiError) as raised:
        client.get_dictionary_map(NAME)
    assert raised.value.status == 404 and "map: true" in str(raised.value)
    with transaction(store) as session:
        feature_maps.save(session, dictionary_id, "j", 0, places, {"layout": 0.4, "components": 0.1, "random": 0.05, "sampled": 15})
    with snapshot(store) as session:
        assert feature_maps.find(session, dictionary_id) is not None
