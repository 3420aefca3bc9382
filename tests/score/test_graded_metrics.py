"""Embedding and surprisal: grades of windows, and what is made of them."""

import asyncio
import re
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from interp.domain.errors import AbilityMissingError, PromptTooLongError
from interp.domain.evidence import ContextKind
from interp.domain.spec import JobSpec, ScorerSpec
from interp.llm.base import Ability, TokenChoice
from interp.llm.prompt_text import plain
from interp.score import registry
from interp.score.base import ScoreContext
from interp.score.items.test_set import TestSet
from interp.score.scorers.graded_metrics import RocArea, best_threshold, crossfitted, grades_of
from interp.score.scorers.surprisal import tail_of
from tests.score.cat_feature import FULL, STATISTICS, VOCABULARY, WORDS, contexts_of, item_of
from tests.score.fake_model import FakeModel

MEANT = {"cats": "cat", "dogs": "dog", "men": "man"}
NOUNS = [word.strip() for word in WORDS[1:]]


@dataclass(frozen=True)
class Reader:
    """A model that embeds and reads: words count, and a label counts as the word it means. Texts with a word of `too_long` are too long for it."""

    name: str = "reader"
    abilities: frozenset[Ability] = frozenset({Ability.EMBEDDINGS, Ability.PROMPT_LOGPROBS})
    too_long: str | None = None
    purpose: str = "test"
    seen: list[tuple[str, str]] = field(default_factory=list)

    @property
    def provenance(self):
        return {"model": self.name}

    def for_purpose(self, purpose):
        return replace(self, purpose=f"{self.purpose}/{purpose}")

    async def embed(self, texts):
        self.seen.extend((self.purpose, text) for text in texts)
        if self.too_long and any(self.too_long in text for text in texts):
            raise PromptTooLongError("The text is longer than the model's window.")
        vectors = np.array([[0.1] + [float(noun in MEANT.get(text, text)) for noun in NOUNS] for text in texts], dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    async def read(self, text):
        """A word that the description means costs 1 nat, any other 3."""
        self.seen.append((self.purpose, text))
        if self.too_long and self.too_long in text.rpartition("Text:\n")[2]:
            raise PromptTooLongError("The text is longer than the model's window.")
        label = re.search(r"Description: (.*)", text)[1]
        words = re.findall(r"\s*\S+|\s+$", text)
        return tuple(TokenChoice(word, -1.0 if MEANT.get(label, "-") in word else -3.0) for word in words[1:])

    async def ask(self, prompt):
        raise AssertionError("a graded scorer asks no question")


def score(name, model, item=None, controls=(), second=None, **options):
    context = ScoreContext(VOCABULARY, 0, model, second, model, frozenset(controls), 0.5)
    return asyncio.run(registry.judged(ScorerSpec(name=name, **options)).score(item_of() if item is None else item, context))


BOTH = pytest.mark.parametrize("name", ["embedding", "surprisal"])


@BOTH
def test_a_good_explanation_ranks_firing_windows_first(name):
    found = score(name, Reader())
    assert (found.metric, found.failed, found.abstained) == ("auc", 0, 0)
    assert found.value > 0.97
    assert found.interval.low < found.value <= found.interval.high
    assert found.metrics["auc"] == found.value
    assert found.metrics["auprc"] > 0.95 > 0.6 > found.metrics["auprc_of_chance"]
    assert found.metrics["balanced_accuracy"] > 0.9 and found.metrics["precision_at_rate"] is not None
    assert found.metrics["auc_decile_1"] > 0.9
    assert found.null.value < 0.75 and found.null.lift > 0.2 and len(found.null.values) == 2
    assert found.null.p_value is None
    assert all(item.prediction is not None and item.truth in (0.0, 1.0) for item in found.items)


@BOTH
def test_every_window_is_asked_under_its_purpose(name):
    model = Reader()
    score(name, model, item_of(baseline="men"), controls=("baseline", "empty"))
    purposes = {purpose for purpose, _ in model.seen}
    assert purposes == {"test", "test/null", "test/baseline"} | ({"test/empty"} if name == "embedding" else set())


@BOTH
def test_a_window_that_is_too_long_fails_alone(name):
    whole = score(name, Reader())
    contexts = item_of().contexts
    row = contexts.identities().index(whole.items[7].context)
    gaps = score(name, Reader(too_long=plain(contexts, row, VOCABULARY)))
    assert (gaps.failed, gaps.answered) == (1, whole.answered - 1)
    for place, (one, other) in enumerate(zip(gaps.items, whole.items, strict=True)):
        assert one.prediction == (None if place == 7 else other.prediction)
        assert (one.failure is not None and "longer than" in one.failure) == (place == 7)
    assert gaps.value is not None


@BOTH
def test_nothing_graded_is_undefined_with_the_reason(name):
    found = score(name, Reader(too_long=" "))
    assert (found.value, found.interval, found.answered) == (None, None, 0)
    assert "longer than" in found.reason
    assert found.null.value is None and found.metrics["auc"] is None


@BOTH
def test_firing_windows_alone_are_undefined(name):
    found = score(name, Reader(), item_of(contexts_of({ContextKind.UNIFORM: 10})))
    assert found.value is None and "silent" in found.reason
    assert found.answered == 10


@BOTH
def test_no_windows_at_all(name):
    found = score(name, Reader(), item_of(contexts_of({ContextKind.TOP: 3})))
    assert (found.value, found.answered, found.failed) == (None, 0, 0)
    assert found.reason and found.null.value is None


@BOTH
def test_a_label_that_says_nothing_of_the_feature_is_a_coin(name):
    found = score(name, Reader(), item_of(own="nobody knows", nulls=()))
    assert found.value == pytest.approx(0.5, abs=0.15)


@BOTH
def test_an_explanation_that_failed_grades_nothing(name):
    found = score(name, Reader(), item_of(own=None, nulls=()))
    assert found.value is None and found.answered == 0
    assert "There is no explanation" in found.reason


@BOTH
def test_controls(name):
    found = score(name, Reader(), item_of(nulls=(), baseline="dogs"), ("empty", "baseline", "repeat", "judge_swap", "gold"), Reader("second"))
    controls = {control.name: control for control in found.controls}
    assert set(controls) == {"empty", "baseline", "repeat", "judge_swap", "gold"}
    assert controls["empty"].value == pytest.approx(0.5, abs=0.15) and controls["empty"].lift > 0.3
    assert controls["baseline"].lift == pytest.approx(found.value - controls["baseline"].value)
    assert controls["repeat"].value is None and "same" in controls["repeat"].reason
    assert controls["gold"].reason
    assert (controls["judge_swap"].value is None) == (name == "embedding")


@BOTH
def test_twenty_nulls_give_a_p_value_of_their_own(name):
    nulls = tuple(["men", "dogs"] * 10)
    found = score(name, Reader(), item_of(nulls=nulls))
    assert len(found.null.values) == 20
    assert found.null.p_value is not None and found.null.p_value <= 0.05


def test_embedding_has_twenty_nulls_where_none_are_asked_for():
    job = JobSpec(subject={"model": "m"}, dictionary={"source": "d"}, corpus={"path": "c"}, models={"judge": {"model": "j"}})
    assert registry.nulls_of(ScorerSpec(name="embedding"), job) == 20
    assert registry.nulls_of(ScorerSpec(name="surprisal"), job) == 2
    assert registry.nulls_of(ScorerSpec(name="simulation"), job) == 2
    assert registry.nulls_of(ScorerSpec(name="simulation", judge="executable"), job) == 20
    assert registry.nulls_of(ScorerSpec(name="embedding", nulls=3), job) == 3
    assert registry.nulls_of(ScorerSpec(name="embedding"), job.model_copy(update={"controls": ()})) == 0


def test_embedding_without_an_embedding_model_says_what_to_do():
    context = ScoreContext(VOCABULARY, 0, FakeModel(lambda asked: ""))
    with pytest.raises(AbilityMissingError, match=r"models\.embedding"):
        asyncio.run(registry.judged(ScorerSpec(name="embedding")).score(item_of(), context))


def test_embedding_embeds_its_windows_once_for_all_explanations():
    model = Reader()
    score("embedding", model, item_of(nulls=("men", "dogs")), positives=10, negatives=10)
    assert len(model.seen) == 20 + 1 + 2


def test_surprisal_is_what_the_explanation_adds_over_a_sentence_that_says_nothing():
    """A cat costs 1 nat with the label and 3 without: two more for each cat in the window."""
    found = score("surprisal", Reader(), item_of(nulls=()))
    assert {item.prediction for item in found.items if item.truth} <= {2.0, 4.0}
    assert {item.prediction for item in found.items if not item.truth} == {0.0}
    assert found.metrics["auc_per_token"] == 1.0
    assert found.metrics["auc_of_length"] == 0.5  # windows of one length: length tells nothing
    assert found.provenance["template"] == "read@2"


def test_the_second_judge_that_cannot_read_is_a_reason_and_no_pause():
    found = score("surprisal", Reader(), item_of(nulls=()), ("judge_swap",), FakeModel(lambda asked: ""))
    (control,) = found.controls
    assert control.value is None and "log-probs" in control.reason


@pytest.mark.parametrize("text, covered", [("home fire", 2), ("me fire", 2), ("fire", 1), ("x home fire", 3)])
def test_the_tail_of_a_reading_is_the_window(text, covered):
    read = [TokenChoice(token, -1.0) for token in ("x", " home", " fire")]
    assert len(tail_of(read, text)) == covered


def test_thresholds_come_from_the_other_half_of_the_documents():
    """Grades that separate in one half at 0.5 and in the other at 5: each half is judged by the other's threshold, and fails by it."""
    contexts = contexts_of({ContextKind.UNIFORM: 20, ContextKind.INACTIVE: 20})
    test_set = TestSet.of(contexts, STATISTICS)
    odd = test_set.clusters % 2 == 1
    scores = np.where(test_set.positive, 1.0, 0.0) * np.where(odd, 10.0, 1.0)
    said, decided = crossfitted(scores, test_set, np.ones(40, dtype=bool))
    assert decided.all()
    assert (said[odd] == test_set.positive[odd]).all()
    assert not said[~odd].any()


def test_the_best_threshold_by_hand():
    grades, fires = np.array([0.1, 0.2, 0.6, 0.8, 0.9]), np.array([False, True, False, True, True])
    assert best_threshold(grades, fires) == pytest.approx(0.7)  # recall 2/3 and specificity 1 beat all others
    assert best_threshold(grades[fires], fires[fires]) is None
    assert best_threshold(np.ones(5), fires) is None


def test_swapped_explanations_are_significant_no_more_often_than_promised():
    """21 gradings that know nothing of the feature, one of them called its own: with twenty nulls p is 0.05 or less in one of twenty."""
    random = np.random.default_rng(0)
    test_set = TestSet.of(contexts_of(FULL), STATISTICS)
    item = item_of(nulls=tuple(map(str, range(20))))
    p_values = []
    for _ in range(300):
        measure = RocArea(test_set, grades_of(random.normal(size=(21, len(test_set))), [None] * len(test_set)))
        p_values.append(measure.null_of(measure.figure(), item).p_value)
    assert 0.02 <= np.mean(np.array(p_values) <= 0.05) <= 0.08
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("name", ["simulation", "selection", "embedding", "surprisal"])
def test_nothing_that_is_asked_depends_on_where_and_how_strongly_the_feature_fires(name):
    """The activations decide the truth alone: moved to other tokens of their window and made stronger, they leave every question as it was."""
    contexts = contexts_of({**FULL, ContextKind.TOP: 8})
    moved = replace(contexts, activations=(np.roll(contexts.activations, 5, axis=1) * np.float16(3)).astype(np.float16))

    def questions(shown):
        reader, teller = Reader(), FakeModel(lambda asked: asked.prompt.typical)
        context = ScoreContext(VOCABULARY, 0, reader if name == "surprisal" else teller, None, reader)
        asyncio.run(registry.judged(ScorerSpec(name=name)).score(item_of(shown), context))
        return sorted([str(asked.prompt.content()) for asked in teller.asked] + [text for _, text in reader.seen])

    assert questions(contexts) == questions(moved) != []


def test_the_order_of_contexts_changes_nothing():
    contexts = contexts_of(FULL)
    shuffled = contexts.select(np.random.default_rng(0).permutation(len(contexts)))
    for name in ("embedding", "surprisal"):
        assert score(name, Reader(), item_of(contexts)) == score(name, Reader(), item_of(shuffled))
