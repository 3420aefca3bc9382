"""Search by pgvector's index finds what codes in memory find, and is optional."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import make_url, text

from api.demo.local_servers import POSTGRES_PACKAGE, LocalPostgres, packaged
from interp.search import codes
from interp.store import migrate
from interp.store.db import dialect
from interp.store.db.bulk import upsert
from interp.store.db.dialect import has_code_index
from interp.store.db.engine import make_engine, snapshot, transaction
from interp.store.db.tables import FeatureRow
from interp.store.listings import label_codes, search
from interp.store.listings.label_codes import BY_INDEX, LabelCodes, Nearest
from interp.store.listings.search import SearchQuery
from interp.store.results import label_texts
from tests.api import synthetic

LABELS, CLUSTERS, EMBEDDER = 600, 12, "test 1"


class PackagedPostgres(LocalPostgres):
    """The server of the Python package, which has pgvector."""

    @classmethod
    def find(cls) -> Path:
        return packaged(*POSTGRES_PACKAGE)[0]


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    if not packaged(*POSTGRES_PACKAGE):
        pytest.skip("not run for want of PostgreSQL: the packaged one has pgvector")
    with PackagedPostgres() as server:
        yield server.url


def vectors() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Unit vectors in clusters, as those of labels are."""
    drawn = np.random.default_rng(5)
    made = drawn.normal(size=(CLUSTERS, 512))[np.arange(LABELS) % CLUSTERS] + drawn.normal(scale=0.6, size=(LABELS, 512))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def test_the_index_finds_what_memory_and_a_plain_scan_find(server_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate.upgrade(server_url)
    engine, made = make_engine(server_url), vectors()
    synthetic.fill(engine)
    texts = [f"label {place}" for place in range(LABELS)]
    with transaction(engine) as session:
        session.execute(FeatureRow.__table__.delete())
        ids = label_texts.save(session, texts)
        label_texts.save_vectors(session, EMBEDDER, {ids[label]: made[place] for place, label in enumerate(texts)})
        upsert(
            session,
            FeatureRow,
            [synthetic.feature_row(1, place, label=label, label_id=ids[label]) for place, label in enumerate(texts)],
            ("run_id", "feature"),
        )
    monkeypatch.setattr(label_codes, "MOST_IN_MEMORY", 0)
    with snapshot(engine) as session:
        assert has_code_index(session)
        for place in range(0, LABELS, 50):
            found = search.by_meaning(session, SearchQuery(runs=(1,)), made[place], EMBEDDER, LabelCodes(), few=False)
            with monkeypatch.context() as patched:
                patched.setattr(label_codes, "MOST_IN_MEMORY", LABELS)
                in_memory = search.by_meaning(session, SearchQuery(runs=(1,)), made[place], EMBEDDER, LabelCodes(), few=False)
            exact = np.argsort(-(made @ made[place]), kind="stable")[:20]
            assert [feature for _run, feature in found.keys[:20]] == exact.tolist()
            assert found.keys[:20] == in_memory.keys[:20]
            assert len(found.keys) == len(in_memory.keys) == search.DEPTH
            assert found.is_complete == in_memory.is_complete
        code = codes.code_of(made[0])
        near = LabelCodes().nearest(session, EMBEDDER, code, LABELS)
        assert sorted(near.label_ids) == sorted(ids.values()) and near.are_all
        assert not LabelCodes().nearest(session, EMBEDDER, code, LABELS - 1).are_all
        assert LabelCodes().nearest(session, "another", code, LABELS) == Nearest([], True)
        monkeypatch.setattr(dialect, "WIDEST_SCAN", 20)
        place_of = {label_id: int(label.split()[1]) for label, label_id in ids.items()}
        packed = codes.codes_from([codes.code_of(vector) for vector in made])
        for place in range(0, LABELS, 50):
            code = codes.code_of(made[place])
            scanned = [place_of[label_id] for label_id in LabelCodes().nearest(session, EMBEDDER, code, 200).label_ids]
            far = codes.distances(packed, code)[scanned].tolist()
            assert far == sorted(far), "a scan that goes on is out of order"
        plan = session.scalars(text(f"EXPLAIN {BY_INDEX.text}"), {"embedder": EMBEDDER, "code": code, "count": 100})
        assert "ix_label_vectors_hnsw" in " ".join(plan)
    engine.dispose()


def test_a_user_who_may_not_make_the_extension_has_codes_in_memory(server_url: str, caplog: pytest.LogCaptureFixture) -> None:
    admin = make_engine(server_url)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE ROLE plain LOGIN PASSWORD 'plain'"))
        connection.execute(text("CREATE DATABASE plain OWNER plain"))
    admin.dispose()
    url = make_url(server_url).set(username="plain", password="plain", database="plain").render_as_string(hide_password=False)
    migrate.upgrade(url)
    assert 'permission denied to create extension "vector"' in caplog.text
    engine, one = make_engine(url), vectors()[0]
    with transaction(engine) as session:
        ids = label_texts.save(session, ["a label"])
        label_texts.save_vectors(session, EMBEDDER, {ids["a label"]: one})
        assert not has_code_index(session)
        assert LabelCodes().nearest(session, EMBEDDER, codes.code_of(one), 10).label_ids == [ids["a label"]]
    engine.dispose()
