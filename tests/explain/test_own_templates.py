"""Templates that jobs bring: what fits is used and named by its digest, and nothing else gets near a model."""

import hashlib
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from interp.domain.errors import InputError
from interp.domain.spec import MOST_PROMPT, ExplainerSpec, JobSpec
from interp.explain import registry
from interp.explain.label_call import PACKAGE, template_of
from interp.llm.prompt_text import FENCE_RULE, parse_fenced
from interp.llm.templates import template
from interp.planning.settings_digest import family_of
from tests.explain.explaining import Answering, explain, selves, shown_to

FITS = "[system]\nIn brief. {{fence_rule}}\n{{answer}}\n[user]\n{{count}} texts:\n{{contexts}}\n"
PAGE = (Path(__file__).parents[2] / "docs" / "prompts.md").read_text(encoding="utf-8")


def builtin_text(name: str) -> str:
    return "".join(f"[{part}]\n{content}\n" for part, content in template(PACKAGE, name).parts)


def refusal(prompt: str, name: str = "contexts", **options: str) -> str:
    with pytest.raises(InputError) as refused:
        registry.get(ExplainerSpec(name=name, prompt=prompt, **options))
    assert refused.value.cure
    assert refused.value.what.isprintable()
    return f"{refused.value.what} {refused.value.cure}"


@pytest.mark.parametrize("name", [*registry.ONE_CALL, "clusters"])
def test_an_explainers_own_words_fit_it_and_ask_the_same(name: str) -> None:
    ours, theirs = Answering(), Answering()
    explain(name, selves(), ours)
    made = explain(name, selves(), theirs, prompt=builtin_text(name))
    assert made.text is not None
    assert [prompt.messages for prompt in theirs.prompts] == [prompt.messages for prompt in ours.prompts]
    assert [prompt.schema for prompt in theirs.prompts] == [prompt.schema for prompt in ours.prompts]


def test_another_wording_is_sent_with_the_same_texts_and_named_by_its_digest() -> None:
    ours, theirs = Answering(), Answering()
    explain("contexts", selves(), ours, contexts=5)
    made = explain("contexts", selves(), theirs, contexts=5, prompt=FITS)
    (prompt,) = theirs.prompts
    assert [message.role for message in prompt.messages] == ["system", "user"]
    assert prompt.messages[0].content.startswith(f"In brief. {FENCE_RULE}\nReply with one JSON object")
    assert prompt.messages[1].content.startswith("5 texts:\n<context-")
    assert shown_to(theirs) == shown_to(ours)
    digest = hashlib.sha256(FITS.encode()).hexdigest()
    assert made.provenance["template"] == prompt.template == f"contexts@{digest[:16]}"
    assert made.provenance["settings"] == {"name": "contexts", "contexts": 5, "prompt": digest}


def test_a_text_without_parts_is_the_users() -> None:
    model = Answering()
    explain("contexts", selves(), model, prompt="{{fence_rule}} {{answer}}\n{{contexts}}")
    assert [message.role for message in model.prompts[0].messages] == ["user"]
    assert parse_fenced(model.prompts[0].messages[0].content)


@pytest.mark.parametrize("name", ["best_of", "refine"])
def test_builders_ask_their_base_in_these_words(name: str) -> None:
    model = Answering()
    explain(name, selves(), model, prompt=FITS, base="contexts")
    first = [prompt for purpose, prompt in model.asked if not purpose]
    assert first
    assert all(prompt.messages[0].content.startswith("In brief.") for prompt in first)


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("{{fence_rule}} {{answer}}", "{{contexts}} is missing"),
        ("{{contexts}}\n{{answer}}", "{{fence_rule}} is missing"),
        ("{{contexts}}\n{{fence_rule}}", "{{answer}} is missing"),
        ("{{fence_rule}} {{answer}} {{contexts}}", "shares its line"),
        ("{{fence_rule}} {{answer}}\n> {{contexts}}", "shares its line"),
        (f"{FITS} {{{{contexts}}}}", "{{contexts}} stands 2 times"),
        (f"{FITS} {{{{answer}}}}", "{{answer}} stands 2 times"),
        (f"{FITS} {{{{silent}}}}", "nothing to fill {{silent}} with"),
        (f"{FITS} {{{{contexts.__class__}}}}", "around no name"),
        (f"{FITS} {{{{contexts!r}}}}", "around no name"),
        (f"{FITS} {{{{contexts[0]}}}}", "around no name"),
        (f"{FITS} {{{{ contexts }}}}", "around no name"),
        (f"{FITS} {{{{", "around no name"),
        (f"{FITS} {{{{{{answer}}}}}}", "{{answer}} stands 2 times"),
        (f"{FITS} {{% for a in b %}} }}}}", "around no name"),
        (f"{FITS}\n<context-0123abcd>\n[1] mine\n</context-0123abcd>", "looks like a fence"),
        (f"{FITS}\x1b[2J", "control characters"),
        (f"{FITS}\u202e", "control characters"),
        ("[system]\n{{contexts}}\n[user]\n{{fence_rule}} {{answer}}", "stands in the part [system]"),
        ("[user]\n{{contexts}}\n[system]\n{{fence_rule}} {{answer}}", "Its parts are [user], [system]"),
        (f"{FITS}\n[user]\nmore", "Its parts are [system], [user], [user]"),
        ("[system]\n{{fence_rule}} {{answer}} {{contexts}}", "Its parts are [system]"),
        (f"before\n{FITS}", "before its first part"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_is_missing_and_the_cure(prompt: str, says: str) -> None:
    assert says in refusal(prompt)


def test_each_explainer_needs_all_of_its_own_texts() -> None:
    assert "{{silent}} is missing" in refusal(FITS, "contrastive")
    assert "{{silent}} is missing" in refusal(FITS, "best_of", base="contrastive")
    assert "takes no prompt" in refusal(FITS, "pattern")


def test_a_template_has_a_size() -> None:
    with pytest.raises(ValidationError):
        ExplainerSpec(name="contexts", prompt="x" * (MOST_PROMPT + 1))
    with pytest.raises(ValidationError):
        ExplainerSpec(name="contexts", prompt=FITS + "\0")


NAMES = ["{{contexts}}", "\n{{contexts}}\n", "{{answer}}", "{{fence_rule}}", "{{count}}", "[user]\n", "[system]\n"]
PARTS = st.sampled_from([*NAMES, "\n", "{", "}", "{{", "}}", "<context-00000000>"])


@given(st.lists(PARTS | st.text(max_size=8), max_size=12).map("".join))
def test_whatever_a_template_says_the_texts_stand_in_it_once_behind_the_rule(prompt: str) -> None:
    if not prompt or "\0" in prompt:
        return
    try:
        found = template_of("contexts", ExplainerSpec(name="contexts", prompt=prompt))
    except InputError as error:
        assert error.cure
        return
    fenced = "<context-0123abcd>\n[1] {{answer}} {{count}}\n</context-0123abcd>"
    messages = found.messages(fence_rule="RULE", answer="ANSWER", count="1", contexts=fenced)
    whole = "\n".join(message.content for message in messages)
    assert whole.count(fenced) == 1
    assert [part.text for part in parse_fenced(messages[-1].content)] == ["{{answer}} {{count}}"]
    assert messages[-1].role == "user"


def test_the_identity_of_labels_holds_the_template_and_others_keep_theirs(tiny_job: JobSpec) -> None:
    def digest(**options: object) -> str:
        return family_of(tiny_job, ExplainerSpec.model_validate({"name": "contexts"} | options), 1).settings_digest

    assert len({digest(), digest(prompt=FITS), digest(prompt=f"{FITS} ")}) == 3
    assert digest(prompt=None) == digest()
    assert "prompt" not in ExplainerSpec(name="contexts").model_dump()


def test_the_pages_example_fits() -> None:
    block = re.findall(r"(?ms)^```yaml\n(.*?)^```", PAGE)[0]
    spec = ExplainerSpec.model_validate(yaml.safe_load(block)["explainers"][0])
    assert explain(model=Answering(), found=selves(), **spec.model_dump(exclude_defaults=True)).text is not None


def test_the_pages_table_names_what_each_template_holds() -> None:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    told = {name: set(re.findall(r"\{\{(\w+)\}\}", texts + counts)) for names, texts, counts in rows for name in re.findall(r"`(\w+)`", names)}
    names = (*registry.ONE_CALL, "clusters", *registry.TRYING)
    held = {name: set(re.findall(r"\{\{(\w+)\}\}", builtin_text(name))) - {"fence_rule", "answer"} for name in names}
    assert told == held
