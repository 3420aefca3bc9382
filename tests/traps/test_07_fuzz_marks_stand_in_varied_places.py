"""Trap 7, marks in fixed places: another tool's wrong marks always stand at token 24 of 32, with a fixed seed, so that a judge can learn it."""

from collections import Counter

import numpy as np
from scipy.stats import chi2_contingency

from interp.domain.spec import ScorerSpec
from interp.llm.prompt_text import CLOSE, OPEN
from interp.score.base import ScoreContext, ScorerInput
from interp.score.scorers.fuzz import Fuzz
from interp.stats.ranking import auroc
from tests.explain.planted import evidence, text, where
from tests.score.cat_feature import VOCABULARY, WIDTH, item_of


def _questions(features: int, seed: int = 0):
    """(truth, marked columns) of the questions about many features."""
    found = []
    for feature in range(features):
        test_set, texts = Fuzz(ScorerSpec(name="fuzz")).questions(item_of(feature=feature), ScoreContext(VOCABULARY, seed, None))
        for truth, shown in zip(test_set.truth.tolist(), texts, strict=True):
            found.append((truth, _positions(shown)))
    return found


def _positions(shown: str) -> list[int]:
    """Columns of marked words, marks themselves not counted."""
    columns, column, inside = [], 0, False
    for piece in shown.replace(OPEN, f" {OPEN} ").replace(CLOSE, f" {CLOSE} ").split():
        if piece in (OPEN, CLOSE):
            inside = piece == OPEN
            continue
        if inside:
            columns.append(column)
        column += 1
    return columns


def test_wrong_marks_stand_wherever_right_ones_do():
    found = _questions(60)
    counts = {truth: Counter(column for known, places in found if known == truth for column in places) for truth in (True, False)}
    table = np.array([[counts[truth][column] for column in range(WIDTH)] for truth in (True, False)])
    assert (table > 0).all()
    assert chi2_contingency(table).pvalue > 0.01
    for truth in (True, False):
        assert max(counts[truth].values()) < 2 * sum(counts[truth].values()) / WIDTH


def test_as_many_tokens_are_marked_wrongly_as_rightly():
    found = _questions(60)
    counts = {truth: Counter(len(places) for known, places in found if known == truth) for truth in (True, False)}
    assert set(counts[True]) == set(counts[False]) == {1, 2}
    assert abs(counts[True][1] - counts[False][1]) < 0.05 * counts[True].total()


def test_a_judge_of_places_alone_learns_nothing():
    """Trained on the marks of some features, where they stand says nothing of those of others."""
    known, new = _questions(60), _questions(120)[60 * 40 :]
    right = Counter(column for truth, places in known if truth for column in places)
    wrong = Counter(column for truth, places in known if not truth for column in places)
    scores = np.array([np.mean([np.log(right[column] + 1) - np.log(wrong[column] + 1) for column in places]) for _, places in new])
    area = auroc(scores, np.array([truth for truth, _ in new]))
    assert abs(area - 0.5) < 0.04


def test_another_seed_and_another_feature_mark_other_places():
    assert _questions(3, seed=0) == _questions(3, seed=0)
    assert _questions(3, seed=0) != _questions(3, seed=1)
    by_feature = [
        tuple(map(tuple, (places for truth, places in _questions(8)[40 * feature : 40 * feature + 40] if not truth))) for feature in range(8)
    ]
    assert len(set(by_feature)) == 8


def test_on_real_text_no_wrong_mark_is_on_a_token_that_fires():
    fires = where(lambda token: token.strip() in ("import", "self", "return"))
    item = ScorerInput.of(evidence(fires), item_of().explanation, ())
    test_set, texts = Fuzz(ScorerSpec(name="fuzz")).questions(item, ScoreContext(text().vocabulary, 0, None))
    assert 30 <= len(texts) <= 40
    for truth, shown in zip(test_set.truth, texts, strict=True):
        marked = [part.partition(CLOSE)[0] for part in shown.split(OPEN)[1:]]
        assert marked
        words = [word in part for part in marked for word in ("import", "self", "return")]
        assert any(words) == truth
