"""Figures of all features of a run: they add up to what the listing says."""

import math
from typing import Any

import pytest
from sqlalchemy import Engine

from glossator import Client
from interp.store.db.engine import snapshot
from interp.store.listings import distributions
from interp.store.listings.distributions import Mean
from tests.api.synthetic import DEAD, FEATURES, NAME


@pytest.fixture(scope="module")
def figures(client: Client) -> dict[str, Any]:
    return client.get_dictionary_figures(NAME)


def test_every_feature_is_in_one_bin_or_has_no_figure(client: Client, figures: dict[str, Any]) -> None:
    rows = list(client.list_features(NAME))
    for name, found in figures["distributions"].items():
        values = [row[name] for row in rows if row[name] is not None and (row[name] > 0 or not found["by_decades"])]
        assert sum(found["counts"]) == len(values)
        assert found["others"] == len(rows) - len(values)
        edges = found["edges"]
        assert edges == sorted(set(edges)) or len(values) == 1 or min(values) == max(values)
        for place, count in enumerate(found["counts"]):
            is_last = place == len(found["counts"]) - 1
            inside = [value for value in values if edges[place] <= value and (value < edges[place + 1] or (is_last and value <= edges[place + 1]))]
            assert len(inside) == count, (name, place)


def test_coverage_and_reasons_add_up(figures: dict[str, Any]) -> None:
    found = figures["coverage"]
    assert (found["features"], found["listed"]) == (FEATURES + 4, FEATURES)
    assert found["active"] + found["rare"] + found["dead"] == found["listed"]
    assert found["labelled"] + found["failed"] + found["not_asked"] == found["listed"]
    assert sum(reason["features"] for reason in figures["reasons"]) == found["failed"] > 0
    assert DEAD < FEATURES


def test_a_line_of_the_table_is_the_mean_of_its_scores(client: Client, figures: dict[str, Any]) -> None:
    (line,) = figures["explainers"]
    values = [row["score"] for row in client.list_features(NAME) if row["score"] is not None]
    assert (line["explainer"], line["scorer"], line["score"]["count"]) == ("pattern", "detection", len(values))
    assert line["score"]["value"] == pytest.approx(sum(values) / len(values))
    assert line["score"]["low"] < line["score"]["value"] < line["score"]["high"]


def test_a_mean_has_its_normal_interval() -> None:
    found = Mean.of(4, 2.5, (1 + 4 + 9 + 16) / 4)
    assert found.high is not None
    assert found.high - 2.5 == pytest.approx(1.959964 * math.sqrt(5 / 3) / 2)
    assert Mean.of(0, None, None) == Mean(0, None, None, None)
    assert Mean.of(1, 2.0, 4.0) == Mean(1, 2.0, None, None)


def test_a_run_without_features_has_empty_figures(client: Client, store: Engine) -> None:

    with snapshot(store) as session:
        assert {len(found.edges) for found in distributions.distributions(session, 10**6).values()} == {0}
        assert distributions.league(session, 10**6) == distributions.failures(session, 10**6) == []
        assert distributions.coverage(session, 10**6).listed == 0
