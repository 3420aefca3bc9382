"""The planted dictionary is what it says: what collection records is what follows from the token ids alone."""

import numpy as np

from api.demo.fake_llm.asked import FencedText
from api.demo.fake_llm.readers import NoisyReader
from benches.truth.judges import oracle, verdicts
from benches.truth.planted import named, noisy_verdicts


def test_features_of_every_kind_fire_where_they_mean_to(world):
    places = {(int(document), int(start)): row for row, (document, start) in enumerate(zip(world.documents, world.starts, strict=True))}
    assert {meaning.kind for meaning in world.meanings} == {"token", "union", "conditional", "dense", "position", "random"}
    for meaning, evidence in zip(world.meanings, world.evidence, strict=True):
        fires = world.fires(meaning)
        counted = tuple(int((fires.any(axis=1) & (world.splits == split)).sum()) for split in (0, 1))
        assert counted == evidence.statistics.windows_active, meaning.label
        rows = [places[int(document), int(start)] for document, start in zip(evidence.contexts.documents, evidence.contexts.starts, strict=True)]
        np.testing.assert_array_equal(evidence.contexts.activations > 0, fires[rows])


def test_the_oracle_is_right_about_every_window_that_has_a_text_of_its_own(world):
    rows = np.array([row for row in world.test_windows() if world.rows[world.texts[row]] == row])[:400]
    for feature in named(world)[::6]:
        meaning = world.meanings[feature]
        np.testing.assert_array_equal(verdicts(oracle(world), world, meaning, rows), world.fires(meaning)[rows].any(axis=1))


def test_the_noisy_judge_errs_as_often_as_ordered(world):
    often = max(named(world), key=lambda feature: world.evidence[feature].statistics.density)
    meaning, reader = world.meanings[often], NoisyReader(oracle(world), 0.8, 0.3)
    so = world.fires(meaning).any(axis=1)
    said = noisy_verdicts(reader, meaning.label, world.texts, so)
    assert abs(said[so].mean() - 0.8) < 0.06
    assert abs(said[~so].mean() - 0.3) < 0.03
    asked = [reader.says_yes(meaning.label, FencedText("1", text), False) > 0.5 for text in world.texts[:200]]
    np.testing.assert_array_equal(asked, said[:200])
