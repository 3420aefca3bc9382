"""An observer of a collection sees every firing that the evidence counts, and changes none of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from interp.collect.levels import FiringLevels
from interp.collect.observer import Firing
from interp.collect.run import SharedPass, Wanted
from interp.dictionary.canonical import Positions
from interp.domain.errors import BlobCorruptError
from interp.domain.spec import CollectionSpec
from interp.files.artifact_store import Store
from interp.health.activity import Activity, fires_at_bos
from interp.health.cofiring.counting import Cofiring
from interp.health.counts import load, merge, save
from interp.health.firing import FiringBatch, FiringObserver, TokenKinds, groups_of
from interp.health.observing import observe, observed_bytes
from interp.health.token_classes import token_classes
from tests.collect import reference
from tests.collect.fakes import FakeSubject, make_corpus, make_dictionary

FEATURES = 24
SPEC = CollectionSpec(row_tokens=64, window=16, batch_tokens=1024)
CORPUS = make_corpus(np.random.default_rng(3).integers(1, 300, 40))
SUBJECT = FakeSubject()
KINDS = TokenKinds.of(token_classes(SUBJECT.vocabulary, own=["5 ", "9 ", "40 "]))


class Seen:
    def __init__(self) -> None:
        self.batches: list[FiringBatch] = []

    def add(self, batch: FiringBatch) -> None:
        self.batches.append(batch)


def observed(dictionary, documents=(0, len(CORPUS)), spec=SPEC):
    """Partial evidence, counts and batches of a pass with an observer."""
    with SharedPass(SUBJECT, [Wanted(dictionary, np.arange(FEATURES))], CORPUS, spec, 7) as collecting:
        activity, seen = Activity(np.arange(FEATURES), KINDS, SUBJECT.device), Seen()
        collecting.collections[0].observer = FiringObserver(CORPUS, collecting.stream.layout, KINDS, SUBJECT.device, [activity, seen])
        for batch in collecting.stream.batches(collecting.stream.layout.rows(*documents)):
            collecting.stream.take(batch)
        return collecting.partials()[0], activity.counts(), seen.batches


@pytest.mark.parametrize("packing", [False, True], ids=["apart", "packed"])
@pytest.mark.parametrize("activation", ["relu", "topk"])
@pytest.mark.parametrize("positions", [Positions(), Positions(prepend_bos=False, excluded_tokens=(5, 9)), Positions(start=3, stop=-20, step=2)])
def test_every_counted_firing_is_seen_once_with_its_token(activation: str, positions: Positions, packing: bool) -> None:
    dictionary = replace(make_dictionary(FEATURES, activation), positions=positions)
    spec = SPEC.model_copy(update={"packing": packing})
    partial, counts, batches = observed(dictionary, spec=spec)
    np.testing.assert_array_equal(counts.sums["firing"].sum(axis=1), partial.histogram.sum(axis=1))
    assert counts.sums["tokens"].sum() == partial.tokens_seen
    expected = np.zeros((FEATURES, len(KINDS.names)), dtype=np.int64)
    first, groups, l0 = 0, np.zeros(128, dtype=np.int64), []
    classes = token_classes(SUBJECT.vocabulary, own=["5 ", "9 ", "40 "]).mask
    for window in reference.windows_of(SUBJECT, dictionary, CORPUS, spec):
        group = groups_of(np.array([window.document], dtype=np.uint64))[0]
        for place, token in enumerate(window.tokens):
            if window.counted[place]:
                fires = window.activations[:, place] > 0
                expected += fires[:, None] & classes[:, token]
                first += bool(window.position + place == (1 if positions.prepend_bos else 0))
                groups[group] += 1
                l0.append(int(fires.sum()))
    np.testing.assert_array_equal(counts.sums["firing"] @ counts.fixed["classes"].astype(np.int64), expected)
    assert counts.sums["tokens"][KINDS.is_first].sum() == first
    np.testing.assert_array_equal(counts.sums["tokens"].sum(axis=0), groups)
    np.testing.assert_array_equal(counts.sums["l0_tokens"], np.bincount(l0, minlength=FEATURES + 1))
    assert sum(int((batch.picks % 16 == 3).sum()) for batch in batches) * 16 == sum(len(batch.picks) for batch in batches)


def test_shards_and_batches_change_no_count(tmp_path) -> None:
    dictionary, store = make_dictionary(FEATURES), Store.in_folder(tmp_path)
    _, whole, _ = observed(dictionary)
    for name, documents in (("b", (11, 40)), ("a", (0, 11))):
        save(store, name, observed(dictionary, documents, SPEC.model_copy(update={"batch_tokens": 256}))[1])
    merged = merge(load(store, name) for name in ("b", "a"))
    assert merged.facts == whole.facts
    for name, array in whole.sums.items():
        np.testing.assert_array_equal(merged.sums[name], array)


def test_evidence_is_the_same_with_an_observer() -> None:
    class Hostile:
        def add(self, firing: Firing) -> None:
            firing.features.zero_()
            firing.cells.zero_()

    def partial(is_observed: bool):
        with SharedPass(SUBJECT, [Wanted(make_dictionary(FEATURES), np.arange(FEATURES))], CORPUS, SPEC, 7) as collecting:
            collecting.collections[0].observer = Hostile() if is_observed else None
            for batch in collecting.stream.batches(collecting.stream.layout.rows(0, 40)):
                collecting.stream.take(batch)
            return collecting.partials()[0]

    plain, seen = partial(False), partial(True)
    np.testing.assert_array_equal(seen.histogram, plain.histogram)
    for sample, keys in plain.keys.items():
        np.testing.assert_array_equal(seen.keys[sample], keys)
        if sample in plain.activations:
            np.testing.assert_array_equal(seen.activations[sample], plain.activations[sample])


def test_bos_is_encoded_once() -> None:
    dictionary = make_dictionary(FEATURES)
    fires = fires_at_bos(SUBJECT, dictionary, np.arange(FEATURES))
    x = SUBJECT.activations(torch.tensor([[0, 5, 9]]))[0, :1]
    np.testing.assert_array_equal(fires, (dictionary.encode(x)[0] > 0).numpy())
    assert fires is not None
    assert list(fires[:2]) == [False, True]
    assert fires_at_bos(FakeSubject(bos=None), dictionary, np.arange(FEATURES)) is None
    assert fires_at_bos(SUBJECT, replace(dictionary, positions=Positions(prepend_bos=False)), np.arange(FEATURES)) is None


def test_bos_fires_above_the_firing_level() -> None:
    dictionary, features = make_dictionary(FEATURES), np.arange(FEATURES)
    bos = dictionary.encode(SUBJECT.activations(torch.tensor([[0]]))[0])[0].numpy()
    levels = FiringLevels(features, np.float16(bos).astype(np.float32))
    with SharedPass(SUBJECT, [Wanted(dictionary, features, levels)], CORPUS, SPEC, 7) as collecting:
        found = observe(collecting, 0, SUBJECT, dictionary, CORPUS, levels)
    assert bos.any()
    assert not found.activity.counts().fixed["bos_fires"].any()


def test_features_of_several_threads_keep_their_rows() -> None:
    features, threads = 600, torch.get_num_threads()
    dictionary = make_dictionary(features)
    torch.set_num_threads(2)
    try:
        with SharedPass(SUBJECT, [Wanted(dictionary, np.arange(features))], CORPUS, SPEC, 7) as collecting:
            found = observe(collecting, 0, SUBJECT, dictionary, CORPUS)
            for batch in collecting.stream.batches(collecting.stream.layout.rows(0, 5)):
                collecting.stream.take(batch)
            partial = collecting.partials()[0]
            assert len(collecting.collections[0].blocks) == 2
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(found.activity.counts().sums["firing"].sum(axis=1), partial.histogram.sum(axis=1))


def test_a_pass_observes_each_of_its_dictionaries() -> None:
    dictionaries = [make_dictionary(FEATURES), make_dictionary(FEATURES, "topk", seed=5)]
    some = np.array([1, 3, 4, 9, 17])

    def counted(chosen) -> list[dict]:
        with SharedPass(SUBJECT, [Wanted(dictionary, some) for dictionary in chosen], CORPUS, SPEC, 7) as collecting:
            found = [observe(collecting, place, SUBJECT, dictionary, CORPUS, own=["5 "]) for place, dictionary in enumerate(chosen)]
            for batch in collecting.stream.batches(collecting.stream.layout.rows(0, len(CORPUS))):
                collecting.stream.take(batch)
            partials = collecting.partials()
            for one, partial in zip(found, partials, strict=True):
                assert one.activity.counts().facts["origin"] == one.cofiring.counts().facts["origin"] == partial.origin
                np.testing.assert_array_equal(one.activity.counts().sums["firing"].sum(axis=1), partial.histogram.sum(axis=1))
            return [one.activity.counts().sums | one.cofiring.counts().sums for one in found]

    def part(x: torch.Tensor, hook_point: str) -> torch.Tensor:
        return x

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(SUBJECT, "part", part, raising=False)
        together = counted(dictionaries)
    for dictionary, both in zip(dictionaries, together, strict=True):
        (alone,) = counted([dictionary])
        for name, array in alone.items():
            np.testing.assert_array_equal(both[name], array)
        assert alone["firing"].sum() > 0


def test_counts_are_within_the_estimate_of_memory() -> None:
    features, spec = np.arange(3000), CollectionSpec(batch_tokens=1024)
    device = SUBJECT.device
    made = Activity(features, KINDS, device).counts(), Cofiring(features, np.zeros((3000, spec.near_miss_neighbours), np.int64), device).counts()
    held = 2 * sum(array.nbytes for counts in made for array in counts.sums.values())
    assert held < observed_bytes(3000, spec) < 1.5 * held


def test_a_damaged_file_of_counts_is_named(tmp_path: Path) -> None:
    store = Store.in_folder(tmp_path)
    whole = Activity(np.arange(3), KINDS, SUBJECT.device).counts()
    save(store, "whole", whole)
    content = (tmp_path / "whole").read_bytes()
    for name, damaged in {"short": content[:-40], "empty": b"", "other": b"PK" + content[2:60]}.items():
        store.put(name, lambda path, damaged=damaged: path.write_bytes(damaged))
        with pytest.raises(BlobCorruptError, match=name):
            load(store, name)
    with pytest.raises(ValueError, match="do not merge"):
        merge([whole, Activity(np.arange(1, 4), KINDS, SUBJECT.device).counts()])
