"""Judges asked in a job's own words: the same texts, answers and readings, named by the wording's digest."""

import asyncio
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from interp.domain.errors import InputError
from interp.domain.score import Score
from interp.domain.spec import MOST_PROMPT, JobSpec, ScorerSpec
from interp.judge import choice, yes_no
from interp.judge.choice import ChoiceQuestion
from interp.judge.prompts import in_order, question, template
from interp.planning.settings_digest import planned_scorer
from interp.score import registry
from interp.score.base import ScoreContext
from tests.score.any_model import AnyModel, any_model, scored
from tests.score.cat_feature import VOCABULARY, item_of
from tests.score.fake_model import reply
from tests.score.test_choice import distractors

PAGE = (Path(__file__).parents[2] / "docs" / "prompts.md").read_text(encoding="utf-8")
CONTROLS = frozenset({"empty", "baseline", "repeat", "judge_swap", "gold"})
WORDED = pytest.mark.parametrize("name", sorted(registry.WORDED))

# Digests of prompts before their answers' forms were a part of the templates: answers that are stored stay answers to them.
SENT = {
    "detect": "485d341fdc7ae1594f903cfde87eb7a76a2602b0541e10249adc469a6996eaee",
    "fuzz": "3f44b4abb674d99e666aa039da90a603439ed113f15e2d89a688cf2db7a1162d",
    "label_first/detect": "5867a74681a2cbba6a2b738f390909a0da84c9c4acfec15dd82755859c5a3a3d",
    "label_first/fuzz": "6a48891e62a0be88ce10bcbd78c75c70590621294d2248d5aa899116ec0fa1e1",
    "label_first/discriminate": "c0626e7b948a93a00fe04990305948a9897c9159aa9dc8c8a3b498f02bb040f6",
    "intrude": "2c1ed52f3e1c44e5b5bd609cc77655675818af1273051b0a53ac73c448f6d263",
    "label_first/output": "ff502a2cc2a97450240e59f52d7e9abd26f9ffe020a177deb9a334a70e79954c",
    "label_first/select": "e11f4a37d433eccc726f6b005cb2d6a9f4f6d2b533f4471a806ef3139cc99dc6",
}


def words(name: str) -> str:
    """The scorer's own template, as a job would bring it."""
    found = template(registry.WORDED[name])
    return "".join(f"[{part}]\n{content}\n" for part, content in found.parts if part != "answer")


def score(name: str, model: AnyModel, prompt: str | None) -> Score:
    context = ScoreContext(VOCABULARY, 0, model, model, model, CONTROLS)
    item, scorer = item_of(baseline="dogs", distractors=distractors()), registry.judged(ScorerSpec(name=name, prompt=prompt))
    return asyncio.run(scored(scorer, item, context))


def refusal(name: str, prompt: str, **options: str) -> str:
    with pytest.raises(InputError) as refused:
        registry.judged(ScorerSpec(name=name, prompt=prompt, **options))
    assert refused.value.cure
    return refused.value.what


def test_what_is_sent_without_a_prompt_has_not_changed() -> None:
    asked = ChoiceQuestion([("1.1", "a"), ("2.1", "b")], 1, 2, "x", "k")
    sent = {kind: yes_no.prompt_of(kind, "label", ["one", "two"]) for kind in ("detect", "fuzz")}
    sent |= {f"label_first/{kind}": yes_no.prompt_of(kind, "label", ["one", "two"], "label_first") for kind in ("detect", "fuzz")}
    sent |= {f"label_first/{kind}": choice.prompt_of(kind, "label", asked, "label_first") for kind in ("discriminate", "output")}
    sent["intrude"] = choice.prompt_of("intrude", None, asked)
    sent["label_first/select"] = question("select", "label", in_order(["one", "two"]), "0123abcd", "t", 1, None, 0, 0, "label_first")
    assert {name: prompt.digest for name, prompt in sent.items()} == SENT
    assert {name: prompt.template for name, prompt in sent.items()} == {name: template(name).title for name in SENT}


@WORDED
def test_our_own_words_brought_by_a_job_ask_and_score_the_same(name: str) -> None:
    ours, theirs = any_model(), any_model()
    first, second = score(name, ours, None), score(name, theirs, words(name))
    assert sorted(theirs.shown) == sorted(ours.shown)
    digest = hashlib.sha256(words(name).encode()).hexdigest()[:16]
    assert second.provenance["template"] == f"{registry.WORDED[name]}@{digest}"
    assert replace(second, provenance=first.provenance) == first


@pytest.mark.parametrize("name", ["detection", "fuzz"])
def test_a_template_decides_itself_whether_the_label_comes_first(name: str) -> None:
    model = any_model()
    context, item = ScoreContext(VOCABULARY, 0, model, model, model, CONTROLS), item_of(baseline="dogs", distractors=distractors())
    made = asyncio.run(scored(registry.judged(ScorerSpec(name=name, prompt=words(name), order="label_first")), item, context))
    assert made.failed == 0
    assert all(shown.index("<context-") < shown.index("<explanation-") for shown in model.shown if "<explanation-" in shown)


@WORDED
def test_other_words_are_in_every_question_of_every_purpose(name: str) -> None:
    model, marked = any_model(), words(name).replace("A feature is a detector", "Mind you: a feature is a detector")
    made = score(name, model, marked)
    assert made.value is not None
    assert model.shown
    assert all("Mind you" in str(shown) for shown in model.shown), "nulls and controls are asked in the same words"


@WORDED
def test_what_does_not_fit_is_refused_with_what_is_missing(name: str) -> None:
    for hole in ("contexts", "fence_rule", "answer", *(() if name == "intruder" else ("explanation",))):
        assert f"{{{{{hole}}}}} is missing" in refusal(name, words(name).replace(f"{{{{{hole}}}}}", ""))
    assert f"The prompt of the scorer {name!r} " in refusal(name, "x")
    assert "shares its line" in refusal(name, words(name).replace("{{contexts}}", "> {{contexts}}"))
    assert "nothing to fill {{label}} with" in refusal(name, words(name) + "{{label}}")


@pytest.mark.parametrize("name", sorted(registry.JUDGED.keys() - registry.WORDED.keys()))
def test_other_scorers_take_no_prompt(name: str) -> None:
    assert "takes no prompt" in refusal(name, "x")


def test_a_rule_reads_no_prompt() -> None:
    with pytest.raises(InputError, match="takes no prompt"):
        registry.get(ScorerSpec(name="detection", prompt=words("detection")))
    with pytest.raises(ValidationError):
        ScorerSpec(name="detection", prompt="x" * (MOST_PROMPT + 1))


def test_the_identity_of_scores_holds_the_wording_and_others_keep_theirs(tiny_job: JobSpec) -> None:
    def digest(**options: str) -> str:
        asked = {"models": {"judge": {"model": "m", "base_url": "http://x"}}, "scorers": [{"name": "detection"} | options]}
        job = JobSpec.model_validate(tiny_job.model_dump(mode="json") | asked)
        return planned_scorer(job, job.scorers[0]).digest

    assert len({digest(), digest(prompt=words("detection")), digest(prompt=f"{words('detection')} ")}) == 3
    assert "prompt" not in ScorerSpec(name="detection").model_dump()


def test_the_pages_example_fits() -> None:
    block = re.findall(r"(?ms)^```yaml\n(.*?)^```", PAGE)[1]
    spec = ScorerSpec.model_validate(yaml.safe_load(block)["scorers"][0])
    assert score(spec.name, AnyModel(lambda asked: reply(asked.prompt.typical, key=asked.prompt.digest)), spec.prompt).failed == 0


def test_the_page_names_the_scorers_that_take_one() -> None:
    (row,) = re.findall(r"^Scorers that take one: (.*)\.$", PAGE, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == set(registry.WORDED)
