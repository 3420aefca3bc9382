"""Trap 6, negatives that fire: random windows are assumed inactive, and at 1% density 2 of 10 are not."""

import json

import numpy as np
import pytest

from interp.collect.finish import finish
from interp.collect.run import collect
from interp.domain.evidence import ACTIVE_KINDS, ContextKind, Split
from interp.domain.spec import CollectionSpec, SplitCounts
from interp.score.items.test_set import TestSet
from tests.collect import reference
from tests.collect.fakes import FakeSubject, make_corpus, make_dictionary
from tests.score.cat_feature import FULL, contexts_of, item_of, score
from tests.score.fake_model import FakeModel, verdicts

COUNTS = SplitCounts(top=3, uniform=5, weighted=5, inactive=12, near_miss=8)
SPEC = CollectionSpec(row_tokens=64, window=16, batch_tokens=1024, explain=COUNTS, test=COUNTS)


def test_every_silent_window_that_collection_keeps_is_silent_in_the_subject_itself():
    """Against activations computed once more, the slow way. Random windows would not do: some features fire in most."""
    subject, dictionary = FakeSubject(), make_dictionary(24)
    corpus = make_corpus(np.random.default_rng(3).integers(1, 300, 60))
    partial = collect(subject, dictionary, corpus, (0, len(corpus)), SPEC, 7, np.arange(24), lambda done: None)
    windows = {(window.document, window.start): window for window in reference.windows_of(subject, dictionary, corpus, SPEC)}
    checked, at_random = 0, []
    for evidence in finish(partial, subject, dictionary, corpus, SPEC):
        contexts = evidence.contexts
        for document, start, kind in zip(contexts.documents.tolist(), contexts.starts.tolist(), contexts.kinds.tolist(), strict=True):
            if kind not in ACTIVE_KINDS:
                assert windows[document, start].maximum(evidence.feature) == 0
                checked += 1
        at_random.append(evidence.statistics.window_density(Split.TEST))
    assert checked > 300
    assert np.mean(at_random) > 0.2


def _spoilt():
    """Evidence of which six silent windows fire: what a tool would have that did not check."""
    contexts = contexts_of(FULL)
    spoilt = np.flatnonzero(contexts.kinds == ContextKind.INACTIVE)[:6]
    contexts.activations[spoilt, 3] = 2.0
    contexts.tokens[spoilt, 3] = 1
    return contexts, {contexts.identities()[row] for row in spoilt}


@pytest.mark.parametrize("name", ["detection", "fuzz", "selection", "simulation", "intruder"])
def test_no_scorer_asks_about_a_window_as_silent_that_fires(name):
    contexts, spoilt = _spoilt()
    assert not (TestSet.of(contexts).negative & (TestSet.of(contexts).contexts.maxima() > 0)).any()

    def tell(asked):
        if asked.kind in ("detect", "fuzz"):
            return verdicts(lambda text, label: True)(asked)
        replies = {"select": {"fires": []}, "simulate": {number: [] for number in asked.texts}, "intrude": {"intruder": 1}}
        return json.dumps(replies[asked.kind])

    for seed in range(5):
        found = score(
            name, FakeModel(tell), item_of(contexts, nulls=()), seed=seed, **({"positives": 30, "negatives": 60} if name != "intruder" else {})
        )
        assert found.items
        assert not spoilt & {each.context for each in found.items if "inactive" in each.kind}
