"""The field's definitions on inputs small enough to work by hand: OpenAI's (Bills et al. 2023), Delphi's (Paulo et al. 2024), SAEBench's (2025)."""

import math

import numpy as np
import pytest

from interp.judge.selection import listed
from interp.judge.token_levels import expected_level, pairs_of
from interp.stats.agreement import f1_of, pearson, precision_at_rate, r_squared, yes_no_figures
from interp.stats.ranking import auprc, auroc
from tests.stats.test_agreement import answers


def _log(chances: dict[str, float]) -> list[tuple[str, float]]:
    return [(token, math.log(chance)) for token, chance in chances.items()]


def _grades(*pairs):
    """(grade, fires) pairs as two arrays."""
    return np.array([grade for grade, _ in pairs]), np.array([fires for _, fires in pairs], dtype=bool)


def test_delphi_f1_and_balanced_accuracy():
    """TP 3, FN 1, TN 2, FP 1: F1 = 6/8; recall 3/4 and specificity 2/3 have the mean 17/24."""
    figures = yes_no_figures(*answers(3, 1, 2, 1))
    assert figures["f1"] == 0.75
    assert figures["precision"] == 0.75
    assert figures["recall"] == 0.75
    assert figures["specificity"] == pytest.approx(2 / 3)
    assert figures["balanced_accuracy"] == pytest.approx(0.7083, abs=5e-5)


def test_delphi_with_positives_alone_is_undefined():
    """Delphi's own code says 0.375 here: half of the recall, since a rate without items counts as 0."""
    assert yes_no_figures(*answers(3, 1, 0, 0))["balanced_accuracy"] is None


def test_openai_correlation_is_of_the_concatenation():
    """[0,10],[0,5],[0,0] against [0,10],[0,10],[0,0]: x = (0,10,0,5,0,0), y = (0,10,0,10,0,0).

    n Σxy - Σx Σy = 6·150 - 15·20 = 600; n Σx² - (Σx)² = 750 - 225 = 525; n Σy² - (Σy)² = 1200 - 400 = 800; r = 600 / sqrt(525 · 800) = 0.9258.
    The mean of the windows' own correlations would be 1, and the third has none.
    """
    simulated, real = np.array([0, 10, 0, 5, 0, 0.0]), np.array([0, 10, 0, 10, 0, 0.0])
    assert pearson(simulated, real) == pytest.approx(600 / math.sqrt(525 * 800))
    assert pearson(simulated, real) == pytest.approx(0.9258, abs=5e-5)


def test_openai_r2_of_the_same():
    """SS_res = (10 - 5)² = 25; the mean is 20/6, SS_tot = 200 - 400/6 = 133.33; R2 = 1 - 25/133.33 = 0.8125."""
    assert r_squared(np.array([0, 10, 0, 5, 0, 0.0]), np.array([0, 10, 0, 10, 0, 0.0])) == pytest.approx(0.8125)


def test_openai_expected_level():
    """{0: .5, 10: .25, junk: .25}: junk is left out and the rest made whole, (0 · .5 + 10 · .25) / .75 = 3.333."""
    assert expected_level(_log({"0": 0.5, "10": 0.25, "junk": 0.25})) == pytest.approx(10 / 3)
    assert expected_level(_log({"0": 0.5, "10": 0.25, "11": 0.25})) == pytest.approx(10 / 3)  # 11 is junk, too: no level
    assert expected_level(_log({"5": 0.5, " 7": 0.5})) == pytest.approx(6)  # a blank before the digit is the tokenizer's matter
    assert expected_level(_log({"junk": 1.0})) is None
    assert expected_level([]) is None


def test_pairs_in_json_are_levels_of_numbered_tokens():
    assert {number: values.tolist() for number, values in pairs_of('{"1": [[2, 10], [3, 4]], "2": []}', [3, 2]).items()} == {1: [0, 10, 4], 2: [0, 0]}


def test_saebench_accuracy_of_14():
    """4 of 14 fire. An empty list is right about ten: 10/14 = 0.714, and its balanced accuracy is that of a coin."""
    truth = np.array([True] * 4 + [False] * 10)
    none = listed('{"fires": []}', 14)
    assert (none == truth).mean() == pytest.approx(0.714, abs=5e-4)
    assert yes_no_figures(truth, none)["balanced_accuracy"] == 0.5
    some = listed('{"fires": [1, 2, 3, 5]}', 14)  # three found, one missed, one false alarm: 12/14, and (3/4 + 9/10) / 2
    assert (some == truth).mean() == pytest.approx(12 / 14)
    assert yes_no_figures(truth, some)["balanced_accuracy"] == pytest.approx(0.825)


def test_auroc_by_hand():
    """Firing .9 .6 .4 against silent .7 .4 .1: .9 beats 3, .6 beats 2, .4 beats 1 and ties 1: 6.5 of 9 pairs."""
    scores, fires = _grades((0.9, True), (0.6, True), (0.4, True), (0.7, False), (0.4, False), (0.1, False))
    assert auroc(scores, fires) == pytest.approx(6.5 / 9)
    assert auroc(-scores, fires) == pytest.approx(2.5 / 9)
    assert auroc(np.zeros(6), fires) == 0.5
    assert auroc(scores[:3], fires[:3]) is None


def test_auprc_by_hand():
    """In order: .9 fires (1/1), .8 is silent, .7 fires (2/3), .6 is silent, .5 fires (3/5): (1 + 2/3 + 3/5) / 3."""
    scores, fires = _grades((0.9, True), (0.8, False), (0.7, True), (0.6, False), (0.5, True))
    assert auprc(scores, fires) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert auprc(np.zeros(5), fires) == pytest.approx(3 / 5)  # a grade that says nothing: the share of firing windows
    assert auprc(scores[~fires], fires[~fires]) is None


def test_precision_and_f1_at_the_true_rate():
    """A label twice too broad for a feature that fires in 1% of windows: all found, and 1% false alarms among the rest, halves precision."""
    precision = precision_at_rate(1.0, 0.01 / 0.99, 0.01)
    assert precision == pytest.approx(0.5)
    assert f1_of(precision, 1.0) == pytest.approx(2 / 3)
