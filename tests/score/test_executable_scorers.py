"""Detection and simulation: what they measure, what they refuse to say, and what a null makes of it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from interp.domain.errors import InputError
from interp.domain.evidence import ContextKind, Contexts, Split, Statistics
from interp.domain.explanation import Explanation
from interp.domain.spec import ScorerSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain.pattern.literals import Flag, OneOf
from interp.explain.pattern.rule import Clause, Rule
from interp.judge.verdicts import AnswerStatus, Verdicts
from interp.score import registry
from interp.score.base import ScorerInput
from interp.score.executable_judge import ExecutableJudge
from interp.score.items.test_set import TestSet
from interp.score.scorers.binary_metrics import by_strength
from tests.explain.planted import evidence, text, where

DETECTION = ScorerSpec(name="detection")
WORDS = Vocabulary(tuple(word.encode() for word in ("<bos>", "on", "off", "up", "1", "2")), frozenset({0}))


def _rule(*values, value=1.0, by_token=()) -> dict:
    return Rule((Clause((OneOf("word", 0, values),), value, by_token),)).to_json()


def _explanation(feature=0, rule=None, words="something") -> Explanation:
    return Explanation(feature, "test", words, rule=rule)


def _contexts(rows, kinds, documents=None) -> Contexts:
    """`rows` [(tokens, activations)], all of one length."""
    count, width = len(rows), len(rows[0][0])
    return Contexts(
        tokens=np.array([tokens for tokens, _ in rows], dtype=np.uint32),
        activations=np.array([activations for _, activations in rows], dtype=np.float16),
        lengths=np.full(count, width, dtype=np.uint16),
        kinds=np.array(kinds, dtype=np.uint8),
        splits=np.full(count, Split.TEST, dtype=np.uint8),
        documents=np.arange(count, dtype=np.uint64) if documents is None else np.array(documents, dtype=np.uint64),
        starts=np.arange(count, dtype=np.uint32) * width,
        positions=np.full(count, width, dtype=np.uint16),
    )


STATISTICS = Statistics(1000, 10, (100, 100), (10, 10), 10.0, 5.0)


def _score(name, contexts, explanation, nulls=(), judge=None, vocabulary=WORDS):
    spec = ScorerSpec(name=name)
    scorer = registry.get(spec, judge)
    return scorer.score([ScorerInput(0, contexts, STATISTICS, explanation, tuple(nulls))], vocabulary, 0)[0]


def test_detection_by_hand():
    """Three of four firing windows found, one false alarm in three silent ones: F1 0.75, balanced accuracy 0.7083."""
    on, off, up = ([1, 2], [1.0, 0]), ([2, 2], [0, 0]), ([3, 2], [1.0, 0])
    alarm = ([1, 2], [0, 0])
    contexts = _contexts(
        [on, on, on, up, off, off, alarm], [ContextKind.UNIFORM] * 3 + [ContextKind.WEIGHTED] + [ContextKind.INACTIVE] * 2 + [ContextKind.NEAR_MISS]
    )
    score = _score("detection", contexts, _explanation(rule=_rule("on")))
    assert score.metrics["f1"] == pytest.approx(0.75)
    assert score.value == score.metrics["balanced_accuracy"] == pytest.approx(0.7083, abs=5e-5)
    assert score.metrics["specificity_near_miss"] == 0
    assert (score.answered, score.failed, score.abstained) == (7, 0, 0)
    assert score.interval.low < score.value < score.interval.high
    # Uniform firing windows are all found, inactive ones all silent: nothing is wrong at the true rate, though the bound knows how few they are.
    assert score.metrics["precision_at_rate"] == 1
    assert 0.1 < score.metrics["precision_at_rate_low"] < 0.5


def test_simulation_by_hand():
    """Pearson's r is of the concatenation, not the mean of the windows'."""
    rows = [([1, 4], [0, 10.0]), ([1, 5], [0, 10.0]), ([1, 2], [0, 0])]
    rule = _rule("1", "2", value=10.0, by_token=((4, 10.0), (5, 5.0)))
    score = _score("simulation", _contexts(rows, [ContextKind.UNIFORM, ContextKind.WEIGHTED, ContextKind.INACTIVE]), _explanation(rule=rule))
    assert score.value == pytest.approx(0.9258, abs=5e-5)
    assert score.items[1].detail == {"real": [[1, 10.0]], "predicted": [[1, 5.0]]}


def test_only_firing_windows_leave_the_figure_undefined():
    score = _score("detection", _contexts([([1, 2], [1.0, 0])] * 3, [ContextKind.UNIFORM] * 3), _explanation(rule=_rule("on")))
    assert score.value is None
    assert score.interval is None
    assert "silent" in score.reason
    assert score.metrics["recall"] == 1


def test_no_windows_at_all():
    nothing = _contexts([([1, 2], [1.0, 0])], [ContextKind.UNIFORM]).select(np.zeros(1, dtype=bool))
    for name in registry.SCORERS:
        score = _score(name, nothing, _explanation(rule=_rule("on")), [_explanation(1, _rule("off"))] * 3)
        assert (score.value, score.answered, score.failed) == (None, 0, 0)
        assert score.reason
        assert score.null.p_value is None


def test_a_constant_prediction_has_no_correlation():
    contexts = _contexts([([1, 2], [1.0, 0]), ([2, 2], [0, 0])], [ContextKind.UNIFORM, ContextKind.INACTIVE])
    score = _score("simulation", contexts, _explanation(rule=_rule("up")))
    assert score.value is None
    assert "same at every token" in score.reason


@pytest.mark.parametrize("name", registry.SCORERS)
def test_an_explanation_in_words_alone_fails_and_is_not_a_no(name):
    contexts = _contexts([([1, 2], [1.0, 0]), ([2, 2], [0, 0])], [ContextKind.UNIFORM, ContextKind.INACTIVE])
    score = _score(name, contexts, _explanation())
    assert (score.value, score.answered, score.failed) == (None, 0, 2)
    assert "no rule" in score.reason
    assert all(item.prediction is None and "no rule" in item.failure for item in score.items)


class Scripted(ExecutableJudge):
    """Answers like the executable judge, but fails at some windows and abstains at others."""

    def __init__(self, failed=(), abstained=()):
        super().__init__()
        self.failed, self.abstained = list(failed), list(abstained)

    def simulate(self, explanations, contexts, vocabulary):
        answers = super().simulate(explanations, contexts, vocabulary)
        outcomes = answers.statuses.copy()
        outcomes[:, self.failed] = AnswerStatus.FAILED
        outcomes[:, self.abstained] = AnswerStatus.ABSTAINED
        return Verdicts(answers.values, outcomes)


def test_what_a_judge_did_not_answer_counts_neither_way():
    """Failed calls on silent windows would be right if they were a "no"."""
    rows = [([1, 2], [1.0, 0])] * 2 + [([1, 2], [0, 0])] + [([2, 2], [0, 0])] * 5
    contexts = _contexts(rows, [ContextKind.UNIFORM] * 2 + [ContextKind.INACTIVE] * 6)
    whole = _score("detection", contexts, _explanation(rule=_rule("on")))
    gaps = _score("detection", contexts, _explanation(rule=_rule("on")), judge=Scripted(failed=[3, 4, 5], abstained=[6]))
    assert whole.value == pytest.approx((1 + 5 / 6) / 2)
    assert gaps.value == pytest.approx((1 + 1 / 2) / 2)
    assert (gaps.answered, gaps.failed, gaps.abstained) == (4, 3, 1)
    assert [item.failure for item in gaps.items if item.prediction is None] == ["failed"] * 3 + ["abstained"]


def test_a_window_kept_twice_is_asked_once():
    once = _contexts([([1, 2], [1.0, 0]), ([2, 2], [0, 0])], [ContextKind.UNIFORM, ContextKind.INACTIVE])
    twice = once.select(np.array([0, 0, 1]))
    twice.kinds[1] = ContextKind.WEIGHTED
    score = _score("detection", twice, _explanation(rule=_rule("on")))
    assert len(score.items) == 2
    assert sorted(item.kind for item in score.items) == ["inactive", "uniform+weighted"]


def test_top_windows_are_reported_apart():
    """A rule that knows the strongest windows alone does not live on them."""
    top, weak, silent = ([1, 2], [9.0, 0]), ([3, 2], [1.0, 0]), ([2, 2], [0, 0])
    contexts = _contexts([top] * 4 + [weak] * 4 + [silent] * 4, [ContextKind.TOP] * 4 + [ContextKind.UNIFORM] * 4 + [ContextKind.INACTIVE] * 4)
    score = _score("detection", contexts, _explanation(rule=_rule("on")))
    assert score.metrics["recall_top"] == 1
    assert score.metrics["recall"] == 0
    assert score.value == 0.5


def test_a_label_twice_too_broad_shows_at_the_true_rate():
    """Balanced accuracy hardly sees it; precision at the rate at which the feature truly fires does."""
    narrow, broad = where(lambda t: t.strip() == "import"), where(lambda t: t.strip() in ("import", "return", "if"))
    found = evidence(narrow)
    assert narrow.sum() * 2 < broad.sum()
    right, wide = (
        registry.get(DETECTION).score([ScorerInput.of(found, _explanation(rule=rule), ())], text().vocabulary, 0)[0]
        for rule in (_rule("import"), _rule("import", "return", "if"))
    )
    assert right.metrics["precision_at_rate"] > 0.9
    assert wide.value > 0.7
    assert wide.metrics["precision_at_rate"] < 0.5


def test_recall_by_strength_is_by_the_peak_relative_to_the_features_maximum():
    """Peaks of 8, 3 and 1 under a maximum of 10, five windows each, only the strong ones found: by count a third, by strength two thirds."""
    rows = [([1, 2] if peak == 8 else [2, 2], [peak, 0]) for peak in (8.0, 3.0, 1.0) for _ in range(5)] + [([2, 2], [0, 0])] * 5
    contexts = _contexts(rows, [ContextKind.UNIFORM] * 15 + [ContextKind.INACTIVE] * 5)
    test_set = TestSet.of(contexts, STATISTICS)
    found = by_strength(test_set, np.ones(20, bool), test_set.strengths == 8)
    assert [found[f"recall_{name}"] for name in ("strong", "medium", "weak")] == [1, 0, 0]
    assert [found[f"share_{name}"] for name in ("strong", "medium", "weak")] == pytest.approx([1 / 3] * 3)
    assert found["recall_of_strength"] == pytest.approx(8 / 12)
    assert found["recall_of_windows"] == pytest.approx(1 / 3)
    assert found["recall_of_windows_low"] < 1 / 3 < found["recall_of_windows_high"] < found["recall_of_strength_high"]


def test_recall_of_the_corpus_needs_no_sample_of_one_kind():
    """2,000 firing windows with lognormal peaks, found above a peak: both samples give the share of windows found, and of their strength."""
    random = np.random.default_rng(0)
    peaks = random.lognormal(sigma=1.0, size=2000)
    hits, found = (peaks > 1.5) ^ (random.random(2000) < 0.1), []
    for _ in range(400):
        uniform, weighted = random.choice(2000, 20, replace=False), random.choice(2000, 20, replace=False, p=peaks / peaks.sum())
        rows = np.concatenate([uniform, weighted])
        groups = {"uniform": np.arange(40) < 20, "weighted": np.arange(40) >= 20}
        every = np.ones(40, bool)
        test_set = TestSet([""] * 40, [""] * 40, groups, every, every, ~every, np.arange(40), peaks[rows].astype(np.float32), 0.1, float(peaks.max()))
        found.append(by_strength(test_set, every, hits[rows]))
    for name, true in (("recall_of_windows", hits.mean()), ("recall_of_strength", peaks[hits].sum() / peaks.sum())):
        value, low, high = (np.array([line[each] for line in found]) for each in (name, f"{name}_low", f"{name}_high"))
        assert value.mean() == pytest.approx(true, abs=0.02), name
        assert np.mean((low <= true) & (true <= high)) >= 0.92, name
    assert hits.mean() < 0.5 < value.mean(), "by count most windows are missed"


def test_recall_by_decile_knows_the_weak_end():
    rows = [([1 if strength > 5 else 3, 2], [strength, 0]) for strength in range(1, 11)] + [([2, 2], [0, 0])] * 10
    score = _score("detection", _contexts(rows, [ContextKind.UNIFORM] * 10 + [ContextKind.INACTIVE] * 10), _explanation(rule=_rule("on")))
    assert [score.metrics[f"recall_decile_{number}"] for number in range(1, 11)] == [0.0] * 5 + [1.0] * 5


def test_the_null_is_the_same_items_with_borrowed_explanations():
    rows = [([1, 2], [1.0, 0])] * 5 + [([2, 2], [0, 0])] * 5
    contexts = _contexts(rows, [ContextKind.UNIFORM] * 5 + [ContextKind.INACTIVE] * 5)
    nulls = [_explanation(7, _rule("off")), _explanation(8, _rule("up")), _explanation(9, _rule("on", "off"))]
    score = _score("detection", contexts, _explanation(rule=_rule("on")), nulls)
    # "off" fires everywhere, "up" nowhere, both together everywhere.
    assert score.null.value == pytest.approx(0.5)
    assert score.null.lift == pytest.approx(0.5)
    assert score.null.features == (7, 8, 9)
    # Three nulls are too few for a p value by rank. Five of ten documents differ from each of them in favour of the own explanation.
    assert score.null.p_value is None
    assert score.null.p_paired == pytest.approx(1 / 32)
    assert score.null.lift_interval.low < 0.5 <= score.null.lift_interval.high


@pytest.mark.parametrize("name", registry.SCORERS)
def test_nulls_without_a_rule_are_left_out_and_too_few_say_so(name):
    rows = [([1, 2], [1.0, 0])] * 5 + [([2, 1], [0, 0])] * 5
    contexts = _contexts(rows, [ContextKind.UNIFORM] * 5 + [ContextKind.INACTIVE] * 5)
    nulls = [_explanation(7), _explanation(8), _explanation(9, _rule("on"))]
    score = _score(name, contexts, _explanation(rule=_rule("on")), nulls)
    assert (score.null.value, score.null.lift, score.null.p_value) == (None, None, None)
    assert "1 of 3" in score.null.reason


def test_a_score_without_nulls_has_no_null():
    assert _score("detection", _contexts([([1, 2], [1.0, 0])], [ContextKind.UNIFORM]), _explanation(rule=_rule("on"))).null is None


@pytest.mark.parametrize("name", registry.SCORERS)
def test_a_true_explanation_beats_its_nulls_and_its_interval_holds_the_figure(name):
    plants = [lambda t, w=word: t.strip() == w for word in ("self", "if", "in", "not", "is", "return", "def", "for", "None", "else", "and", "or")]
    words = ("self", "if", "in", "not", "is", "return", "def", "for", "None", "else", "and", "or")
    explanations = [_explanation(number, _rule(word.lower())) for number, word in enumerate(words)]
    for number in (0, 2, 5):
        found = evidence(where(plants[number]), number)
        others = [explanation for explanation in explanations if explanation.feature != number]
        score = registry.get(ScorerSpec(name=name)).score([ScorerInput.of(found, explanations[number], others)], text().vocabulary, 0)[0]
        assert score.value > 0.8
        assert score.interval.low <= score.value <= score.interval.high
        assert score.null.p_paired < 0.02
        assert score.null.lift > 0.3
        assert score.null.lift_interval.low > 0.1


@pytest.mark.parametrize("name", registry.SCORERS)
def test_items_in_any_order_give_the_same_score(name):
    found = evidence(where(str.isdigit))
    digits = _explanation(rule=Rule((Clause((Flag("digits"),), 1.0),)).to_json())
    item = ScorerInput.of(found, digits, [_explanation(1, _rule("self")), _explanation(2, _rule("if")), _explanation(3, _rule("(", ")"))])
    shuffled = replace(item, contexts=item.contexts.select(np.random.default_rng(0).permutation(len(item.contexts))))
    scorer = registry.get(ScorerSpec(name=name))
    first, second = scorer.score([item, shuffled], text().vocabulary, 0)
    assert first == second


def test_unknown_scorers_are_refused_with_the_known_ones():
    with pytest.raises(InputError, match="Known are: detection, "):
        registry.get(ScorerSpec(name="detecton"))


def test_spearman_stands_beside_pearson_and_is_not_moved_by_one_strong_token():
    """Seven documents of a firing token that the rule finds; at last one is a hundred times as strong, and Pearson's r falls."""
    rows = [([1, 2], [level, 0]) for level in (1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5)]
    silent = [([2, 2], [0, 0])] * 7
    kinds = [ContextKind.UNIFORM] * 7 + [ContextKind.INACTIVE] * 7
    even = _score("simulation", _contexts(rows + silent, kinds), _explanation(rule=_rule("on")))
    strong = _score("simulation", _contexts([*rows[:6], ([1, 2], [250.0, 0]), *silent], kinds), _explanation(rule=_rule("on")))
    real, said = [1, 1.25, 1.5, 1.75, 2, 2.25, 2.5] + [0] * 21, [1] * 7 + [0] * 21
    assert even.metrics["spearman"] == pytest.approx(spearmanr(said, real)[0])
    assert even.value > 0.9
    assert strong.value < 0.5
    assert strong.metrics["spearman"] == pytest.approx(even.metrics["spearman"])
    assert strong.metrics["spearman_low"] > strong.interval.low
    assert strong.metrics["spearman_low"] < strong.metrics["spearman"] < strong.metrics["spearman_high"]


def test_a_correlation_of_few_documents_says_why_it_has_no_interval():
    rows = [([1, 2], [1.0, 0]), ([1, 2], [2.0, 0]), ([2, 2], [0, 0])]
    score = _score("simulation", _contexts(rows, [ContextKind.UNIFORM] * 2 + [ContextKind.INACTIVE]), _explanation(rule=_rule("on")))
    assert score.value is not None
    assert score.interval is None
    assert score.reason == "No interval: the feature fires in 2 documents of those asked about, and one needs 5."
