"""Listings show every row once, in order, whatever sort, filter and page size."""

from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from api.reads import features
from interp.store.db.engine import snapshot
from interp.store.listings import keyset, queries
from interp.store.listings.queries import FeatureQuery, FeatureSort, Position
from tests.api import synthetic

numbers = st.one_of(st.none(), st.sampled_from([-0.5, 0.0, 0.1, 0.25, 1.0]), st.floats(-1, 1))
rows_strategy = st.lists(
    st.fixed_dictionaries(
        {
            "score": numbers,
            "lift": numbers,
            "shrunken_score": numbers,
            "p_value": numbers,
            "q_value": numbers,
            "tokens_active": st.sampled_from([0, 7, 2**40]),
            "mean_active": st.sampled_from([0.0, 2.5]),
            "firing_level": st.sampled_from([0.0, 1.5]),
            "explainer": st.sampled_from([None, "a", "b"]),
            "density": st.sampled_from([0.0, 0.001, 0.5]),
            "max_activation": st.sampled_from([0.0, 2.5, 7.0]),
            "label": st.sampled_from([None, "a", "ab", "b", "c"]),
            "state": st.sampled_from(["active", "rare", "dead"]),
        }
    ).map(synthetic.as_it_may_be),
    max_size=30,
)
filters_strategy = st.fixed_dictionaries(
    {},
    optional={
        "min_score": st.sampled_from([-0.5, 0.1]),
        "max_lift": st.sampled_from([0.0, 0.25]),
        "min_density": st.just(0.001),
        "state": st.sampled_from(["active", "dead"]),
        "text": st.sampled_from(["A", "b"]),
    },
)
numbered = count()


@given(rows=rows_strategy, filters=filters_strategy, sort=st.sampled_from(FeatureSort), descending=st.booleans(), limit=st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_walking_by_cursor_visits_each_row_once_and_in_order(
    store: Engine, rows: list[dict[str, Any]], filters: dict[str, Any], sort: FeatureSort, descending: bool, limit: int
) -> None:
    run_id = synthetic.empty_run(store, f"walk@{next(numbered)}")
    synthetic.add_features(store, [synthetic.feature_row(run_id, index, **row) for index, row in enumerate(rows)])

    walked = walk(store, FeatureQuery(run_id, sort=sort, descending=descending, limit=limit, **filters))

    expected = [index for index, row in enumerate(rows) if passes(row, filters)]
    with_value = [index for index in expected if sort is FeatureSort.INDEX or rows[index][sort.column] is not None]
    without = [index for index in expected if index not in with_value]
    if sort is not FeatureSort.INDEX:
        with_value.sort(key=lambda index: (rows[index][sort.column], index))
    assert walked == (with_value[::-1] + without[::-1] if descending else with_value + without)


def walk(store: Engine, query: FeatureQuery) -> list[int]:
    walked: list[int] = []
    place: Position | None = None
    while True:
        with snapshot(store) as session:
            page = queries.features(session, replace(query, after=place))
        assert len(page.rows) <= query.limit
        walked += [row.feature for row in page.rows]
        place = page.next
        if place is None:
            return walked


def passes(row: dict[str, Any], filters: dict[str, Any]) -> bool:
    bounds = (("score", "min_score", "max_score"), ("lift", "min_lift", "max_lift"), ("density", "min_density", "max_density"))
    for name, low, high in bounds:
        if low in filters and (row[name] is None or row[name] < filters[low]):
            return False
        if high in filters and (row[name] is None or row[name] > filters[high]):
            return False
    if "state" in filters and row["state"] != filters["state"]:
        return False
    return "text" not in filters or (row["label"] is not None and filters["text"].lower() in row["label"])


@pytest.mark.parametrize(("text", "expected"), [("%", [0]), ("_", [1]), ("\\", [2]), ("X", [0, 1, 2, 3]), ("%_", [])])
def test_text_is_searched_as_it_is_written(store: Engine, text: str, expected: list[int]) -> None:
    run_id = synthetic.empty_run(store, f"text@{next(numbered)}")
    labels = ["x%", "x_", "x\\", "x"]
    synthetic.add_features(store, [synthetic.feature_row(run_id, index, label=label) for index, label in enumerate(labels)])
    assert walk(store, FeatureQuery(run_id, text=text)) == expected


@pytest.mark.parametrize("sort", list(FeatureSort))
@pytest.mark.parametrize("descending", [False, True])
def test_a_page_reads_its_index_and_sorts_nothing_else(store: Engine, sort: FeatureSort, descending: bool) -> None:
    """Deep pages search the sort's own index from the cursor, as the first does."""
    if store.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's plans are held in tests/store/test_plans.py")
    after = Position("a" if sort in (FeatureSort.LABEL, FeatureSort.EXPLAINER) else 0.5, 7)
    plan = []
    for statement in keyset.statements(queries.feature_listing(FeatureQuery(1, sort=sort, descending=descending, after=after))):
        compiled = str(statement.compile(store, compile_kwargs={"literal_binds": True}))
        with store.connect() as connection:
            plan += [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]
    index = (f"SEARCH features USING COVERING INDEX ix_features_{sort.column} ",)
    if sort is FeatureSort.INDEX:
        index = (*index, "SEARCH features USING COVERING INDEX sqlite_autoindex_features_1 ")
    assert plan
    assert all(line.startswith(index) for line in plan), plan


def test_the_features_beside_one_are_found_by_whole_numbers(store: Engine) -> None:
    """PostgreSQL compares its integer columns with a float by reading every row."""
    bound: list[object] = []

    def hear(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if "FROM features" in statement:
            bound.extend(parameters.values() if isinstance(parameters, dict) else parameters)

    event.listen(store, "before_cursor_execute", hear)
    try:
        with snapshot(store) as session:
            assert features.beside(session, synthetic.NAME, "3", None) == ("2", "4")
    finally:
        event.remove(store, "before_cursor_execute", hear)
    assert bound
    assert not any(isinstance(value, float) for value in bound)
