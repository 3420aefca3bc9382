"""Detection and fuzz with a language model as the judge, at the prompts that it reads."""

import asyncio
import json
import math
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from interp.domain.digests import digest_of
from interp.domain.errors import BudgetReachedError, InputError
from interp.domain.evidence import ContextKind
from interp.domain.spec import JobSpec, ModelSpec, ModelsSpec, ScorerSpec
from interp.judge.yes_no import Verdict
from interp.llm.base import Ability, TokenChoice
from interp.score import registry
from interp.score.items.sampling import NEGATIVES, POSITIVES
from interp.score.items.test_set import TestSet
from interp.score.scorers.sequential import ask_in_rounds
from tests.score.cat_feature import FULL, STATISTICS, contexts_of, item_of, score
from tests.score.fake_model import FakeModel, reply, verdicts

BOTH = pytest.mark.parametrize("name", ["detection", "fuzz"])
MARKED = re.compile("«([^»]*)»")


def knows(text, label):
    """A judge who knows what the labels mean: about marks, all of them; else whether the word stands there."""
    word = {"cats": "cat", "dogs": "dog", "men": "man"}.get(label) or next(iter(re.findall('"(.*)"', label or "")), "nothing")
    marks = MARKED.findall(text)
    return all(word in part for part in marks) if marks else f" {word}" in text


@BOTH
def test_a_judge_who_knows_gives_one_and_others_labels_half(name):
    model = FakeModel(verdicts(knows))
    found = score(name, model)
    assert (found.value, found.reason, found.metric) == (1.0, None, "balanced_accuracy")
    assert (found.answered, found.failed, found.abstained) == (POSITIVES + NEGATIVES, 0, 0)
    assert found.interval.low < 1 == found.interval.high
    assert found.null.features == (100, 101)
    assert len(found.null.values) == 2
    assert found.null.p_value is None
    assert found.null.lift == pytest.approx(1 - found.null.value)
    assert found.null.value == pytest.approx(np.mean(found.null.values))
    assert found.null.value < 0.7
    assert found.metrics.get("precision_at_rate") == (1 if name == "detection" else None)
    assert found.metrics.get("window_rate") == (pytest.approx(0.1) if name == "detection" else None)
    assert "auc" not in found.metrics


def test_the_order_is_a_setting_and_what_never_named_it_keeps_its_digest():
    assert digest_of(ScorerSpec(name="detection").model_dump(mode="json")) == "6246a207573998b298e4d33e6a660f69bc8343ad3da4afbdc2db88a525cb9a4d"
    other = ScorerSpec(name="detection", order="label_first")
    assert other.model_dump(mode="json")["order"] == "label_first" and ScorerSpec(**other.model_dump(mode="json")) == other


@BOTH
def test_nulls_and_controls_answer_the_same_windows_in_the_same_prompts(name):
    model = FakeModel(verdicts(knows))
    score(name, model, item_of(baseline="dogs"), controls=("empty", "baseline"))
    prompts = {}
    for asked in model.asked:
        prompts.setdefault((asked.purpose, asked.label), []).append(tuple(asked.texts.values()))
    assert sorted(purpose for purpose, _ in prompts) == ["test", "test/baseline", "test/empty", "test/null", "test/null"]
    assert len(set(map(tuple, map(sorted, prompts.values())))) == 1


@BOTH
def test_windows_are_drawn_by_the_seed_and_never_by_the_explanation(name):
    def texts(seed, own):
        model = FakeModel(verdicts(knows))
        score(name, model, item_of(own=own, nulls=()), seed=seed)
        return [tuple(asked.texts.values()) for asked in model.asked]

    assert texts(0, "cats") == texts(0, "something else")
    assert texts(0, "cats") != texts(1, "cats")


def test_detection_draws_half_uniform_half_weighted_and_a_quarter_near_misses():
    found = score("detection", FakeModel(verdicts(knows)))
    assert Counter(item.kind for item in found.items) == {"uniform": 10, "weighted": 10, "inactive": 15, "near_miss": 5}
    assert all(item.truth == item.prediction for item in found.items)
    few = score("detection", FakeModel(verdicts(knows)), positives=6, negatives=8)
    assert Counter(item.kind for item in few.items) == {"uniform": 3, "weighted": 3, "inactive": 6, "near_miss": 2}


def test_fuzz_marks_what_fires_and_as_much_that_does_not():
    model = FakeModel(verdicts(knows))
    found = score("fuzz", model)
    kinds = Counter(item.kind for item in found.items)
    assert sum(count for kind, count in kinds.items() if kind.endswith("+misplaced")) == NEGATIVES // 2
    assert kinds["inactive"] + kinds["near_miss"] == NEGATIVES // 2
    texts = [text for asked in model.asked if asked.purpose == "test" for text in asked.texts.values()]
    right = [text for text in texts if " cat" in text and "cat" in "".join(MARKED.findall(text))]
    wrong = [text for text in texts if text not in right]
    assert (len(right), len(wrong)) == (POSITIVES, NEGATIVES)
    assert all("cat" not in part for text in wrong for part in MARKED.findall(text))
    assert sum(" cat" in text for text in wrong) == NEGATIVES // 2

    def marked(text):
        return sum(len(part.split()) for part in MARKED.findall(text))

    assert min(map(marked, texts)) >= 1
    assert Counter(map(marked, right)) == Counter(map(marked, wrong))


def test_a_judge_who_sees_only_the_text_cannot_tell_misplaced_marks():
    found = score("fuzz", FakeModel(verdicts(lambda text, label: " cat" in text.replace("«", "").replace("»", ""))))
    assert found.metrics["specificity_misplaced"] == 0
    assert found.metrics["specificity_inactive"] == 1
    assert found.value == pytest.approx(0.75)


@BOTH
def test_what_fails_and_what_is_unsure_counts_neither_way(name):
    def tell(asked):
        said = json.loads(verdicts(knows)(asked))
        prompts.append(said)
        # The windows of the first prompt are refused however they are asked about; of the others every second has one that cannot be judged.
        if refused.setdefault("texts", set(asked.texts.values())) & set(asked.texts.values()):
            return reply("no", "refusal")
        return json.dumps(said | {"1": "unsure"} if len(prompts) % 2 else said)

    refused, prompts = {}, []
    found = score(name, FakeModel(tell), item_of(nulls=()))
    assert found.value == 1
    assert found.failed > 0 < found.abstained
    assert found.answered + found.failed + found.abstained == len(found.items) == POSITIVES + NEGATIVES
    silent = [item for item in found.items if item.prediction is None]
    assert len(silent) == found.failed + found.abstained
    assert all(item.failure for item in silent)
    assert {item.failure for item in silent} >= {"The judge is unsure."}


@BOTH
def test_no_explanation_is_not_asked_about(name):
    model = FakeModel(verdicts(knows))
    found = score(name, model, item_of(own=None), controls=("empty", "repeat", "gold"))
    assert model.asked == []
    assert (found.value, found.interval, found.answered) == (None, None, 0)
    assert "The model refused." in found.reason
    assert found.null.value is None
    assert all(control.value is None and control.reason for control in found.controls)
    assert {control.name for control in found.controls} == {"empty", "repeat", "gold"}


@BOTH
def test_a_null_without_an_explanation_leaves_the_others(name):
    item = item_of(nulls=("dogs", None, "men"))
    found = score(name, FakeModel(verdicts(knows)), item)
    assert found.null.values[1] is None
    assert found.null.value == pytest.approx((found.null.values[0] + found.null.values[2]) / 2)


def test_the_budget_stops_the_score():
    def spent(asked):
        raise BudgetReachedError("The budget is reached.")

    with pytest.raises(BudgetReachedError):
        score("detection", FakeModel(spent))


@BOTH
def test_provenance_lists_every_call_by_purpose_and_each_item_its_own(name):
    model, second = FakeModel(verdicts(knows)), FakeModel(verdicts(knows), name="second")
    found = score(name, model, item_of(baseline="dogs"), ("empty", "baseline", "repeat", "judge_swap", "gold"), second)
    calls = found.provenance["calls"]
    assert set(calls) == {name, *(f"{name}/{part}" for part in ("null", "empty", "baseline", "repeat", "judge_swap", "gold"))}
    assert {part: len(keys) for part, keys in calls.items() if part in (name, f"{name}/null")} == {name: 4, f"{name}/null": 8}
    assert {item.detail["call"] for item in found.items} == set(calls[name])
    assert found.provenance["template"] == {"detection": "detect@3", "fuzz": "fuzz@3"}[name]
    assert found.provenance["order"] == "windows_first"
    assert found.provenance["model"] == {"model": "teller", "base_url": "test:"}
    assert found.provenance["items"] == {"asked": 40, "of": 40}
    assert sum(map(len, calls.values())) == len(model.asked) + len(second.asked)


def test_graded_answers_give_areas_under_curves():
    def tell(asked):
        choices = []
        for number, text in asked.texts.items():
            p = 0.9 if knows(text, asked.label) else 0.2
            choices += [
                TokenChoice(f'{"{" if number == "1" else ", "}"{number}": "', 0.0),
                TokenChoice("yes" if p > 0.5 else "no", 0.0, (("yes", math.log(p)), ("no", math.log(1 - p)))),
                TokenChoice('"', 0.0),
            ]
        choices.append(TokenChoice("}", 0.0))
        return reply("".join(choice.token for choice in choices), choices=choices)

    found = score("detection", FakeModel(tell, abilities=frozenset({Ability.LOGPROBS})))
    assert found.metrics["auc"] == found.metrics["auprc"] == 1
    assert 0.5 < found.metrics["auc_low"] < 1 == found.metrics["auc_high"]
    assert {round(item.detail["probability"], 6) for item in found.items} == {0.9, 0.2}


def _control(found, name):
    return next(control for control in found.controls if control.name == name)


@BOTH
def test_empty_and_baseline_are_the_same_exam_with_another_label(name):
    found = score(
        name, FakeModel(verdicts(lambda text, label: label is not None and knows(text, label))), item_of(baseline="dogs"), ("empty", "baseline")
    )
    empty, baseline = _control(found, "empty"), _control(found, "baseline")
    assert empty.value == 0.5
    assert empty.lift == 0.5
    assert empty.lift_interval.low > 0.2
    assert baseline.lift == pytest.approx(found.value - baseline.value)
    assert _control(score(name, FakeModel(verdicts(knows)), controls=("baseline",)), "baseline").reason.startswith("The feature has no pattern")


@BOTH
def test_repeat_and_judge_swap_say_how_far_answers_can_be_trusted(name):
    steady, contrary = FakeModel(verdicts(knows)), FakeModel(verdicts(lambda text, label: not knows(text, label)), name="contrary")
    found = score(name, steady, item_of(nulls=()), ("repeat", "judge_swap"), contrary, share=0.2)
    repeat, swap = _control(found, "repeat"), _control(found, "judge_swap")
    assert (repeat.value, repeat.details["compared"], repeat.details["agreement"]) == (1.0, 8, 1.0)
    assert (repeat.details["yes_yes"], repeat.details["no_no"]) == (4, 4)
    assert swap.value == -1
    assert swap.details["judge"] == "contrary"
    assert {asked.prompt.sample for asked in steady.asked if asked.purpose == "test/repeat"} == {1}
    assert _control(score(name, steady, controls=("judge_swap",)), "judge_swap").reason == "The job names no second judge."


def test_agreement_of_answers_that_are_all_alike_is_undefined():
    found = score("detection", FakeModel(verdicts(lambda text, label: True)), controls=("repeat",))
    assert _control(found, "repeat").value is None
    assert "same" in _control(found, "repeat").reason
    assert _control(found, "repeat").details["yes_yes"] == 4


@BOTH
def test_gold_questions_are_known_from_the_text_alone(name):
    model = FakeModel(verdicts(knows))
    gold = _control(score(name, model, controls=("gold",), gold_items=8), "gold")
    assert gold.value == 1
    assert {key: gold.details[key] for key in ("tp", "fn", "tn", "fp", "failed", "abstained")} == {
        "tp": 4,
        "fn": 0,
        "tn": 4,
        "fp": 0,
        "failed": 0,
        "abstained": 0,
    }
    (asked,) = [asked for asked in model.asked if asked.purpose == "test/gold"]
    (word,) = re.findall('"(.*)"', asked.label)
    for text in asked.texts.values():
        assert ("«" in text) == (name == "fuzz")
    always = _control(score(name, FakeModel(verdicts(lambda text, label: True)), controls=("gold",), gold_items=8), "gold")
    assert (always.value, always.details["tp"], always.details["fp"]) == (0.5, 4, 4)
    assert word in " ".join(asked.texts.values())


def test_no_gold_where_all_windows_are_alike():
    contexts = contexts_of({ContextKind.UNIFORM: 1, ContextKind.INACTIVE: 1})
    alike = replace(contexts, tokens=np.full_like(contexts.tokens, 4))
    gold = _control(score("detection", FakeModel(verdicts(knows)), item_of(alike), controls=("gold",)), "gold")
    assert gold.value is None
    assert gold.reason


@BOTH
@pytest.mark.parametrize(
    ("options", "why"),
    [({"threshold": 0.6}, "above"), ({"threshold": 1.1}, "below"), ({"width": 0.9}, "narrow"), ({"threshold": 0.9999}, "all asked")],
)
def test_sequential_stops_when_its_interval_says_enough(name, options, why):
    model = FakeModel(verdicts(knows))
    found = score(name, model, item_of(baseline="dogs"), ("empty",), stop="sequential", per_prompt=4, positives=20, negatives=20, **options)
    items = found.provenance["items"]
    assert items["stopped"] == why
    assert found.interval.method == "anytime-beta-binomial"
    assert (items["asked"] == items["of"] == 40) == (why == "all asked")
    assert len(found.items) == found.answered == items["asked"]
    # All explanations answered the same windows: own, two nulls and `empty`.
    assert len(model.asked) == 4 * items["rounds"]
    assert {item.truth for item in found.items} == {0.0, 1.0}
    assert found.value == 1


def test_stopping_early_errs_no_more_often_than_promised():
    """A judge whose true figure is the threshold itself: whichever side the interval takes is wrong, after any round."""
    test_set = TestSet.of(contexts_of(FULL), STATISTICS)
    spec = ScorerSpec(name="detection", stop="sequential", threshold=0.7)
    random = np.random.default_rng(0)

    async def ask(rows, number):
        says = random.random(len(rows)) < np.where(test_set.positive[rows], 0.8, 0.4)
        return [[Verdict.answered(bool(said)) for said in says]]

    ends = [asyncio.run(ask_in_rounds(test_set, spec, seed, ask)).stopped for seed in range(300)]
    assert 1 - ends.count("all asked") / len(ends) <= 0.07


def test_a_good_label_saves_most_of_the_questions():
    found = score("detection", FakeModel(verdicts(knows)), stop="sequential", threshold=0.6)
    assert found.provenance["items"]["of"] == 80
    assert found.provenance["items"]["asked"] <= 30


def test_nulls_never_make_it_stop():
    def stops(null):
        found = score(
            "detection",
            FakeModel(verdicts(knows)),
            item_of(nulls=(null,)),
            stop="sequential",
            threshold=0.6,
            per_prompt=4,
            positives=20,
            negatives=20,
        )
        return found.provenance["items"]["asked"]

    assert stops("dogs") == stops("cats") < 40


@pytest.mark.parametrize(
    "counts", [{ContextKind.UNIFORM: 3}, {ContextKind.INACTIVE: 3}, {ContextKind.TOP: 3}, {}, {ContextKind.UNIFORM: 1, ContextKind.INACTIVE: 1}]
)
@pytest.mark.parametrize("stop", [{}, {"stop": "sequential", "width": 0.1}])
@BOTH
def test_features_with_hardly_a_window_are_undefined_or_wide(name, counts, stop):
    found = score(name, FakeModel(verdicts(knows)), item_of(contexts_of(counts)), ("empty", "repeat", "gold"), **stop)
    if ContextKind.UNIFORM in counts and ContextKind.INACTIVE in counts:
        assert found.value == 1
        assert found.interval.high - found.interval.low > 0.3
    elif name == "detection" or ContextKind.UNIFORM not in counts:
        assert (found.value, found.interval) == (None, None)
        assert found.reason
        assert found.null.value is None


def test_who_judges():
    with_judge = JobSpec.model_construct(models=ModelsSpec(judge=ModelSpec(model="m")))
    without = JobSpec.model_construct(models=ModelsSpec())
    assert registry.uses_llm(ScorerSpec(name="detection"), with_judge)
    assert not registry.uses_llm(ScorerSpec(name="detection"), without)
    assert not registry.uses_llm(ScorerSpec(name="detection", judge="executable"), with_judge)
    assert registry.uses_llm(ScorerSpec(name="detection", judge="llm"), without)
    assert registry.uses_llm(ScorerSpec(name="fuzz"), without)
    with pytest.raises(InputError, match="asks a language model"):
        registry.get(ScorerSpec(name="fuzz", judge="executable"))
    with pytest.raises(InputError, match="no scorer"):
        registry.judged(ScorerSpec(name="fuz"))
    with pytest.raises(InputError, match="cannot stop early"):
        registry.judged(ScorerSpec(name="simulation", stop="sequential", width=0.1))
    with pytest.raises(InputError, match="cannot stop early"):
        registry.get(ScorerSpec(name="detection", stop="sequential", width=0.1))


@pytest.mark.parametrize("name", sorted(registry.JUDGED))
def test_every_scorer_says_what_it_needs(name):
    scorer = registry.judged(ScorerSpec(name=name))
    assert scorer.name == name
    assert isinstance(scorer.version, int)
    assert scorer.metric
    assert scorer.needs <= set(Ability)
    assert isinstance(scorer.needs_distractors, bool)


def test_full_is_what_collection_keeps():
    assert len(item_of().contexts) == sum(FULL.values())


def test_fuzz_says_nothing_of_the_true_rate_and_both_say_recall_by_strength():
    """How often marks are right in a corpus is no property of the feature, so a precision at its rate would mean nothing."""
    model = FakeModel(verdicts(lambda text, label: " cat" in text))
    assert not {"precision_at_rate", "precision_at_rate_low", "f1_at_rate", "window_rate"} & set(score("fuzz", model).metrics)
    assert "precision_at_rate" in score("detection", model).metrics
    for name in ("fuzz", "detection"):
        assert {"recall_strong", "recall_medium", "recall_weak", "recall_of_strength"} <= set(score(name, model).metrics)
