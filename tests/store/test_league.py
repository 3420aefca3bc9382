"""Scores of a league have what each says of the control `baseline`."""

from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import ScoreRow
from interp.store.results import league
from tests.api import synthetic


@pytest.mark.parametrize(
    ("controls", "low"),
    [
        (None, None),
        ([], None),
        ([{"name": "empty", "lift_interval": {"low": 0.5, "high": 0.7}}], None),
        ([{"name": "baseline", "lift_interval": None}], None),
        ([{"name": "baseline"}], None),
        ([{"name": "empty", "lift_interval": {"low": 0.5, "high": 0.7}}, {"name": "baseline", "lift_interval": {"low": -0.25, "high": 0.7}}], -0.25),
        ([{"name": "baseline", "lift_interval": {"low": 0, "high": 1}}], 0.0),
    ],
)
def test_the_baseline_s_low_end_is_read_from_controls(engine: Engine, controls: list[dict[str, Any]] | None, low: float | None) -> None:
    synthetic.fill(engine)
    with transaction(engine) as session:
        chosen = session.scalars(select(ScoreRow.id).where(ScoreRow.value.is_not(None)).order_by(ScoreRow.feature).limit(1)).one()
        feature = session.get_one(ScoreRow, chosen).feature
        session.execute(update(ScoreRow).where(ScoreRow.id == chosen).values(controls=controls))
        run_id = session.get_one(ScoreRow, chosen).run_id
    with snapshot(engine) as session:
        rows = [row for portion in league.scores(session, run_id) for row in portion]
        defined = session.scalars(select(ScoreRow.feature).where(ScoreRow.value.is_not(None), ScoreRow.run_id == run_id)).all()
    assert sorted(row[0] for row in rows) == sorted(defined)
    (found,) = [row[-1] for row in rows if row[0] == feature]
    assert found == low and (found is None or isinstance(found, float | int))
