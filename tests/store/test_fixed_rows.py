"""Rows of fixed lengths are read whole and in order, on both databases."""

import numpy as np
import pytest
from sqlalchemy import Engine, LargeBinary, cast, literal, select

from interp.domain.digests import digest_of
from interp.search import codes
from interp.store.db.engine import snapshot, transaction
from interp.store.db.fixed_rows import fixed_rows
from interp.store.db.tables import LabelVectorRow
from interp.store.listings.label_codes import ROW
from interp.store.results import label_texts

EMBEDDER = 'test\'s "fixed" rows %s'


def test_rows_are_those_of_the_statement(engine: Engine) -> None:
    drawn = np.random.default_rng(3).normal(size=(300, 512)).astype(np.float32)
    drawn[0], drawn[1] = -1, 1  # a code of zeros, and one of ones
    with transaction(engine) as session:
        ids = label_texts.save(session, [digest_of({"fixed row": place}) for place in range(len(drawn))])
        label_texts.save_vectors(session, EMBEDDER, dict(zip(ids.values(), drawn, strict=True)))
    wanted = select(LabelVectorRow.id, LabelVectorRow.label_id, LabelVectorRow.code).where(LabelVectorRow.embedder == EMBEDDER)
    statement = wanted.order_by(LabelVectorRow.id.desc())
    with snapshot(engine) as session:
        expected = [tuple(row) for row in session.execute(statement)]
        found = fixed_rows(session, statement, ROW)
        none = fixed_rows(session, statement.where(LabelVectorRow.id < 0), ROW)
    assert [(int(row["id"]), int(row["label_id"]), row["code"].tobytes()) for row in found] == expected
    assert len(expected) == 300 and len(none) == 0
    assert codes.codes_from(found["code"]).tolist() == codes.codes_from([code for *_, code in expected]).tolist()


def test_a_column_of_another_length_is_an_error(engine: Engine) -> None:
    statement = select(literal(1).label("id"), literal(2).label("label_id"), cast(literal(b"short"), LargeBinary).label("code"))
    with snapshot(engine) as session, pytest.raises(ValueError, match="length"):
        fixed_rows(session, statement, ROW)
