"""Listings of results are as a plain reference gives, on both dialects.

Their plans read one index and sort nothing.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations, count, product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from interp.domain.lifecycle import JobStatus
from interp.store.db.bulk import upsert
from interp.store.db.dialect import in_index_order
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.db.tables import ExplanationRow, FeatureRow
from interp.store.listings import keyset, queries
from interp.store.listings.keyset import ListingPage
from interp.store.listings.queries import ExplanationQuery, FeatureQuery, FeatureSort, Position
from interp.store.llm import calls
from tests import databases
from tests.api import synthetic

numbered = count()
WORDS = ("alpha", "beta", "ALPHABET", "Été", "x%y_z", "\\a")
figures = st.one_of(st.none(), st.sampled_from([-0.5, 0.0, 0.25, 1.0]))
row_of_features = st.fixed_dictionaries(
    {
        "score": figures,
        "lift": figures,
        "shrunken_score": figures,
        "p_value": figures,
        "q_value": figures,
        "tokens_active": st.sampled_from([0, 7, 2**40]),
        "mean_active": st.sampled_from([0.0, 2.5]),
        "firing_level": st.sampled_from([0.0, 1.5]),
        "explainer": st.sampled_from([None, "a", "Z"]),
        "density": st.sampled_from([0.0, 0.001, 0.5]),
        "max_activation": st.sampled_from([0.0, 2.5, 7.0]),
        "state": st.sampled_from(["active", "rare", "dead"]),
        "label": st.one_of(st.none(), st.lists(st.sampled_from(WORDS), min_size=1, max_size=2).map(" ".join)),
    }
).map(synthetic.as_it_may_be)
rows_of_features = st.lists(row_of_features, max_size=5) | st.lists(row_of_features, min_size=15, max_size=30)
FILTERS_OF_FEATURES: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("min_score", "max_score", "min_lift", "max_lift", "max_q"), (-0.5, 0.0, 0.25)),
    **dict.fromkeys(("min_shrunken_score", "max_shrunken_score", "max_p"), (0.0, 0.25)),
    "min_tokens_active": (7,),
    "max_tokens_active": (7,),
    "min_max_activation": (2.5,),
    "max_max_activation": (2.5,),
    "min_mean_active": (2.5,),
    "max_mean_active": (0.0,),
    "min_firing_level": (1.5,),
    "max_firing_level": (0.0,),
    "explainer": ("a", "b"),
    "min_density": (0.001,),
    "max_density": (0.001,),
    "state": ("active", "rare", "dead"),
    "text": ("alp", "ALPHA", "a", "a b", "%", "_z", "\\", "été", "Été", "eta alpha"),
}
# What `min_` and `max_` of a filter are of.
BOUNDED = {name: name for name in ("score", "lift", "shrunken_score", "density", "tokens_active", "max_activation", "mean_active", "firing_level")}
BOUNDED |= {"p": "p_value", "q": "q_value"}
SINGLE = [(name, value) for name, values in FILTERS_OF_FEATURES.items() for value in values]
# None, each of them, and each two: what passes more is soon nothing.
filters_of_features = st.sampled_from([dict(some) for number in range(3) for some in combinations(SINGLE, number)])
# So few, that each way of looking for a text is gone in examples of some rows.
few = st.sampled_from([1, 3, 5000])
given_few = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])


def lower(value: str) -> str:
    """A to Z alone, as both databases do."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in value)


def passes(row: dict[str, Any], filters: dict[str, Any]) -> bool:
    for name, column in BOUNDED.items():
        low, high = filters.get(f"min_{name}"), filters.get(f"max_{name}")
        if (low is not None or high is not None) and row[column] is None:
            return False
        if (low is not None and row[column] < low) or (high is not None and row[column] > high):
            return False
    if filters.get("state", row["state"]) != row["state"] or filters.get("explainer", row["explainer"]) != row["explainer"]:
        return False
    return "text" not in filters or (row["label"] is not None and lower(filters["text"]) in lower(row["label"]))


def expected(rows: list[dict[str, Any]], filters: dict[str, Any], sort: FeatureSort, descending: bool) -> list[int]:
    kept = [index for index, row in enumerate(rows) if passes(row, filters)]
    if sort is FeatureSort.INDEX:
        return kept[::-1] if descending else kept
    valued = sorted((index for index in kept if rows[index][sort.column] is not None), key=lambda index: (rows[index][sort.column], index))
    valueless = [index for index in kept if rows[index][sort.column] is None]
    return valued[::-1] + valueless[::-1] if descending else valued + valueless


def walk(engine: Engine, read: Callable[[Session, Any], ListingPage[Any, Any]], limit: int) -> list[Any]:
    """Return all rows, page by page; only searches may have short pages before the last."""
    found: list[Any] = []
    place = None
    while True:
        with snapshot(engine) as session:
            page = read(session, place)
        assert len(page.rows) <= limit
        found += page.rows
        place = page.next
        if place is None:
            return found


@given(
    rows=rows_of_features, filters=filters_of_features, sort=st.sampled_from(FeatureSort), descending=st.booleans(), bound=few, examined=few, rare=few
)
@given_few
def test_features_page_by_page_are_what_a_plain_reference_gives(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[dict[str, Any]],
    filters: dict[str, Any],
    sort: FeatureSort,
    descending: bool,
    bound: int,
    examined: int,
    rare: int,
) -> None:
    for name, number in (("FEW", bound), ("EXAMINED", examined), ("RARE", rare), ("FOUND_OF_RARE", rare)):
        monkeypatch.setattr(keyset, name, number)
    run_id = synthetic.empty_run(engine, f"walk@{next(numbered)}")
    synthetic.add_features(engine, [synthetic.feature_row(run_id, index, **row) for index, row in enumerate(rows)])
    query = FeatureQuery(run_id, sort=sort, descending=descending, limit=4, **filters)

    found = walk(engine, lambda session, place: queries.features(session, replace(query, after=place)), 4)

    assert [row.feature for row in found] == expected(rows, filters, sort, descending)


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 3), st.sampled_from(["a", "b"]), st.sampled_from([None, "alpha", "beta x"])), max_size=20
    ),
    wanted=st.fixed_dictionaries(
        {},
        optional={
            "runs": st.sampled_from([(0,), (1,), (1, 0)]),
            "feature": st.integers(0, 3),
            "explainer": st.sampled_from(["a", "b"]),
            "text": st.sampled_from(["ALPHA", "x", "beta"]),
        },
    ),
    examined=few,
    rare=few,
)
@given_few
def test_explanations_page_by_page_are_what_a_plain_reference_gives(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[tuple[int, int, str, str | None]],
    wanted: dict[str, Any],
    examined: int,
    rare: int,
) -> None:
    monkeypatch.setattr(keyset, "EXAMINED", examined)
    monkeypatch.setattr(keyset, "RARE", rare)
    monkeypatch.setattr(keyset, "FOUND_OF_RARE", rare)
    with transaction(engine) as session:
        session.execute(ExplanationRow.__table__.delete())
    ids = [synthetic.empty_run(engine, f"walk@{next(numbered)}") for _ in range(2)]
    add_explanations(engine, [explanation(ids[row[0]], row[1], row[2], row[3], number) for number, row in enumerate(rows)])
    asked = wanted.get("runs", (0, 1))
    wanted = wanted | {"runs": tuple(ids[run] for run in asked)}

    def read(session: Session, place: Any) -> ListingPage[ExplanationRow, Any]:
        left = wanted["runs"] if place is None else wanted["runs"][wanted["runs"].index(place[0]) :]
        return queries.explanations(session, ExplanationQuery(**wanted | {"runs": left}, after=place, limit=3))

    found = walk(engine, read, 3)

    def is_wanted(number: int) -> bool:
        run, feature, explainer, label = rows[number]
        values = {"feature": feature, "explainer": explainer}
        has_text = "text" not in wanted or (label is not None and lower(wanted["text"]) in label)
        return run in asked and has_text and all(values[name] == wanted[name] for name in values if name in wanted)

    numbers = sorted(filter(is_wanted, range(len(rows))), key=lambda number: (asked.index(rows[number][0]), rows[number][1], number))
    assert [row.settings_digest for row in found] == [str(number) for number in numbers]


def explanation(run_id: int, feature: int, explainer: str, label: str | None, number: int) -> dict[str, Any]:
    row = {"run_id": run_id, "feature": feature, "explainer": explainer}
    return row | {"settings_digest": str(number), "text": label, "provenance": {}, "created_at": synthetic.datetime.now(synthetic.UTC)}


def add_explanations(engine: Engine, rows: list[dict[str, Any]]) -> None:
    with transaction(engine) as session:
        upsert(session, ExplanationRow, rows, keys=["run_id", "feature", "explainer", "settings_digest"])


# Plans. Big tables are those that grow with features.

BIG = {"features", "explanations", "scores", "evidence", "score_items", "chunks", "jobs"}
FEATURES = 30_000
DEEP: dict[FeatureSort, float | str] = {
    FeatureSort.INDEX: 15_000,
    FeatureSort.TOKENS_ACTIVE: 400,
    FeatureSort.LABEL: "word 15",
    FeatureSort.EXPLAINER: "explainer 1",
}
PLACES: dict[FeatureSort, tuple[Position | None, ...]] = {
    sort: (None, Position(DEEP.get(sort, 0.4), 15_000), Position(None, 15_000)) for sort in FeatureSort
}
PLACES[FeatureSort.INDEX] = PLACES[FeatureSort.INDEX][:2]
for every in (
    *(FeatureSort.DENSITY, FeatureSort.TOKENS_ACTIVE),
    *(FeatureSort.MAX_ACTIVATION, FeatureSort.MEAN_ACTIVE, FeatureSort.FIRING_LEVEL),
):
    PLACES[every] = PLACES[every][:2]
FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"min_score": 0.9, "max_lift": -0.4},
    {"max_q": 0.001, "state": "active"},
    {"state": "dead"},
    {"min_score": 0.1, "min_lift": 0.1, "max_density": 0.00001, "max_q": 0.05},
)


@pytest.fixture(scope="module")
def large(postgres_url: str) -> Iterator[Engine]:
    """A book of some ten thousand features, with the server's statistics of it."""
    databases.upgrade_and_empty(postgres_url)
    engine = make_engine(postgres_url)
    run_id = synthetic.empty_run(engine, "large@1")
    drawn = [(index * 7919 % 1000) / 1000 for index in range(FEATURES)]
    rows = [
        synthetic.feature_row(
            run_id,
            index,
            score=None if index % 10 == 0 else value,
            lift=None if index % 10 == 0 else value - 0.5,
            p_value=None if index % 10 == 0 else 1 - value,
            q_value=None if index % 10 == 0 else 1 - value,
            shrunken_score=value,
            density=value / 100,
            tokens_active=int(value * 1000),
            max_activation=value,
            mean_active=value,
            firing_level=value,
            explainer=f"explainer {index % 3}",
            state="dead" if index % 10 == 0 else "active",
            label=f"word {index % 97}",
        )
        for index, value in enumerate(drawn)
    ]
    with transaction(engine) as session:
        upsert(session, FeatureRow, rows, keys=["run_id", "feature"])
    add_explanations(engine, [explanation(run_id, index, "ab"[index % 2], f"word {index % 97}", 0) for index in range(FEATURES)])
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    yield engine
    engine.dispose()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def planned(engine: Engine, statement: Any) -> list[dict[str, Any]]:
    compiled = statement.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
    with snapshot(engine) as session:
        in_index_order(session)
        found = session.connection().exec_driver_sql("EXPLAIN (FORMAT JSON) " + str(compiled).replace("%", "%%")).scalar_one()
    tree = json.loads(found) if isinstance(found, str) else found
    return list(nodes(tree[0]["Plan"]))


def assert_walks(plan: list[dict[str, Any]], *indexes: str) -> None:
    told = [(node["Node Type"], node.get("Index Name"), node.get("Filter")) for node in plan]
    assert not [node for node in plan if node["Node Type"] == "Seq Scan" and node["Relation Name"] in BIG], told
    assert not [node for node in plan if "Sort" in node["Node Type"]], told
    walked = [node for node in plan if "Index Name" in node]
    assert {node["Index Name"] for node in walked} <= set(indexes), told
    assert {node["Node Type"] for node in walked} <= {"Index Only Scan"}, f"no row is read: {told}"


@pytest.mark.parametrize(("sort", "descending"), list(product(FeatureSort, (False, True))))
def test_a_page_of_features_walks_one_index_whatever_the_filters_and_the_depth(large: Engine, sort: FeatureSort, descending: bool) -> None:
    for filters, after in product(FILTERS, PLACES[sort]):
        query = FeatureQuery(1, sort=sort, descending=descending, after=after, **filters)
        for statement in keyset.statements(queries.feature_listing(query)):
            by_key = ["features_pkey"] if sort is FeatureSort.INDEX and not filters else []
            assert_walks(planned(large, statement), f"ix_features_{sort.column}", *by_key)


WANTED: tuple[dict[str, Any], ...] = ({}, {"feature": 7})


@pytest.mark.parametrize("explainer", [{}, {"explainer": "a"}, {"explainer": "nobody"}])
@pytest.mark.parametrize("after", [None, (1, 15_000, 15_000)])
def test_a_page_of_explanations_walks_one_index_from_its_cursor(large: Engine, explainer: dict[str, Any], after: Any) -> None:
    for wanted in WANTED:
        query = ExplanationQuery((1,), **wanted, **explainer, after=after)
        for statement in keyset.statements(queries.explanation_listing(query, 1)):
            plan = planned(large, statement)
            assert_walks(plan, "ix_explanations_feature", "ix_explanations_explainer")
            assert after is None or all("> " in node["Index Cond"] for node in plan if "Index Name" in node)


JOBS, CALLS = 3_000, 20_000


@pytest.fixture(scope="module")
def busy(large: Engine) -> Engine:
    """The same with many jobs, and one of them with many calls."""
    with large.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO jobs (id, status, priority, spec, request_digest, features_failed, created_at, control_of) "
            "SELECT 'job' || n, (ARRAY['completed', 'failed', 'running'])[1 + mod(n, 3)], 0, '{}', 'd', 0, now() - n * interval '1 second', "
            f"CASE WHEN mod(n, 10) = 0 THEN 'job' || (n + 1) END FROM generate_series(1, {JOBS}) AS n"
        )
        connection.exec_driver_sql(
            "INSERT INTO llm_calls (job_id, chunk_id, stage, feature, purpose, key, model, base_url, transport, template, status, attempts, "
            "prompt_tokens, completion_tokens, usage_known, seconds, created_at) "
            "SELECT 'job' || (1 + mod(n, 2)), 'c', (ARRAY['explain', 'score'])[1 + mod(n / 2, 2)], n / 9, 'p', md5(n::text), 'm', 'u', 'live', 't', "
            f"CASE WHEN mod(n, 1000) = 0 THEN 'failed' ELSE 'answered' END, 1, 9, 9, true, 0.5, now() FROM generate_series(1, {CALLS}) AS n"
        )
    with large.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE jobs, llm_calls"))
    return large


def plans_of(engine: Engine, read: Callable[[Session], object]) -> list[list[dict[str, Any]]]:
    """Return the plan of each statement about a big table, as it is sent.

    It has the rows that were really looked at.
    """
    found: list[list[dict[str, Any]]] = []

    def explain(connection: Any, _cursor: object, statement: str, parameters: Any, _context: object, _many: bool) -> None:
        if statement.startswith("SELECT") and any(f"FROM {name}" in statement for name in (*BIG, "llm_calls")):
            driver = connection.connection.driver_connection
            (tree,) = driver.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + statement, parameters).fetchone()
            found.append(list(nodes(tree[0]["Plan"])))

    event.listen(engine, "before_cursor_execute", explain)
    try:
        with snapshot(engine) as session:
            read(session)
    finally:
        event.remove(engine, "before_cursor_execute", explain)
    assert found
    return found


def assert_reads_few(plans: list[list[dict[str, Any]]], few: int) -> None:
    """Assert that neither a table nor an index is read from end to end.

    Rows that did not match count, too.
    """
    for plan in plans:
        told = [(node["Node Type"], node.get("Index Name"), node["Actual Rows"], node.get("Rows Removed by Filter", 0)) for node in plan]
        assert not [node for node in plan if node["Node Type"] == "Seq Scan"], told
        assert max(rows + removed for *_, rows, removed in told) <= few, told


MIDDLE = (datetime.now(UTC) - timedelta(seconds=JOBS / 2), "job5")


@pytest.mark.parametrize("after", [None, MIDDLE])
@pytest.mark.parametrize("status", [None, *JobStatus])
def test_a_page_of_jobs_reads_little_more_than_the_jobs_of_the_page(busy: Engine, status: JobStatus | None, after: Any) -> None:
    assert_reads_few(plans_of(busy, lambda session: queries.jobs(session, status, after, 50)), 200)


@pytest.mark.parametrize("after", [None, CALLS // 2])
@pytest.mark.parametrize("wanted", [{}, {"feature": 700}, {"status": "failed"}, {"stage": "score"}, {"feature": 700, "status": "failed"}])
def test_a_page_of_calls_walks_the_index_of_its_job(busy: Engine, wanted: dict[str, Any], after: int | None) -> None:
    walk, rows = plans_of(busy, lambda session: calls.page(session, "job1", after=after, **wanted))
    assert_walks(walk, "ix_llm_calls_job", "ix_llm_calls_feature")
    assert_reads_few([rows], 50)


@pytest.mark.parametrize("part", ["word 1", "word 96", "nowhere", "w"])
@pytest.mark.parametrize("after", [None, Position(0.4, 15_000)])
def test_a_search_in_labels_reads_no_more_than_it_may(busy: Engine, part: str, after: Any) -> None:
    query = FeatureQuery(1, sort=FeatureSort.SCORE, text=part, after=after)
    assert_reads_few(plans_of(busy, lambda session: queries.features(session, query)), keyset.EXAMINED + 1)
    wanted = ExplanationQuery((1,), text=part, after=None if after is None else (1, 15_000, 15_000))
    assert_reads_few(plans_of(busy, lambda session: queries.explanations(session, wanted)), keyset.EXAMINED + 1)
