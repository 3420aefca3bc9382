"""A template that changes has another version, so that a prompt's name in a provenance always means the same words."""

import hashlib
import re
from importlib.resources import files

import pytest

from interp.explain import registry
from interp.explain.label_call import PACKAGE
from interp.llm.templates import template

# sha256 of each file but its first line, by its name and version. When a test fails here: raise the version in the file's first line and those of
# the explainers that use it (all of `answer`'s; `best_of` and `refine` build on the others), so that old explanations are not taken for new ones.
KNOWN = {
    "agent@1": "a39ffa9f906a4f3c",
    "answer@1": "c35890d86100cc2a",
    "clusters@2": "28bbd39df62b810e",
    "contexts@2": "f47f60e1ca5ab3fd",
    "contrastive@2": "3302ac1485b4f878",
    "max_act_logits@2": "1e36f3a3b57cd0ea",
    "output_tokens@2": "f5e8eea219f446c4",
    "propose@1": "048871340c3034a4",
    "refine@2": "2e4db16149f2d3ca",
    "token_activations@2": "40dd1b463983341d",
    "top_contexts@2": "e904fc8ee7146c6b",
    "tried@1": "e52ec414a48418df",
}

NAMES = sorted(path.name.removesuffix(".txt") for path in (files(PACKAGE) / "templates").iterdir())


def digest(name):
    words = (files(PACKAGE) / "templates" / f"{name}.txt").read_text(encoding="utf-8").partition("\n")[2]
    return hashlib.sha256(words.encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", NAMES)
def test_the_words_of_a_version_never_change(name):
    assert KNOWN[template(PACKAGE, name).title] == digest(name)


@pytest.mark.parametrize("name", [*registry.ONE_CALL, "clusters", "refine", "agent"])
def test_the_explainers_own_template_has_its_version(name):
    assert template(PACKAGE, name).version == registry.version_of(name)


@pytest.mark.parametrize("name", NAMES)
def test_templates_hold_no_text_that_could_be_taken_for_a_fence_or_a_hole_that_nobody_fills(name):
    parts = "".join(text for _, text in template(PACKAGE, name).parts)
    assert not re.search(r"<[a-z]+-[0-9a-f]{8}", parts)
    assert set(re.findall(r"\{\{(\w+)\}\}", parts)) <= {
        "fence_rule", "answer", "count", "contexts", "silent", "silent_count", "top_count", "weighted_count", "peaks", "tokens", "following",
        "promoted", "suppressed", "missed", "alarms", "ideas_count", "texts_count", "tried", "task",
    }  # fmt: skip


def test_what_looks_like_a_hole_in_a_filled_in_text_stays_text():
    filled = template(PACKAGE, "contexts").messages(fence_rule="r", answer="a", count="1", contexts="{{answer}} {{nothing}}")
    assert "{{answer}} {{nothing}}" in filled[1].content


def test_versions_and_kinds_by_name():
    assert not registry.needs_model("pattern")
    assert all(registry.needs_model(name) for name in (*registry.ONE_CALL, *registry.MANY_CALLS))
    assert len({*registry.ONE_CALL, *registry.MANY_CALLS}) == 9
    assert all(registry.version_of(name) >= 1 for name in (*registry.FREE, *registry.ONE_CALL, *registry.MANY_CALLS))
