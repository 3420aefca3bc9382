"""Trap 3: the best of five real descriptions scored .847 and the best of five random ones .653: most of the "gain" of a maximum of k is selection.

`best_of` chooses on a part of the explain split, and its score is made from the test split by a scorer that never sees how it was chosen.
"""

import asyncio
import json
import random

import numpy as np

from interp.domain.evidence import Split
from interp.domain.explanation import Explanation
from interp.domain.spec import ExplainerSpec
from interp.explain import registry
from interp.explain.base import ExplainerInput
from interp.llm.prompt_text import parse_fenced, plain
from interp.score.base import ScorerInput
from tests.explain.explaining import Answering, explain, explain_context, judging, selves, shown_to, text

FEATURES, SAMPLES = 60, 5


def coin(prompt):
    """A judge that knows nothing: its verdicts depend on label and window, and on nothing that is so."""
    parts = parse_fenced(prompt.messages[-1].content)
    (label,) = [part.text for part in parts if part.kind == "explanation"]
    verdicts = {part.id: random.Random(f"{label}/{part.text}").random() < 0.5 for part in parts if part.kind == "context"}
    return json.dumps({number: "yes" if says else "no" for number, says in verdicts.items()})


def balanced_on_test(label: str) -> float:
    """The coin's balanced accuracy with a label on all test windows."""
    contexts = selves().contexts.of(Split.TEST)
    said = [random.Random(f"{label}/{plain(contexts, row, text().vocabulary)}").random() < 0.5 for row in range(len(contexts))]
    fires = contexts.maxima() > 0
    return float((np.mean(np.array(said)[fires]) + 1 - np.mean(np.array(said)[~fires])) / 2)


def test_what_a_maximum_gains_by_selection_is_no_part_of_the_score():
    """A judge of coins: on the windows that it chose by, the winner looks far better than chance; on test windows it is what it is, a coin."""
    explainer = registry.get(ExplainerSpec(name="best_of", samples=SAMPLES, contexts=4))
    item = ExplainerInput.of(selves(), text().vocabulary)

    async def all_made() -> list[Explanation]:
        made = []
        for feature in range(FEATURES):
            model = Answering(lambda prompt, feature=feature: json.dumps({"explanation": f"guess {feature} number {prompt.sample}"}))
            made.append(await explainer.explain(item, explain_context(model, Answering(coin, "judge"))))
        return made

    winners = asyncio.run(all_made())
    chosen_by = [max(s["held_out"] for s in made.provenance["chosen"]["samples"]) for made in winners]
    scored = [balanced_on_test(made.text) for made in winners]
    assert np.mean(chosen_by) > 0.57
    assert abs(np.mean(scored) - 0.5) < 3 * np.std(scored) / np.sqrt(FEATURES)
    assert np.mean(chosen_by) - np.mean(scored) > 0.05


def test_three_parts_that_share_no_document():
    """Labels are written from one part, chosen on a second, scored on a third."""
    found, model, judge = selves(), Answering(lambda prompt: json.dumps({"explanation": ["self", "import"][prompt.sample % 2]})), Answering(judging)
    made = explain("best_of", found, model, judge)
    scorer = ScorerInput.of(found, made, ())
    written_from, chosen_on = ({name.split(":")[0] for name in names} for names in (made.provenance["contexts"], made.provenance["chosen"]["on"]))
    scored_on = {f"{document:016x}" for document in scorer.contexts.documents.tolist()}
    assert written_from
    assert chosen_on
    assert scored_on
    assert not (written_from & chosen_on or written_from & scored_on or chosen_on & scored_on)
    test = found.contexts.of(Split.TEST)
    explained = found.contexts.of(Split.EXPLAIN)
    of_test = {plain(test, row, text().vocabulary) for row in range(len(test))} - {
        plain(explained, row, text().vocabulary) for row in range(len(explained))
    }
    assert not of_test & set(shown_to(judge) + shown_to(model))


def test_the_figure_that_chose_is_not_reported_as_a_score():
    """It stands in the provenance, by a name of its own, and an explanation has no score."""
    made = explain("best_of", selves(), Answering(), Answering(judging))
    assert not {"score", "value", "balanced_accuracy"} & set(json.dumps(made.provenance).replace('"', " ").split())
    assert not hasattr(made, "score")
    assert all("held_out" in sample for sample in made.provenance["chosen"]["samples"])
