"""Search of labels gives what a plain scan gives, on both dialects."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from interp.search import codes
from interp.search.words import matches, parse, words_of
from interp.store.db.bulk import upsert
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.db.tables import FeatureRow, LabelVectorRow
from interp.store.listings import search
from interp.store.listings.label_codes import LabelCodes
from interp.store.listings.search import SearchQuery
from interp.store.results import label_texts
from tests import databases
from tests.api import synthetic

EMBEDDER = "test 1"
numbered = count(1)
WORDS = ("import", "imports", "the", "`␣the`", "`):`", "os.path", "Été", "importance", "x1", "it's")
figures = st.one_of(st.none(), st.sampled_from([-0.5, 0.0, 0.25, 1.0]))
row_of_features = st.fixed_dictionaries(
    {
        "score": figures,
        "lift": figures,
        "q_value": figures,
        "density": st.sampled_from([0.0, 0.001, 0.5]),
        "max_activation": st.sampled_from([0.5, 2.0]),
        "p_value": st.sampled_from([None, 0.0, 0.25]),
        "explainer": st.sampled_from([None, "a", "b"]),
        "state": st.sampled_from(["active", "rare", "dead"]),
        "label": st.one_of(st.none(), st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)),
    }
).map(synthetic.as_it_may_be)
filters = st.fixed_dictionaries(
    {},
    optional={
        "min_score": st.just(0.0),
        "max_lift": st.just(0.25),
        "max_q": st.just(0.0),
        "min_density": st.just(0.001),
        "state": st.sampled_from(["active", "dead"]),
        "min_max_activation": st.just(1.0),
        "max_p": st.just(0.0),
        "explainer": st.just("a"),
    },
)
asked = st.sampled_from([*WORDS, "impor*", '"the import"', "import the", "␣the", "nothing", "été", '"os path"', "`the`"]) | st.text(max_size=12)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path_factory.mktemp('search') / 'test.db'}"
    if request.param == "postgresql":
        url = str(request.getfixturevalue("postgres_url"))
    databases.upgrade_and_empty(url)
    made = make_engine(url)
    synthetic.fill(made)
    yield made
    made.dispose()


def vector_of(text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A vector that depends on the text alone."""
    found = np.random.default_rng(list(text.encode())).normal(size=512)
    return (found / np.linalg.norm(found)).astype(np.float32)


def write(engine: Engine, rows: list[dict[str, Any]]) -> int:
    """A run's features with their labels, and vectors of all labels."""
    run_id = 1
    with transaction(engine) as session:
        session.execute(FeatureRow.__table__.delete())
        texts = [row["label"] for row in rows if row["label"] is not None]
        ids = label_texts.save(session, texts)
        label_texts.save_vectors(session, EMBEDDER, {label_id: vector_of(text) for text, label_id in ids.items()})
        made = [synthetic.feature_row(run_id, place, label_id=ids.get(row["label"]), **row) for place, row in enumerate(rows)]
        upsert(session, FeatureRow, made, ("run_id", "feature"))
    return run_id


def passes(row: dict[str, Any], query: SearchQuery) -> bool:
    bounds = (
        (row["score"], query.min_score, query.max_score),
        (row["lift"], query.min_lift, query.max_lift),
        (row["density"], query.min_density, query.max_density),
        (row["q_value"], None, query.max_q),
        (row["p_value"], None, query.max_p),
        (row["max_activation"], query.min_max_activation, query.max_max_activation),
    )
    within = all(
        (low is None and high is None) or (value is not None and (low is None or value >= low) and (high is None or value <= high))
        for value, low, high in bounds
    )
    return within and query.state in (None, row["state"]) and query.explainer in (None, row["explainer"])


@pytest.mark.parametrize("few", [search.FEW, 0])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(row_of_features, max_size=30), given_filters=filters, text=asked)
def test_both_rankings_are_those_of_a_plain_scan(
    store: Engine, monkeypatch: pytest.MonkeyPatch, few: int, rows: list[dict[str, Any]], given_filters: dict[str, Any], text: str
) -> None:
    monkeypatch.setattr(search, "FEW", few)
    query = SearchQuery(runs=(write(store, rows),), **given_filters)
    fit = {(1, place): row["label"] for place, row in enumerate(rows) if row["label"] is not None and passes(row, query)}
    terms, vector = parse(text), vector_of(text)
    with snapshot(store) as session:
        is_few = search.are_few(session, query)
        by_words = search.by_words(session, query, terms, is_few)
        by_meaning = search.by_meaning(session, query, vector, EMBEDDER, LabelCodes(), is_few)
    having = [key for key, label in fit.items() if terms and matches(terms, label)]
    length = {key: len(words_of(fit[key]).words) + len(words_of(fit[key]).tokens) for key in having}
    assert list(by_words.keys) == sorted(having, key=lambda key: (length[key], key))
    assert by_words.is_complete and by_meaning.is_complete
    assert set(by_meaning.keys) == set(fit)
    cosines = {key: float(vector_of(label) @ vector) for key, label in fit.items()}
    assert by_meaning.cosines == pytest.approx(cosines, abs=1e-3)
    found = [by_meaning.cosines[key] for key in by_meaning.keys]
    assert found == sorted(found, reverse=True)


def test_hostile_texts_are_no_error(store: Engine) -> None:
    run_id = write(store, [{"label": "the import"}])
    for text in (
        "'",
        '"',
        "\\",
        "' OR 1=1 --",
        "a AND NOT",
        "NEAR(a b, 2)",
        "words:x",
        "&|!<->:*",
        '"""',
        "* *",
        "^a",
        "\x01",
        "\u0301",
        "a" * 5000,
        "-the",
    ):
        with snapshot(store) as session:
            search.by_words(session, SearchQuery(runs=(run_id,)), parse(text), few=True)


def test_each_text_is_written_and_embedded_once(store: Engine) -> None:
    texts = [f"label number {next(numbered)} of once" for _ in range(3)]
    with transaction(store) as session:
        first = label_texts.save(session, texts)
        assert label_texts.save(session, [*texts, texts[0]]) == first
        assert label_texts.without_vector(session, EMBEDDER, [*texts, texts[0]]) == texts
        label_texts.save_vectors(session, EMBEDDER, {first[text]: vector_of(text) for text in texts[:2]})
        assert label_texts.without_vector(session, EMBEDDER, texts) == texts[2:]
        assert label_texts.without_vector(session, "test 2", texts) == texts
        label_texts.save_vectors(session, "test 2", {first[texts[0]]: vector_of(texts[0])})
        of = select(LabelVectorRow.embedder).where(LabelVectorRow.label_id == first[texts[0]])
        assert list(session.scalars(of)) == ["test 2"]


def test_codes_in_memory_follow_the_table_and_are_given_back(store: Engine) -> None:
    kept, own = LabelCodes(), "test of codes"
    for _ in range(3):
        texts = [f"kept label {next(numbered)}" for _ in range(4)]
        with transaction(store) as session:
            ids = label_texts.save(session, texts)
            label_texts.save_vectors(session, own, {ids[text]: vector_of(text) for text in texts})
        for text in texts:
            with snapshot(store) as session:
                near = kept.nearest(session, own, codes.code_of(vector_of(text)), 2).label_ids
            assert near[0] == ids[text]
    with snapshot(store) as session:
        assert len(kept.nearest(session, own, bytes(64), 100).label_ids) == 12
        kept.clear()
        assert len(kept.nearest(session, own, bytes(64), 100).label_ids) == 12
