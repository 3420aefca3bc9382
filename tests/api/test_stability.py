"""How stable stored scores are: jobs that differ in seed and judge, compared."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import Engine

from glossator import ApiError, Client
from interp.domain.digests import digest_of
from interp.domain.explanation import Explanation, ExplanationFamily
from interp.domain.score import Interval
from interp.score.items.codec import encode_items
from interp.store.db.dialect import now
from interp.store.db.engine import transaction
from interp.store.db.tables import JobRow
from interp.store.results import dictionaries, explanations, runs, scores
from tests.api import synthetic

NAME, FEATURES = "stable@1-res", 60
SEEDS, JUDGES = (0, 1, 2), ("strict", "mild<b>")
CORPUS = {"digest": "c" * 64}


@pytest.fixture(scope="module")
def crossed(store: Engine) -> Iterator[np.ndarray]:
    """Sixty features, scored by jobs of three seeds and two judges; one more job scored five of them, another has other settings."""
    random = np.random.default_rng(0)
    own, draw, rest = (spread * random.standard_normal(shape) for spread, shape in ((0.1, 60), (0.05, (60, 3)), (0.03, (60, 3, 2))))
    values = np.clip(0.6 + own[:, None, None] + draw[:, :, None] + rest, 0.01, 0.99)
    with transaction(store) as session:
        dictionaries.save_subject(session, "s" * 64, "toy", {}, synthetic.VOCABULARY)
        kinds = {"hook_point": "blocks.0.x", "architecture": "jumprelu", "d_in": 16, "n_features": FEATURES, "config": {}}
        dictionary_id = dictionaries.save_dictionary(session, "s" * 64, name=NAME, digest="5" * 64, **kinds)
        each = {seed: runs.save(session, f"{seed}" * 64, dictionary_id, {"seed": seed, "corpus": CORPUS}, {}, 1) for seed in (*SEEDS, 7)}
    for seed in SEEDS:
        for place, judge in enumerate(JUDGES):
            scored(store, each[seed], seed, judge, range(FEATURES), values[:, seed, place])
    scored(store, each[7], 7, JUDGES[0], range(5), values[:, 0, 0])
    scored(store, each[0], 0, JUDGES[0], range(FEATURES), values[:, 0, 0], per_prompt=1)
    yield values


def scored(store: Engine, run_id: int, seed: int, judge: str, features: range, values: np.ndarray, **options: int) -> None:
    """Write a job's explanations, and its scores with intervals of a standard error of 0.02."""
    name = f"{seed}{judge[0]}{len(features)}{len(options)}"
    with transaction(store) as session:
        spec = {"seed": seed, "explainers": [{"name": "contexts"}], "scorers": [{"name": "detection", **options}]}
        session.add(JobRow(id=name, status="completed", spec=spec, request_digest=name, created_at=now(session)))
        family = ExplanationFamily(run_id, "contexts", f"{seed}" * 64)
        made = [Explanation(index, "contexts", f"label {index}", provenance={"seed": seed, "model": {"model": "writer"}}) for index in features]
        explanations.save(session, family, made, job_id=name)
        ids = {index: row_id for index, (row_id, _) in explanations.load(session, family, [(0, FEATURES)]).items()}
        rows = []
        for index in features:
            value = float(values[index])
            interval = Interval(value - 1.96 * 0.02, value + 1.96 * 0.02, 0.95, "wilson")
            one = replace(synthetic.score(1), feature=index, explainer="contexts", value=value, interval=interval, provenance={"judge": judge})
            rows.append(scores.Scored(ids[index], one, encode_items(one.items)))
        scores.save(session, run_id, f"{name:x<64}"[:64], rows, job_id=name)


def test_components_are_those_of_the_stored_scores(client: Client, crossed: np.ndarray) -> None:
    (study,) = client.get_dictionary_stability(NAME)["studies"]
    assert (study["explainer"], study["scorer"], study["features"]) == ("contexts", "detection", FEATURES)
    assert (study["conditions"], study["skipped"]) == (6, 1), "the job of five features, but not that of other settings"
    assert study["mean"] == pytest.approx(crossed.mean())
    assert {one["name"]: one["levels"] for one in study["factors"]} == {
        "judge": sorted(JUDGES),
        "explainer model": ["writer"],
        "corpus": [digest_of(CORPUS)[:8]],
        "seed": ["0", "1", "2"],
    }
    assert {one["name"]: one["why"] for one in study["left_out"]} == dict.fromkeys(("explainer model", "corpus"), "it has one level")
    found = {one["name"]: one for one in study["components"]}
    assert list(found) == ["feature", "feature x judge", "feature x seed", "residual"]
    assert found["feature x seed"]["low"] < 0.05**2 < found["feature x seed"]["high"]
    assert found["residual"]["low"] < 0.03**2 < found["residual"]["high"]
    once, *_, eight = study["reliability"]
    assert (once["scorings"], eight["scorings"]) == (1, 8)
    assert once["low"] < once["value"] < once["high"] < eight["value"] < 1


def test_figures_of_design_follow_the_difference(client: Client, crossed: np.ndarray) -> None:
    coarse, fine = (client.get_dictionary_stability(NAME, difference)["studies"][0]["design"] for difference in (0.1, 0.01))
    assert fine["features_unpaired"]["value"] == pytest.approx(100 * coarse["features_unpaired"]["value"], rel=0.1)
    assert fine["features_paired"]["value"] < fine["features_unpaired"]["value"]
    assert 0.5 < fine["chance_right"] < coarse["chance_right"] <= 1
    assert fine["items_factor"] is None, "sixty features differ too much to tell .01"
    assert 0 < fine["item_share"] < 0.1


def test_one_condition_is_refused_with_the_cure(client: Client) -> None:
    with pytest.raises(ApiError, match="another `seed`") as caught:
        client.get_dictionary_stability(synthetic.NAME)
    assert caught.value.status == 404


@pytest.mark.parametrize("difference", ["0", "-1", "2", "nan", "inf", "x"])
def test_a_difference_is_above_nothing_and_at_most_one(http, difference: str) -> None:
    assert http.get(f"/v1/dictionaries/{synthetic.NAME}/stability", params={"difference": difference}).status_code == 422
