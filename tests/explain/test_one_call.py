"""What each explainer shows, read off its rendered prompt; and what no prompt ever shows."""

import asyncio
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from interp.domain.evidence import ContextKind, Split
from interp.domain.spec import ExplainerSpec
from interp.explain import registry
from interp.explain.base import ExplainerInput, TokenChanges
from interp.explain.context_selection import firing
from interp.explain.label import read_label
from interp.llm.prompt_text import CLOSE, LEVEL, OPEN, escaped, parse_fenced
from tests.explain.explaining import NAMES, Answering, explain, explain_context, selves, text
from tests.explain.random_evidence import VOCABULARY, documents, evidences

ONE_CALL = tuple(registry.ONE_CALL)


def question(name, found=None, seed=0, vocabulary=None, **options):
    item = ExplainerInput.of(found or selves(), vocabulary or text().vocabulary)
    return registry.get(ExplainerSpec(name=name, **options)).question(item, vocabulary or text().vocabulary, seed)


def fenced(asked, kind="context"):
    return [part.text for part in parse_fenced(asked.prompt.messages[-1].content) if part.kind == kind]


def marks(shown):
    return [part.split(CLOSE)[0] for part in shown.split(OPEN)[1:]]


def maxima_of(asked, found):
    """The activation of each context shown, by the names that the question keeps."""
    own = found.contexts.of(Split.EXPLAIN)
    by_name = dict(zip(own.identities(), own.maxima().tolist(), strict=True))
    return [by_name[name] for name in asked.contexts]


def test_contexts_are_spread_over_all_tenths_strongest_first_with_levels_in_the_marks():
    found = selves()
    asked = question("contexts", contexts=20)
    shown = fenced(asked)
    assert len(shown) == len(asked.contexts) == 20
    own = found.contexts.of(Split.EXPLAIN)
    ranked = own.maxima()[firing(own)]
    tenths = [np.array_split(ranked, 10)[tenth] for tenth in range(10)]
    strengths = maxima_of(asked, found)
    assert strengths == sorted(strengths, reverse=True)
    assert all(sum(tenth.min() <= value <= tenth.max() for value in strengths) >= 2 for tenth in tenths)
    for window in shown:
        rows = [mark.split(LEVEL) for mark in marks(window)]
        assert {token.strip() for token, _ in rows} == {"self"}
        assert all(0 <= int(level) <= 10 for _, level in rows)
    assert f"{LEVEL}10{CLOSE}" in shown[0]


def test_contexts_shows_forty_where_there_are_forty():
    assert len(fenced(question("contexts"))) == len(firing(selves().contexts.of(Split.EXPLAIN)))
    assert question("contexts").prompt.messages[1].content.startswith(f"{len(fenced(question('contexts')))} contexts")


def test_contexts_marks_what_reaches_three_tenths_of_the_window():
    contexts = selves().contexts
    values = np.zeros_like(contexts.activations)
    values[:, 3:7] = [1.0, 0.31, 0.29, 0.0]
    found = replace(selves(), contexts=replace(contexts, activations=np.where(contexts.activations.max(axis=1, keepdims=True) > 0, values, 0)))
    asked = question("contexts", found)
    assert all([mark.split(LEVEL)[1] for mark in marks(shown)] == ["10", "3"] for shown in fenced(asked))


def test_contrastive_shows_fifteen_that_fire_and_five_near_misses_that_do_not():
    found = selves()
    kinds = found.contexts.kinds.copy()
    kinds[np.flatnonzero((kinds == ContextKind.INACTIVE) & (found.contexts.splits == Split.EXPLAIN))[:7]] = ContextKind.NEAR_MISS
    found = replace(found, contexts=replace(found.contexts, kinds=kinds))
    asked = question("contrastive", found)
    assert len(fenced(asked)) == 15
    assert len(fenced(asked, "silent")) == 5
    assert all(marks(shown) for shown in fenced(asked))
    assert not any(marks(shown) for shown in fenced(asked, "silent"))
    near = set(found.contexts.of(Split.EXPLAIN, ContextKind.NEAR_MISS).identities())
    assert set(asked.contexts[15:]) <= near


def test_contrastive_without_anything_silent_is_a_failure_without_a_call():
    found = selves()
    model = Answering()
    made = explain("contrastive", replace(found, contexts=found.contexts.select(found.contexts.maxima() > 0)), model)
    assert made.text is None
    assert "silent in no explain context" in made.failure
    assert not model.asked


def test_token_activations_lists_every_token_and_the_active_ones_again():
    found = selves()
    asked = question("token_activations")
    windows, again = fenced(asked), fenced(asked, "firing")
    assert len(windows) == len(again) == 5
    own = found.contexts.of(Split.EXPLAIN)
    rows = firing(own)[:5]
    assert list(asked.contexts) == own.select(rows).identities()
    largest = float(own.maxima().max())
    for row, window, firing_again in zip(rows, windows, again, strict=True):
        content = own.tokens[row] != 0
        levels = np.floor(10 * own.activations[row].astype(np.float32) / np.float32(largest))[content]
        pairs = [line.rsplit("\t", 1) for line in window.split("\n")]
        assert [int(level) for _, level in pairs] == levels.astype(int).tolist()
        assert firing_again.split("\n") == ["\t".join(pair) for pair in pairs if pair[1] != "0"]
    assert windows[0].count("\t10") == 1


def test_token_activations_does_not_list_twice_where_many_tokens_fire():
    contexts = selves().contexts
    dense = np.where(contexts.tokens != 0, contexts.activations + np.float16(1), 0).astype(np.float16)
    assert fenced(question("token_activations", replace(selves(), contexts=replace(contexts, activations=dense))), "firing") == []


def test_top_contexts_shows_ten_top_and_five_weighted_windows_of_21_tokens():
    found = selves()
    asked = question("top_contexts")
    own = found.contexts.of(Split.EXPLAIN)
    ranked = own.select(firing(own)).identities()
    assert list(asked.contexts[:10]) == ranked[:10]
    assert len(asked.contexts) == len(set(asked.contexts)) == len(fenced(asked)) == 15
    assert set(asked.contexts[10:]) <= set(own.of(Split.EXPLAIN, ContextKind.WEIGHTED).identities())
    row = own.identities().index(asked.contexts[0])
    peak = int(own.activations[row].argmax())
    around = own.tokens[row, max(0, peak - 10) : peak + 11]
    assert fenced(asked)[0].replace(OPEN, "").replace(CLOSE, "") == "".join(text().vocabulary.text(t) for t in around if t != 0)
    assert len(around) <= 21


def test_top_contexts_marks_from_one_percent_of_the_maximum():
    contexts = selves().contexts
    values = np.zeros_like(contexts.activations)
    values[:, 4:8] = [100.0, 1.5, 0.5, 0.0]
    found = replace(selves(), contexts=replace(contexts, activations=np.where(contexts.activations.max(axis=1, keepdims=True) > 0, values, 0)))
    own = found.contexts.of(Split.EXPLAIN)
    asked = question("top_contexts", found)
    for name, shown in zip(asked.contexts, fenced(asked), strict=True):
        row = own.identities().index(name)
        assert marks(shown) == ["".join(text().vocabulary.text(t) for t in own.tokens[row, 4:6])]


def test_max_act_logits_shows_each_peak_between_what_stands_before_and_what_follows_with_counts():
    found = selves()
    asked = question("max_act_logits")
    peaks, (tokens,), (following,), (promoted,) = (fenced(asked, kind) for kind in ("peaks", "tokens", "following", "promoted"))
    own, vocabulary = found.contexts.of(Split.EXPLAIN), text().vocabulary
    assert len(peaks) == 10
    for shown, row in zip(peaks, firing(own), strict=False):
        peak = int(own.activations[row].argmax())
        before = "".join(vocabulary.text(token) for token in own.tokens[row, max(0, peak - 8) : peak] if token)
        after = vocabulary.text(own.tokens[row, peak + 1]) if peak + 1 < own.lengths[row] else "(the window ends)"
        assert shown == f"{escaped(before)}{OPEN}{vocabulary.text(own.tokens[row, peak])}{CLOSE} -> {escaped(after)}"
    counts = dict(line.split("\t") for line in tokens.split("\n"))
    assert {token.strip() for token in counts} == {"self"}
    assert sum(map(int, counts.values())) == 10
    assert sum(int(line.split("\t")[1]) for line in following.split("\n")) == sum("(the window ends)" not in shown for shown in peaks)
    assert promoted.split("\n")[0] == text().vocabulary.text(found.promoted[0].token)
    assert not fenced(asked)
    assert len(asked.contexts) == 10


def test_output_tokens_shows_both_lists_and_no_context():
    asked = question("output_tokens")
    assert [part.kind for part in parse_fenced(asked.prompt.messages[-1].content)] == ["promoted", "suppressed"]
    assert len(fenced(asked, "promoted")[0].split("\n")) == len(fenced(asked, "suppressed")[0].split("\n")) == 20
    assert asked.contexts == ()


CHANGES = TokenChanges(tuple(f"up{place}" for place in range(40)), tuple(f"down{place}" for place in range(40)))


def test_output_tokens_by_change_shows_the_changes_and_not_the_projection():
    explainer = registry.get(ExplainerSpec(name="output_tokens", output="token_change", contexts=5))
    item = replace(ExplainerInput.of(selves(), text().vocabulary), promoted=(), changes=CHANGES)
    assert explainer.obstacle(item) is None
    parts = parse_fenced(explainer.question(item, text().vocabulary, 0).prompt.messages[-1].content)
    assert [part.text.split("\n") for part in parts] == [[f"{side}{place}" for place in range(5)] for side in ("up", "down")]


@pytest.mark.parametrize("changes", [None, TokenChanges((), (), "it has no effect")])
def test_output_tokens_by_change_that_are_not_there_are_a_failure_without_a_call(changes):
    explainer = registry.get(ExplainerSpec(name="output_tokens", output="token_change"))
    model = Answering()
    item = replace(ExplainerInput.of(selves(), text().vocabulary), changes=changes)
    made = asyncio.run(explainer.explain(item, explain_context(model)))
    assert made.text is None
    assert ("was not measured" if changes is None else "it has no effect") in made.failure
    assert not model.asked


def test_the_way_of_output_tokens_is_an_option_of_its_own():
    assert "output" not in ExplainerSpec(name="output_tokens").model_dump()
    assert registry.needs_changes(ExplainerSpec(name="refine", base="output_tokens", output="token_change"))
    with pytest.raises(ValidationError, match="takes `output`"):
        ExplainerSpec(name="contexts", output="token_change")
    with pytest.raises(ValidationError, match="takes `output`"):
        ExplainerSpec(name="clusters", base="output_tokens", output="token_change")


def test_output_tokens_of_a_dictionary_that_writes_nothing_known_is_a_failure_without_a_call():
    model = Answering()
    made = explain("output_tokens", replace(selves(), promoted=(), suppressed=()), model)
    assert made.text is None
    assert "output tokens" in made.failure
    assert not model.asked


@pytest.mark.parametrize("name", ONE_CALL)
def test_every_prompt_says_its_task_what_is_data_and_how_to_answer(name):
    system = question(name).prompt.messages[0].content
    assert system.startswith("Task: explain\n")
    assert "never an instruction" in system
    assert '{"explanation": "<your phrase>"}' in system
    assert "EXPLANATION:" in system
    assert "unclear" in system
    assert "{{" not in system + question(name).prompt.messages[1].content


@pytest.mark.parametrize("name", ONE_CALL)
def test_reasoning_comes_first_in_the_form_of_the_answer(name):
    prompt = question(name, reasoning=True).prompt
    assert list(prompt.schema.body["properties"]) == ["thinking", "explanation"]
    assert prompt.messages[0].content.index('"thinking"') < prompt.messages[0].content.index('"explanation"')
    assert prompt.max_tokens > question(name).prompt.max_tokens
    assert "thinking" not in question(name).prompt.schema.body["properties"]
    assert read_label(prompt.typical, prompt.messages).label


@pytest.mark.parametrize("name", ONE_CALL)
def test_provenance_names_the_template_the_digest_and_the_contexts(name):
    model = Answering()
    made, asked = explain(name, selves(), model), question(name)
    (prompt,) = model.prompts
    assert made.text == json.loads(prompt.typical)["explanation"]
    assert made.failure is None
    kept = made.provenance
    assert kept["template"] == f"{name}@{registry.version_of(name)}" == prompt.template
    assert kept["prompt_digest"] == asked.prompt.digest == prompt.digest
    assert kept["contexts"] == list(asked.contexts)
    assert kept["calls"] == ["answering-1"]
    assert kept["model"] == model.provenance
    assert kept["usage"] == {"prompt_tokens": 100, "completion_tokens": 10, "is_known": True}
    assert kept["cost_usd"] == 0.001
    json.dumps(kept)


@pytest.mark.parametrize("name", NAMES)
def test_a_dead_feature_and_one_that_fires_in_no_explain_context_cost_nothing(name):
    found, model = selves(), Answering()
    dead = replace(found, statistics=replace(found.statistics, tokens_active=0), contexts=found.contexts.select(found.contexts.maxima() == 0))
    elsewhere = replace(found, contexts=found.contexts.select((found.contexts.maxima() == 0) | (found.contexts.splits == Split.TEST)))
    for nothing, why in ((dead, "never fired"), (elsewhere, "no explain context")):
        made = explain(name, nothing, model)
        assert made.text is None
        assert why in made.failure
    assert not model.asked


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(found=evidences(), seed=st.integers(0, 3))
def test_no_prompt_shows_a_test_context(name, found, seed):
    """Neither the explainer nor its own judge: words of the test split are of another vocabulary, and its documents have other names."""
    model, judge, embedder = Answering(name="model"), Answering(_by_length, "judge"), Answering(name="embedder")
    made = explain(name, found, model, judge, embedder if seed % 2 else None, seed=seed, vocabulary=VOCABULARY, samples=2)
    said = [message.content for prompt in model.prompts + judge.prompts for message in prompt.messages] + embedder.embedded
    assert not any(" T" in part.text or "\tT" in part.text for content in said for part in parse_fenced(content))
    assert not any(" T" in each for each in embedder.embedded)
    named = json.dumps(made.provenance)
    assert not any(document in named for document in documents(found, Split.TEST))
    assert (made.text is None) != (made.failure is None)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15)
@given(found=evidences(fewest=4), seed=st.integers(0, 3))
def test_the_same_input_and_seed_give_the_same_prompts(name, found, seed):
    first, second = Answering(_by_length, "model"), Answering(_by_length, "model")
    made = [explain(name, found, model, seed=seed, vocabulary=VOCABULARY, samples=3) for model in (first, second)]
    assert made[0] == made[1]
    assert first.asked == second.asked


def _by_length(prompt):
    """Verdicts and labels that look random and are not."""
    number = sum(len(message.content) for message in prompt.messages) + 7 * prompt.sample
    if prompt.schema is None or "explanation" not in prompt.schema.body["properties"]:
        return json.dumps({key: "yes" if (number + int(key)) % 3 else "no" for key in json.loads(prompt.typical)})
    return json.dumps({"explanation": f"meaning number {number % 11}"})
