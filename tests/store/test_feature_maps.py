"""Maps are read back as they were written, on both databases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sqlalchemy import Engine, select

from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import DictionaryRow, RunRow
from interp.store.results import feature_maps
from interp.store.results.feature_maps import Points, packed, unpacked
from tests.api import synthetic


@given(arrays.arrays(np.float32, st.tuples(st.integers(0, 20), st.just(2)), elements=st.floats(0, 1, width=32) | st.just(float("nan"))))
def test_places_lose_less_than_a_pixel(places: Points) -> None:
    # A feature has both places or none.
    places[np.isnan(places).any(1)] = np.nan
    again = unpacked(packed(places))
    assert again.dtype == np.float32 and again.shape == places.shape
    assert np.array_equal(np.isnan(again), np.isnan(places))
    assert np.nanmax(np.abs(again - places), initial=0) < 1e-5
    assert len(packed(places)) == 4 * len(places)


def test_the_last_map_counts(engine: Engine) -> None:
    synthetic.fill(engine)
    first, second = np.zeros((16, 2), np.float32), np.ones((16, 2), np.float32)
    second[3] = np.nan
    with transaction(engine) as session:
        dictionary_id = session.scalars(select(DictionaryRow.id)).one()
        assert feature_maps.find(session, dictionary_id) is None
        feature_maps.save(session, dictionary_id, "one", 0, first, {"layout": 0.25})
    with transaction(engine) as session:
        feature_maps.save(session, dictionary_id, "two", 7, second, {"layout": 0.5})
    with snapshot(engine) as session:
        found = feature_maps.find(session, dictionary_id)
        assert feature_maps.mapped(session, [dictionary_id, dictionary_id + 1]) == {dictionary_id}
    assert found is not None
    assert (found.job_id, found.seed, found.quality) == ("two", 7, {"layout": 0.5})
    assert np.array_equal(found.places, second, equal_nan=True)


@pytest.mark.parametrize(("name", "value"), [("score", 0.3), ("max_activation", 7.0)])
def test_figures_come_by_feature(engine: Engine, name: str, value: float) -> None:
    synthetic.fill(engine)
    with snapshot(engine) as session:
        run_id = session.scalars(select(RunRow.id)).one()
        found = feature_maps.figure(session, run_id, name, 16)
    assert found[3] == pytest.approx(value)
    assert np.isnan(found[12:]).all()
