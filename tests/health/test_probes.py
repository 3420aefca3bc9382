"""Probes: the logistic fit, collinearity by its definition, and the error of an AUROC over documents."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.health.probes import Discriminant, Scale, area_figure, collinearity, fit_logistic
from interp.stats.ranking import auroc, auroc_error, auroc_replicates


@given(st.integers(2, 60), st.integers(1, 5), st.integers(0, 99))
@settings(max_examples=20)
def test_the_fit_is_where_the_penalised_loss_has_no_slope(count: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs, truth = rng.normal(size=(count, width)), rng.random(count) < 0.4
    weights = fit_logistic(inputs, truth)
    # The intercept is found again, by bisection of its own slope.
    low, high = -50.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if (1 / (1 + np.exp(-(inputs @ weights + middle))) - truth).sum() > 0 else (middle, high)
    wrong = 1 / (1 + np.exp(-(inputs @ weights + low))) - truth
    assert np.abs(inputs.T @ wrong + weights).max() / count < 1e-4
    assert np.isfinite(weights).all()


def test_collinearity_is_that_of_regressions_on_the_others() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(200, 3)) @ np.array([[1, 0.9, 0], [0, 0.3, 0], [0, 0, 1]])
    found = collinearity(inputs)
    scaled = Scale.of(inputs)(inputs)
    residuals = [
        scaled[:, i] - scaled[:, rest] @ np.linalg.lstsq(scaled[:, rest], scaled[:, i])[0] for i, rest in ((0, [1, 2]), (1, [0, 2]), (2, [0, 1]))
    ]
    assert found.inflation.value == pytest.approx(max(1 / (part @ part / len(part)) for part in residuals))
    assert found.condition.value == pytest.approx(np.linalg.cond(scaled))
    assert found.warning is None or (found.inflation.value or 0) > 10


@pytest.mark.parametrize(("noise", "warned"), [(1.0, False), (0.05, True), (0.0, True)])
def test_nearly_equal_inputs_are_warned_of(noise: float, warned: bool) -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(300, 1))
    found = collinearity(np.hstack([one, one + noise * rng.normal(size=(300, 1)), np.ones((300, 1))]))
    assert (found.warning is not None) == warned and (found.inflation.value is None) == (noise == 0)
    assert collinearity(one).condition.why == "There is one input."


@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(1, 3))
@settings(max_examples=30)
def test_the_error_of_an_auroc_is_that_of_its_structural_components(seed: int, groups: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    scores, truth, clusters = rng.normal(size=40).round(decimals - 1), rng.random(40) < 0.4, rng.integers(0, groups, 40)
    area = auroc(scores, truth)
    if area is None or min(len(np.unique(clusters[side])) for side in (truth, ~truth)) < 2:
        assert auroc_error(scores, truth, clusters) is None
        return
    wins = np.array([[(a > b) + 0.5 * (a == b) for b in scores[~truth]] for a in scores[truth]])
    totals = dict.fromkeys(clusters.tolist(), 0.0)
    for cluster, part in zip(clusters[truth].tolist(), (wins.mean(1) - area) / truth.sum(), strict=True):
        totals[cluster] += part
    for cluster, part in zip(clusters[~truth].tolist(), (wins.mean(0) - area) / (~truth).sum(), strict=True):
        totals[cluster] += part
    expected = np.sqrt(len(totals) / (len(totals) - 1) * sum(part**2 for part in totals.values()))
    assert auroc_error(scores, truth, clusters * 13 + 5) == (pytest.approx(expected) if expected > 1e-12 else None)


def test_the_error_covers_what_documents_share() -> None:
    """Ten tokens of a document have one shift: the error is near the jackknife's over documents, and the spread of new samples."""
    rng = np.random.default_rng(1)
    found, errors, jackknives = [], [], []
    for _ in range(300):
        documents = np.repeat(np.arange(30), 10)
        truth = np.repeat(rng.random(30) < 0.5, 10)
        scores = truth + 1.5 * np.repeat(rng.normal(size=30), 10) + 0.5 * rng.normal(size=300)
        area, error = auroc(scores, truth), auroc_error(scores, truth, documents)
        assert area is not None and error is not None
        found.append(area)
        errors.append(error)
        if len(jackknives) < 20:
            replicates = auroc_replicates(scores[None], truth, documents)[1][:, 0]
            jackknives.append(np.sqrt(29 / 30 * ((replicates - replicates.mean()) ** 2).sum()))
    assert np.mean(errors) == pytest.approx(np.std(found), rel=0.12)
    assert np.mean(jackknives) == pytest.approx(np.mean(errors[:20]), rel=0.1)


def test_a_perfect_ranking_has_no_error_and_says_so() -> None:
    perfect = area_figure(np.array([0.0, 1.0, 2.0, 3.0]), np.array([False, False, True, True]), np.array([0, 1, 0, 1]))
    assert (perfect.value, perfect.standard_error) == (1.0, None) and perfect.why
    assert area_figure(np.zeros(3), np.ones(3, dtype=np.bool_), np.arange(3)).value is None


@given(st.integers(1, 6), st.integers(2, 40), st.integers(0, 2**31))
def test_a_discriminant_is_that_of_fisher(width: int, count: int, seed: int) -> None:
    """Least squares with a penalty, and in the direction of the within-class covariance's inverse times the difference of the means."""
    random = np.random.default_rng(seed)
    truth = np.arange(count) % 2 == 0
    inputs = random.standard_normal((count, width)) + truth[:, None] * random.standard_normal(width)
    inputs -= inputs.mean(axis=0)
    found = Discriminant(inputs).weights(truth)
    labels = truth - truth.mean()
    augmented = np.concatenate([inputs, np.eye(width)])
    np.testing.assert_allclose(found, np.linalg.lstsq(augmented, np.append(labels, np.zeros(width)), rcond=None)[0], atol=1e-9)
    within = sum(
        (inputs[truth == one] - inputs[truth == one].mean(axis=0)).T @ (inputs[truth == one] - inputs[truth == one].mean(axis=0))
        for one in (True, False)
    )
    fisher = np.linalg.solve(within + np.eye(width), inputs[truth].mean(axis=0) - inputs[~truth].mean(axis=0))
    assert abs(found @ fisher) / (np.linalg.norm(found) * np.linalg.norm(fisher)) > 1 - 1e-6
