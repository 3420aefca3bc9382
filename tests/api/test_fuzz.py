"""Whatever is asked, the answer is an answer or a problem document, never a defect."""

import json
from typing import Any
from urllib.parse import quote

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from api.reads import cursors
from api.reads.dictionaries import FeatureFilters
from tests.api.synthetic import NAME

ALLOWED = {200, 404, 405, 422}
PATHS = ("/v1/jobs", "/v1/dictionaries", f"/v1/dictionaries/{NAME}/features", "/v1/explanations")
NAMES = [
    "cursor",
    "limit",
    "sort",
    "order",
    "status",
    "state",
    "q",
    "dictionary",
    "index",
    "explainer",
    "min_score",
    "max_lift",
    "min_density",
    "max_q_value",
]
values = st.one_of(
    st.text(max_size=20), st.integers().map(str), st.floats().map(str), st.sampled_from(["score", "label", "desc", "dead", "queued", NAME])
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10))
json_values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["model", "path", "source", "window", "name", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
bodies = st.dictionaries(
    st.sampled_from(["subject", "dictionary", "corpus", "features", "collection", "scorers", "seed", "x"]), json_values, max_size=6
)


def check(response: httpx.Response) -> None:
    assert response.status_code in ALLOWED, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["status"] == response.status_code


@given(path=st.sampled_from(PATHS), params=st.dictionaries(st.sampled_from(NAMES), values, max_size=4))
@settings(max_examples=150, deadline=None)
def test_listings_answer_any_query(http: httpx.Client, path: str, params: dict[str, str]) -> None:
    check(http.get(path, params=params))


@given(dictionary=values, index=values)
@settings(max_examples=60, deadline=None)
def test_features_answer_any_address(http: httpx.Client, dictionary: str, index: str) -> None:
    check(http.get(f"/v1/dictionaries/{quote(dictionary, safe='')}/features/{quote(index, safe='')}"))


@given(
    job=values,
    part=st.sampled_from(["usage", "calls", "webhook-deliveries"]),
    params=st.dictionaries(st.sampled_from(["cursor", "limit", "index", "stage", "status"]), values, max_size=3),
)
@settings(max_examples=80, deadline=None)
def test_what_a_job_cost_is_answered_at_any_address(http: httpx.Client, job: str, part: str, params: dict[str, str]) -> None:
    check(http.get(f"/v1/jobs/{quote(job, safe='')}/{part}", params=params))


@given(dictionary=values, index=values)
@settings(max_examples=60, deadline=None)
def test_provenance_answers_any_address(http: httpx.Client, dictionary: str, index: str) -> None:
    check(http.get(f"/v1/dictionaries/{quote(dictionary, safe='')}/features/{quote(index, safe='')}/provenance"))


@given(
    place=st.one_of(st.lists(json_values, max_size=3), st.tuples(st.integers(), scalars, st.integers())),
    sort=st.sampled_from(["index", "score", "density", "label"]),
)
@settings(max_examples=100, deadline=None)
def test_a_forged_cursor_is_refused_or_read(http: httpx.Client, place: list[Any], sort: str) -> None:
    """Made for the right listing, but with any place in it: even then nothing breaks."""
    dictionary_id = http.get(f"/v1/dictionaries/{NAME}").json()["id"]
    filters = FeatureFilters.model_validate({"sort": sort})
    cursor = cursors.encode(filters.listing(dictionary_id), tuple(place))
    check(http.get(f"/v1/dictionaries/{NAME}/features", params={"sort": sort, "cursor": cursor}))


@given(body=bodies)
@settings(max_examples=100, deadline=None)
def test_submission_refuses_any_nonsense(http: httpx.Client, body: dict[str, Any]) -> None:
    response = http.post("/v1/jobs", content=json.dumps(body), headers={"content-type": "application/json"})
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
