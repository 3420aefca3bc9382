"""`best_of` and `refine`: the better label wins, on explain documents that it was not written from, and provenance tells the whole story."""

import json
from dataclasses import replace

import numpy as np
import pytest

from interp.domain.errors import BudgetReachedError, InputError, RefusalError
from interp.domain.evidence import Split
from interp.domain.spec import ExplainerSpec
from interp.explain import registry
from interp.llm.prompt_text import parse_fenced, plain
from tests.explain.explaining import Answering, explain, judging, selves, shown_to, text

LABELS = ["import", "(", "self", "unclear", "e"]


def by_sample(prompt):
    return json.dumps({"explanation": LABELS[prompt.sample % 1000 % len(LABELS)]})


def documents(names):
    return {name.split(":")[0] for name in names}


def texts_of(found, names):
    """The texts of the windows of these names."""
    own = found.contexts.of(Split.EXPLAIN)
    return {plain(own, row, text().vocabulary) for row, name in enumerate(own.identities()) if name in set(names)}


def of_one_document(found):
    own = found.contexts.of(Split.EXPLAIN)
    firing = own.documents[own.maxima() > 0]
    keep = (found.contexts.maxima() == 0) | (found.contexts.documents == firing[0])
    return replace(found, contexts=found.contexts.select(keep))


def test_the_sample_that_the_judge_does_best_with_wins():
    model, judge = Answering(by_sample), Answering(judging, "judge")
    made = explain("best_of", selves(), model, judge, samples=5)
    assert made.text == "self"
    samples = made.provenance["chosen"]["samples"]
    assert [sample["label"] for sample in samples] == ["import", "(", "self", None, "e"]
    assert samples[2]["held_out"] == max(sample["held_out"] for sample in samples if sample["held_out"] is not None) == 1.0
    assert "unclear" in samples[3]["failure"]
    assert [prompt.sample for prompt in model.prompts] == [0, 1, 2, 3, 4]
    assert {prompt.temperature for prompt in model.prompts} == {1.0}
    assert len({prompt.digest for prompt in model.prompts}) == 1
    assert {purpose for purpose, _ in judge.asked} == {"choose"}
    assert made.provenance["prompt_digest"] == model.prompts[0].digest
    assert made.provenance["calls"] == [f"answering-{number}" for number in range(1, 6)]


def test_samples_are_chosen_on_other_explain_documents_than_they_were_written_from():
    found, model, judge = selves(), Answering(by_sample), Answering(judging, "judge")
    made = explain("best_of", found, model, judge)
    shown, tried = made.provenance["contexts"], made.provenance["chosen"]["on"]
    assert shown
    assert tried
    assert not documents(shown) & documents(tried)
    assert set(shown_to(judge)) == texts_of(found, tried)
    assert not set(shown_to(judge)) & set(shown_to(model))
    own = set(found.contexts.of(Split.EXPLAIN).identities())
    assert {*shown, *tried} <= own


def test_each_label_is_judged_on_the_same_windows_once():
    judge = Answering(judging, "judge")
    explain("best_of", selves(), Answering(lambda prompt: json.dumps({"explanation": ["self", "import"][prompt.sample % 2]})), judge, samples=6)
    contexts = [[(part.id, part.text) for part in parse_fenced(prompt.messages[-1].content) if part.kind == "context"] for prompt in judge.prompts]
    half = len(contexts) // 2
    assert contexts[:half] == contexts[half:]


def test_samples_that_all_fail_are_a_failure():
    judge = Answering(judging, "judge")
    made = explain("best_of", selves(), Answering(lambda prompt: '{"explanation": "unknown"}'), judge)
    assert made.text is None
    assert "None of 5 samples" in made.failure
    assert len(made.provenance["calls"]) == 5
    assert not judge.asked


@pytest.mark.parametrize("name", ["best_of", "refine"])
def test_a_judge_that_fails_chooses_nothing(name):
    """A failed judge has not said no, and an unchosen label is not the best."""

    def refuse(prompt):
        raise RefusalError("The judge will not.", calls=["judge-1"])

    made = explain(name, selves(), Answering(), Answering(refuse))
    assert made.text is None
    assert "The judge could not choose" in made.failure
    assert "will not" in made.failure


@pytest.mark.parametrize("name", ["best_of", "refine"])
def test_a_judge_that_fails_here_and_there_still_chooses(name):
    """Failures count for nobody: the label that is right wherever it was judged wins."""

    def sometimes(prompt):
        if len(prompt.messages[-1].content) % 2:
            raise RefusalError("Not this one.", calls=["judge-1"])
        return judging(prompt)

    model = Answering(by_sample if name == "best_of" else improving)
    assert explain(name, selves(), model, Answering(sometimes)).text == "self"


@pytest.mark.parametrize("name", ["best_of", "refine"])
def test_what_pauses_the_job_comes_out(name):
    def broke(prompt):
        raise BudgetReachedError("The budget is used up.")

    with pytest.raises(BudgetReachedError):
        explain(name, selves(), Answering(broke))
    with pytest.raises(BudgetReachedError):
        explain(name, selves(), Answering(), Answering(broke))


@pytest.mark.parametrize("name", ["best_of", "refine"])
def test_a_feature_of_one_document_gets_one_label_and_provenance_says_why(name):
    model, judge = Answering(), Answering(judging)
    made = explain(name, of_one_document(selves()), model, judge)
    assert made.text is not None
    assert len(model.asked) == 1
    assert model.prompts[0].temperature == 0
    assert not judge.asked
    assert "Too few explain documents" in json.dumps(made.provenance)


def improving(prompt):
    """A label that gets better each time that mistakes are shown."""
    turns = sum(message.role == "assistant" for message in prompt.messages)
    return json.dumps({"explanation": ["import", "import or self.", "self"][min(turns, 2)]})


def test_refine_shows_mistakes_and_keeps_the_best_round():
    found, model, judge = selves(), Answering(improving), Answering(judging, "judge")
    made = explain("refine", found, model, judge, rounds=3)
    assert made.text == "self"
    rounds = made.provenance["rounds"]
    assert [each["label"] for each in rounds] == ["import", "import or self.", "self"]
    assert rounds[-1]["held_out"] == 1.0 > rounds[0]["held_out"]
    assert [len(prompt.messages) for prompt in model.prompts] == [2, 4, 6]
    assert made.provenance["template"] == "contexts@2+refine@2"
    assert made.provenance["prompt_digest"] == model.prompts[-1].digest
    assert {purpose for purpose, _ in judge.asked} == {"probe", "choose"}


def test_refine_stops_when_there_is_nothing_to_mend():
    model = Answering(lambda prompt: '{"explanation": "self"}')
    made = explain("refine", selves(), model, Answering(judging), rounds=5)
    assert made.text == "self"
    assert len(model.asked) == 1


def test_refine_keeps_an_earlier_label_that_is_better():
    worse = Answering(lambda prompt: json.dumps({"explanation": ["self.", "import"][sum(m.role == "assistant" for m in prompt.messages) % 2]}))
    made = explain("refine", selves(), worse, Answering(judging), rounds=1)
    assert made.text == "self."
    assert len(worse.asked) == 2


def test_of_rounds_that_are_equally_good_the_latest_is_kept():
    """It has seen more: the first label is misjudged while it is tried, and both are right where the choice is made."""
    judge = Answering(lambda prompt: judging(prompt).replace("yes", "no") if len(judge.asked) <= 2 else judging(prompt))
    model = Answering(lambda prompt: json.dumps({"explanation": ["self", "self or selves"][sum(m.role == "assistant" for m in prompt.messages)]}))
    made = explain("refine", selves(), model, judge, rounds=1)
    assert [each["held_out"] for each in made.provenance["rounds"]] == [1.0, 1.0]
    assert made.text == "self or selves"


def test_counterexamples_are_the_judges_mistakes_marked_where_the_feature_fires():
    model, judge = Answering(improving), Answering(judging)
    explain("refine", selves(), model, judge, rounds=1)
    parts = parse_fenced(model.prompts[1].messages[-1].content)
    missed, alarms = [part.text for part in parts if part.kind == "missed"], [part.text for part in parts if part.kind == "alarm"]
    assert missed
    assert len(missed) <= 6
    assert all("«" in shown and "self" in shown and "import" not in shown for shown in missed)
    assert all("«" not in shown and "import" in shown for shown in alarms)


def test_refine_never_shows_what_it_chooses_on():
    found, model, judge = selves(), Answering(improving), Answering(judging)
    made = explain("refine", found, model, judge, rounds=3)
    chosen_on, tried_on = made.provenance["chosen_on"], made.provenance["tried_on"]
    written_from = set(made.provenance["contexts"]) - set(tried_on)
    three = [documents(chosen_on), documents(tried_on), documents(written_from)]
    assert all(three)
    assert not (three[0] & three[1] or three[0] & three[2] or three[1] & three[2])
    assert not set(shown_to(model, ("context", "missed", "alarm"))) & texts_of(found, chosen_on)


def test_a_dry_run_asks_what_a_real_one_may():
    """Typical replies differ where real ones would, so that an estimate counts a judge's work on every label."""
    counts = {}
    for name in ("best_of", "refine"):
        model, judge = Answering(), Answering()
        explain(name, selves(), model, judge, samples=3, rounds=2)
        counts[name] = len(model.asked), len({parse_fenced(prompt.messages[-1].content)[0].text for prompt in judge.prompts})
    assert counts == {"best_of": (3, 3), "refine": (3, 3)}


@pytest.mark.parametrize("name", ["best_of", "refine"])
@pytest.mark.parametrize("base", list(registry.ONE_CALL))
def test_any_explainer_of_one_question_can_be_built_on(name, base):
    model = Answering(by_sample)
    made = explain(name, selves(), model, Answering(judging), base=base, samples=2, rounds=1)
    assert made.text is not None
    assert made.provenance["template"].startswith(f"{base}@2")


@pytest.mark.parametrize("name", ["best_of", "refine"])
@pytest.mark.parametrize("base", ["pattern", "clusters", "best_of", "nothing"])
def test_what_cannot_be_built_on_is_refused(name, base):
    with pytest.raises(InputError, match="cannot build on"):
        registry.get(ExplainerSpec(name=name, base=base))


def test_windows_to_try_on_hold_near_misses_and_others():
    """Half near misses where there are so many, and each window once."""
    from interp.domain.evidence import ContextKind
    from interp.explain.base import ExplainerInput
    from interp.explain.held_out import held_out

    found = selves()
    kinds = found.contexts.kinds.copy()
    inactive = np.flatnonzero((kinds == ContextKind.INACTIVE) & (found.contexts.splits == Split.EXPLAIN))
    kinds[inactive[::2]] = ContextKind.NEAR_MISS
    item = ExplainerInput.of(replace(found, contexts=replace(found.contexts, kinds=kinds)), text().vocabulary)
    windows = held_out(item, np.ones(len(item.contexts), dtype=bool), 0)
    silent = item.contexts.kinds[windows.rows[~windows.fires]]
    assert (silent == ContextKind.NEAR_MISS).sum() >= 10
    assert (silent == ContextKind.INACTIVE).sum() >= 1
    assert len(set(windows.rows.tolist())) == len(windows.rows)
    assert (item.contexts.maxima()[windows.rows] > 0).tolist() == windows.fires.tolist()
