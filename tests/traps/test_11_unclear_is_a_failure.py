"""Trap 11: where a model answers "unclear", a known batch script puts the top token in its place and scores that as an explanation."""

import pytest

from interp.llm.base import Reply, Usage
from tests.explain.explaining import NAMES, Answering, explain, selves

SHRUGS = ["unclear", "Unknown.", "n/a", "", "No clear pattern"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("words", SHRUGS)
def test_unclear_is_a_failure_of_every_explainer(name, words):
    model = Answering(lambda prompt: f'{{"thinking": "hm", "explanation": "{words}"}}')
    found = explain(name, selves(), model)
    assert found.text is None
    assert "has no explanation to give" in found.failure
    assert repr(words) in found.failure
    assert found.provenance["calls"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "reply",
    [
        "I cannot see anything in these texts.",
        '{"explanation": "I\'m sorry, but I can\'t help with that."}',
        f'{{"explanation": "{"word " * 100}"}}',
        '{"label": 3}',
    ],
)
def test_a_reply_that_cannot_be_read_is_a_failure_with_its_reason(name, reply):
    model = Answering(lambda prompt: reply)
    found = explain(name, selves(), model)
    assert found.text is None
    assert "could be read" in found.failure
    assert len(found.provenance["calls"]) == len(model.asked)
    assert "self" not in found.failure


@pytest.mark.parametrize("name", NAMES)
def test_a_refusal_is_a_failure(name):
    found = explain(name, selves(), Answering(lambda prompt: Reply("I won't.", "refusal", Usage(10, 1), "k")))
    assert found.text is None
    assert "refused" in found.failure
