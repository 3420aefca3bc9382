"""Activity equals its definitions, in any shards; planted kinds of features are found, and no others."""

import json
import random
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp.health.activity import Activity, activity_report
from interp.health.counts import Counts, merge
from interp.health.figures import LEVELS
from tests.health.firings import KINDS, Table, tables

CPU = torch.device("cpu")


def counted(table: Table, bos: np.ndarray | None = None) -> Counts:
    found = Activity(np.arange(table.fires.shape[1]), KINDS, CPU, bos_fires=bos)
    found.add(table.batch())
    return found.counts()


def clustered(top: np.ndarray, bottom: np.ndarray, groups: np.ndarray) -> float | None:
    """The standard error of a ratio of sums over documents, as a loop."""
    ratio = top.sum() / bottom.sum()
    parts = [float(top[groups == group].sum() - ratio * bottom[groups == group].sum()) for group in set(groups.tolist())]
    parts = [part / float(bottom.sum()) for part in parts]
    return (len(parts) / (len(parts) - 1) * sum(part * part for part in parts)) ** 0.5 if len(parts) > 1 else None


@given(tables())
def test_figures_equal_their_definitions(table: Table) -> None:
    report = activity_report(counted(table))
    fires, groups, kinds = table.fires[table.counted], table.groups[table.counted], table.kinds[table.counted]
    assert report.tokens == len(fires)
    if len(fires) == 0:
        assert report.l0.value is report.l0_quantiles is report.dead.share.value is None
        assert report.l0.why
        return
    l0, density = fires.sum(axis=1), fires.mean(axis=0)
    assert report.l0.value == pytest.approx(l0.mean())
    assert report.l0.standard_error == pytest.approx(clustered(l0, np.ones(len(l0)), groups), abs=1e-9)
    assert report.l0_quantiles == tuple(np.quantile(l0, LEVELS, method="inverted_cdf").tolist())
    assert report.dead.features == tuple(np.flatnonzero(density == 0).tolist())
    assert sum(report.density.counts) == report.features - report.dead.count
    assert set(report.dense.features) == set(np.flatnonzero(density > 0.1).tolist())
    assert report.once == (fires.sum(axis=0) == 1).sum()
    for place, own in enumerate(report.classes):
        chosen = KINDS.classes[kinds, place]
        assert own.token_share.value == pytest.approx(chosen.mean())
        assert own.l0.value == (pytest.approx(l0[chosen].mean()) if chosen.any() else None)
        assert (counted(table).sums["firing"] @ KINDS.classes[:, place].astype(np.int64)).tolist() == fires[chosen].sum(axis=0).tolist()
    json.dumps(asdict(report), allow_nan=False)


@given(tables(), st.lists(st.integers(0, 60), max_size=4), st.randoms(use_true_random=False))
def test_shards_in_any_order_give_the_same(table: Table, cuts: list[int], order: random.Random) -> None:
    parts = []
    for batch in table.shards(cuts):
        part = Activity(np.arange(table.fires.shape[1]), KINDS, CPU)
        part.add(batch)
        parts.append(part.counts())
    order.shuffle(parts)
    assert activity_report(merge(parts)) == activity_report(counted(table))


def test_features_of_a_position_and_of_bos_are_named_and_chance_ones_are_not() -> None:
    generator = np.random.default_rng(0)
    first = np.arange(6400) % 32 == 0
    fires = generator.random((6400, 200)) < generator.choice([0.0002, 0.001, 0.05], 200)
    fires[:, 0], fires[:, 1] = first, False
    # Once at a first token: by chance 1 in 32 of such features.
    fires[:, 2] = False
    fires[32, 2] = True
    bos = np.zeros(200, bool)
    bos[[1, 5]] = True
    report = activity_report(counted(Table(fires, 4 + first.astype(np.int64), np.arange(6400) // 100), bos))
    assert report.first_only.features == (0,)
    assert report.bos_only is not None
    assert report.bos_only.features == (1,)


def test_a_feature_of_one_class_is_selective() -> None:
    generator = np.random.default_rng(0)
    kinds = generator.choice([0, 2, 4], 2000)
    fires = generator.random((2000, 10)) < 0.05
    fires[:, 3] = (kinds == 0) & fires[:, 3]
    report = activity_report(counted(Table(fires, kinds, np.arange(2000) // 50)))
    assert {own.name: own.selective for own in report.classes} == {"upper": 1, "digits": 1, "other": 0}
