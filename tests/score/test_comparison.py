"""Every lift has an interval or a reason, every p value as many nulls as are promised, and no abstention buys anything."""

import numpy as np
import pytest

from interp.domain.explanation import Explanation
from interp.judge.verdicts import AnswerStatus, Verdicts
from interp.score.base import Figure
from interp.score.controls.comparison import NullFigures, compare_with_nulls
from interp.score.items.test_set import TestSet
from interp.score.measure import Measure, Measured
from interp.score.scorers.binary_metrics import BalancedAccuracy
from interp.score.scorers.simulation_metrics import Correlation
from interp.stats.intervals import cluster_degrees, least_degrees
from tests.score.cat_feature import FULL, STATISTICS, contexts_of, item_of, score
from tests.score.fake_model import FakeModel, verdicts


def _borrowed(count):
    return [Explanation(100 + number, "test", "text") for number in range(count)]


def _compared(nulls, replicates, own=0.8, bounds=(0.7, 0.9), differences=None):
    own_replicates = np.full(len(replicates), own) + np.linspace(-0.01, 0.01, len(replicates))
    return compare_with_nulls(
        Figure(own, bounds, own_replicates), NullFigures(np.array(nulls), np.array(replicates), differences), _borrowed(len(nulls))
    )


def test_a_null_that_hangs_on_one_document_voids_no_interval():
    """The mean without that document is that of the others: the exact leave-one-out value of the figure that is shown."""
    replicates = np.full((6, 3), 0.1) + np.arange(6)[:, None] / 100
    replicates[2, 1] = np.nan
    found = _compared([0.1, 0.4, 0.1], replicates)
    assert found.lift == pytest.approx(0.6)
    assert found.lift_interval is not None
    assert found.lift_reason is None
    # It weighs as heavily as it should: where another null hangs on the document, too, the interval is no narrower.
    replicates[2, 2] = np.nan
    assert _compared([0.1, 0.4, 0.1], replicates).lift_interval.low <= found.lift_interval.low + 0.02


@pytest.mark.parametrize(
    ("nulls", "replicates", "more"),
    [
        ([0.1, 0.4], [[0.1, 0.4], [np.nan, np.nan], [0.1, 0.4]], {}),
        ([0.1, 0.4], [[0.1, 0.4]], {}),
        ([0.1, 0.4], [[0.1, 0.4]] * 5, {"bounds": None}),
        ([0.1, np.nan], [[0.1, np.nan]] * 5, {}),
        ([0.1, 0.4], [[0.1, 0.4]] * 5, {"own": None, "bounds": None}),
    ],
)
def test_a_lift_without_an_interval_says_why(nulls, replicates, more):
    if more.get("own", 0) is None:
        found = compare_with_nulls(Figure(None, None, np.full(5, np.nan)), NullFigures(np.array(nulls), np.array(replicates), None), _borrowed(2))
    else:
        found = _compared(nulls, replicates, **more)
    assert found.lift_interval is None
    assert found.lift_reason


@pytest.mark.parametrize(("undefined", "has_p"), [(0, True), (1, True), (2, False)])
def test_a_p_value_by_rank_needs_nineteen_defined_nulls(undefined, has_p):
    nulls = np.linspace(0.4, 0.6, 20)
    nulls[:undefined] = np.nan
    found = _compared(nulls, np.tile(nulls, (8, 1)), differences=np.full((8, 20), 0.05))
    assert (found.p_value is not None) is has_p
    assert found.p_method == ("rank" if has_p else None)
    assert (found.reason is None) is has_p
    assert found.p_paired == pytest.approx(1 / 256)


def test_one_document_that_holds_half_of_the_windows_widens_the_lifts_interval():
    """Documents count by what they hold, as in the own interval: not all of them alike."""
    replicates = np.full((20, 3), 0.5) + np.linspace(-0.01, 0.01, 20)[:, None]
    nulls, own_replicates = np.array([0.49, 0.5, 0.51]), np.full(20, 0.9)
    alike, dominated = (
        compare_with_nulls(Figure(0.9, (0.8, 0.95), own_replicates), NullFigures(nulls, replicates, None, degrees), _borrowed(3)).lift_interval
        for degrees in (19.0, 2.6)
    )
    assert dominated.low < alike.low
    assert dominated.high > alike.high


def test_degrees_of_freedom_are_those_of_the_side_with_fewer_effective_documents():
    firing, silent = np.array([50, 5, 5, 5, 5, 5]), np.array([1, 1, 1, 1, 1, 1, 1, 1])
    assert least_degrees(firing, silent) == cluster_degrees(firing / firing.sum()) < 3
    assert least_degrees(silent) == 7
    assert least_degrees(np.zeros(3)) == 1


def test_figures_on_common_items_move_a_null_by_how_far_it_is_behind():
    """Own .9 on all it answered, .95 and .8 on what both answered: .05 behind, so the null stands at .85; the second answered the same items."""

    class Scripted(Measure):
        verdicts = Verdicts(np.zeros((3, 2)), np.array([[0, 0], [0, 1], [0, 0]], dtype=np.uint8))

        def measured(self, places, use):
            assert use.tolist() == [[True, False], [True, True]]
            values = np.array([0.9, 0.3] if isinstance(places, slice) else [0.95, 0.9])
            return Measured(values, np.zeros((1, 2)), np.zeros((1, 2)))

    found = Scripted().null_figures(Figure(0.9, replicates=np.zeros(1)), 2)
    assert found.values.tolist() == [pytest.approx(0.85), 0.3]


def _words(text):
    return int.from_bytes(text.encode()[:400], "little")


@pytest.mark.parametrize("name", ["detection", "fuzz"])
def test_abstaining_buys_no_lift(name):
    """All labels are of equal skill: right wherever the text is easy (its words say so), a coin where it is hard. The own one is unsure there."""

    def judge(abstains):
        def says(text, label):
            is_hard = _words(text) % 7 < 3
            coin = hash((len(text), _words(text) % 1009, label == "cats")) % 2 == 0
            if is_hard and abstains and label == "cats":
                return "unsure"
            return coin if is_hard else " cat" in text

        return FakeModel(verdicts(says))

    lifts = [score(name, judge(True), item_of(feature=feature), seed=feature).null.lift for feature in range(12)]
    assert abs(np.mean(lifts)) < 0.03


def test_a_simulation_without_answers_on_hard_windows_gains_no_lift():
    """Two explanations predict alike; the own one has no answer where the prediction is noise. Compared on what each answered, it would be ahead."""
    random, own, apart = np.random.default_rng(0), [], []
    for feature in range(20):
        questions = TestSet.of(contexts_of(FULL, feature))
        content = np.ones(questions.contexts.tokens.shape, dtype=np.bool_)
        is_hard = random.random(len(questions)) < 0.5
        real = questions.contexts.activations.astype(np.float32)
        noise = random.permuted(np.broadcast_to(real, (3, *real.shape)), axis=2)
        values = np.where(is_hard[None, :, None], noise, real + random.normal(0, 1, (3, *real.shape))).astype(np.float32)
        outcomes = np.zeros((3, len(questions)), dtype=np.uint8)
        outcomes[0, is_hard] = AnswerStatus.FAILED
        answers = Verdicts(values, outcomes)
        measure = Correlation(questions, answers, content)
        figures = [measure.figure(place) for place in range(3)]
        own.append(figures[0].value - measure.null_figures(figures[0], 2).values.mean())
        apart.append(figures[0].value - np.mean([figure.value for figure in figures[1:]]))
    assert abs(np.mean(own)) < 0.02
    assert np.mean(apart) > 0.2


def test_a_selection_that_fails_on_calls_gains_no_lift():
    """The own explanation's call of hard windows fails; each other one answers it at random, and all the other calls rightly."""
    lifts = []
    for seed in range(30):
        random = np.random.default_rng(seed)
        test_set = TestSet.of(contexts_of(FULL, seed), STATISTICS)
        is_hard = random.random(len(test_set)) < 0.5
        said = np.where(is_hard, random.random((3, len(test_set))) < 0.5, test_set.truth)
        answered = np.ones_like(said)
        answered[0, is_hard] = False
        measure = BalancedAccuracy(test_set, Verdicts(said, np.where(answered, AnswerStatus.ANSWERED, AnswerStatus.FAILED)))
        own = measure.figure()
        lifts.append(own.value - measure.null_figures(own, 2).values.mean())
    assert abs(np.mean(lifts)) < 0.01
