"""What must hold of any corpus, cut and order."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interp.collect.finish import finish
from interp.collect.partial import Partial, merge
from interp.collect.reservoir import EMPTY
from interp.collect.run import SharedPass, Wanted, collect
from interp.domain.errors import WorkInterruptedError
from interp.domain.evidence import ACTIVE_KINDS, ContextKind, Split
from interp.domain.spec import CollectionSpec, SplitCounts
from tests.collect.fakes import FakeSubject, make_corpus, make_dictionary

FEATURES = 24
SUBJECT = FakeSubject()
DICTIONARIES = {activation: make_dictionary(FEATURES, activation) for activation in ("relu", "jumprelu", "topk")}
COUNTS = SplitCounts(top=3, uniform=4, weighted=4, inactive=5, near_miss=3)
SPEC = CollectionSpec(row_tokens=32, window=8, batch_tokens=512, explain=COUNTS, test=COUNTS)
MANY = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])

corpora = st.builds(make_corpus, st.lists(st.integers(1, 120), min_size=2, max_size=14), st.integers(0, 3))
activations = st.sampled_from(sorted(DICTIONARIES))


def run(activation: str, corpus, documents, spec: CollectionSpec = SPEC) -> Partial:
    return collect(SUBJECT, DICTIONARIES[activation], corpus, documents, spec, 5, np.arange(FEATURES), lambda done: None)


def assert_equal(one: Partial, other: Partial) -> None:
    assert (one.tokens_seen, one.windows_seen) == (other.tokens_seen, other.windows_seen)
    for name in ("features", "windows_active", "histogram", "sums", "maxima", "levels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for sample, keys in one.keys.items():
        np.testing.assert_array_equal(keys, other.keys[sample])
    for sample, values in one.activations.items():
        np.testing.assert_array_equal(values, other.activations[sample])


@MANY
@given(corpora, activations, st.booleans(), st.data())
def test_any_cut_and_any_order_of_shards_give_the_same(corpus, activation: str, packing: bool, data: st.DataObject) -> None:
    spec = SPEC.model_copy(update={"packing": packing})
    cuts = sorted(data.draw(st.sets(st.integers(1, len(corpus) - 1), max_size=4)))
    edges = [0, *cuts, len(corpus)]
    shards = data.draw(st.permutations(list(pairwise(edges))))
    assert_equal(merge([run(activation, corpus, shard, spec) for shard in shards]), run(activation, corpus, (0, len(corpus)), spec))


@MANY
@given(corpora, activations, st.booleans(), st.sampled_from([16, 48, 256, 4096]))
def test_any_batch_size_gives_the_same(corpus, activation: str, packing: bool, batch_tokens: int) -> None:
    documents, spec = (0, len(corpus)), SPEC.model_copy(update={"packing": packing})
    other = run(activation, corpus, documents, spec.model_copy(update={"batch_tokens": batch_tokens}))
    assert_equal(other, run(activation, corpus, documents, spec))


@MANY
@given(corpora, activations)
def test_merge_is_associative_and_commutative(corpus, activation: str) -> None:
    third = max(1, len(corpus) // 3)
    a, b, c = (run(activation, corpus, span) for span in ((0, third), (third, 2 * third), (2 * third, len(corpus))))
    assert_equal(merge([merge([a, b]), c]), merge([a, merge([b, c])]))
    assert_equal(merge([a, b]), merge([b, a]))
    assert_equal(merge([a]), a)


@MANY
@given(corpora, activations)
def test_samples_keep_what_they_promise(corpus, activation: str) -> None:
    partial = run(activation, corpus, (0, len(corpus)))
    for item in finish(partial, SUBJECT, DICTIONARIES[activation], corpus, SPEC):
        contexts = item.contexts
        explain, test = (set(contexts.of(split).documents.tolist()) for split in Split)
        assert not explain & test
        fires = contexts.maxima() > 0
        np.testing.assert_array_equal(fires, np.isin(contexts.kinds, ACTIVE_KINDS))
        for split in Split:
            active, seen = item.statistics.windows_active[split], item.statistics.windows_seen[split]
            for kind in (ContextKind.TOP, ContextKind.UNIFORM, ContextKind.WEIGHTED):
                assert len(contexts.of(split, kind)) == min(getattr(COUNTS, kind.name.lower()), active)
            assert len(contexts.of(split, ContextKind.INACTIVE)) == min(COUNTS.inactive, seen - active)
            misses = contexts.of(split, ContextKind.NEAR_MISS).documents.tolist()
            assert len(misses) == len(set(misses))
            for kind in ContextKind:
                identities = contexts.of(split, kind).identities()
                assert len(set(identities)) == len(identities)


def test_memory_does_not_grow_with_tokens() -> None:
    def held(documents: int) -> int:
        corpus = make_corpus([100] * documents)
        with SharedPass(SUBJECT, [Wanted(DICTIONARIES["relu"], np.arange(FEATURES))], corpus, SPEC, 0) as collection:
            for batch in collection.stream.batches(collection.stream.layout.rows(0, documents)):
                collection.stream.take(batch)
            return sum(tensor.numel() * tensor.element_size() for tensor in tensors_of(collection))

    assert 0 < held(400) < 1.1 * held(40)  # lists of masked tokens differ a little from batch to batch


def tensors_of(thing: object) -> list[torch.Tensor]:
    """All tensors that an object of ours holds, however deep."""
    found: dict[int, torch.Tensor] = {}
    seen: set[int] = set()
    todo = [thing]
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, torch.Tensor):
            found[item.untyped_storage().data_ptr()] = item
        elif isinstance(item, dict):
            todo += item.values()
        elif isinstance(item, list | tuple):
            todo += item
        elif type(item).__module__.startswith("interp.collect"):
            todo += vars(item).values()
    return list(found.values())


def test_samples_of_no_windows() -> None:
    nothing = SplitCounts(top=0, uniform=0, weighted=0, inactive=0, near_miss=0)
    corpus = make_corpus([100] * 6, splits=[0, 1] * 3)
    partial = run("relu", corpus, (0, 6), SPEC.model_copy(update={"explain": nothing}))
    assert all(keys.shape[1] == 0 for (_, split), keys in partial.keys.items() if split is Split.EXPLAIN)
    assert (partial.keys[ContextKind.TOP, Split.TEST][1] != EMPTY).all()


def test_progress_can_stop_the_work() -> None:
    corpus, calls = make_corpus([100] * 50), []

    def progress(done: int) -> None:
        calls.append(done)
        if len(calls) == 2:
            raise WorkInterruptedError("enough")

    with pytest.raises(WorkInterruptedError):
        collect(SUBJECT, DICTIONARIES["relu"], corpus, (0, 50), SPEC, 0, np.arange(FEATURES), progress)
    assert len(calls) == 2
    assert 0 < calls[0] < calls[1] < 5000


@pytest.mark.parametrize("packing", [False, True])
def test_progress_ends_at_all_tokens(packing: bool) -> None:
    corpus, calls = make_corpus([100, 31, 1, 64]), []
    collect(SUBJECT, DICTIONARIES["relu"], corpus, (0, 4), SPEC.model_copy(update={"packing": packing}), 0, np.arange(FEATURES), calls.append)
    assert calls[-1] == 196
    assert calls == sorted(calls)
