"""A text that a person gives has the very activations that collection stores of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.collect.finish import finish
from interp.collect.layout import layout_of
from interp.collect.levels import FiringLevels
from interp.collect.live.activations import Activations, activations
from interp.collect.live.reading import TextReader
from interp.collect.run import collect
from interp.dictionary.module import Dictionary
from interp.domain.errors import FeatureOutOfRangeError, InputError, WorkInterruptedError
from interp.domain.evidence import ContextKind
from interp.domain.live import ActivationsWork
from interp.domain.spec import CollectionSpec, SplitCounts
from tests.collect.fakes import VOCABULARY, FakeSubject, make_corpus, make_dictionary
from tests.collect.test_real_arithmetic import WIDTH, LlamaSubject

COUNTS = SplitCounts(top=20, uniform=20, weighted=20, inactive=10, near_miss=5)
SPEC = CollectionSpec(row_tokens=128, window=16, batch_tokens=1024, explain=COUNTS, test=COUNTS, firing_level="zero")
CORPUS = make_corpus(np.random.default_rng(3).integers(3, 400, 30).tolist(), seed=3)


class TokenSubject(LlamaSubject):
    """Its texts are token numbers between blanks, so that a test can give any tokens."""

    def encode_texts(self, texts):  # type: ignore[no-untyped-def]
        return [np.array(text.split(), dtype=np.uint32) for text in texts]


@pytest.fixture(scope="module")
def subject() -> TokenSubject:
    return TokenSubject()


def real(activation: str, **changes: object) -> Dictionary:
    generator = torch.Generator().manual_seed(2)
    features = 700
    made = Dictionary(
        name="real@0",
        hook_point=FakeSubject.hook_point,
        architecture=activation,
        digest="real",
        config={},
        W_enc=torch.randn(WIDTH, features, generator=generator) / 4,
        b_enc=torch.full((features,), -1.0),
        W_dec=torch.randn(features, WIDTH, generator=generator),
        b_dec=torch.zeros(WIDTH),
        activation="topk" if activation == "topk" else "jumprelu",
        threshold=None if activation == "topk" else torch.rand(features, generator=generator),
        k=20 if activation == "topk" else None,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def words(tokens: np.ndarray) -> str:  # type: ignore[type-arg]
    return " ".join(map(str, tokens.tolist()))


def ask(subject: FakeSubject, dictionary: Dictionary, spec: CollectionSpec, **work: object) -> Activations:
    reader = TextReader(subject, spec, dictionary.positions)
    return activations(subject, dictionary, spec, reader, ActivationsWork(**work), lambda: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("activation", ["jumprelu", "topk"])
@pytest.mark.parametrize("is_dense", [False, True])
def test_each_stored_context_is_read_to_the_same_bits(subject: TokenSubject, activation: str, is_dense: bool, dtype: str) -> None:
    spec = SPEC.model_copy(update={"encode_dtype": dtype})
    dictionary, features = real(activation), np.arange(0, 700, 60)
    levels = FiringLevels(np.arange(700), np.full(700, 0.5, np.float32)) if is_dense else None
    partial = collect(subject, dictionary, CORPUS, (0, len(CORPUS)), spec, 0, features, lambda _: None, levels)
    compared = 0
    places = {int(document): place for place, document in enumerate(CORPUS.documents)}
    read: dict[int, Activations] = {}
    for evidence in finish(partial, subject, dictionary, CORPUS, spec):
        contexts = evidence.contexts
        for row in range(len(contexts.tokens)):
            if ContextKind(contexts.kinds[row]) not in (ContextKind.TOP, ContextKind.UNIFORM, ContextKind.WEIGHTED):
                continue
            place = places[int(contexts.documents[row])]
            if place not in read:
                text = words(CORPUS.tokens[CORPUS.offsets[place] : CORPUS.offsets[place + 1]])
                own = [0.5] * len(features) if is_dense else []
                read[place] = ask(subject, dictionary, spec, texts=[text], features=features.tolist(), levels=own)
            found = read[place].texts[0].activations[list(features).index(evidence.feature)]
            head = int(contexts.positions[row] == 0)
            start, length = int(contexts.starts[row]), int(contexts.lengths[row])
            stored = contexts.activations[row, head:length]
            assert np.array_equal(stored.view(np.uint16), found[start : start + length - head].view(np.uint16))
            compared += int((stored > 0).sum())
    assert compared > 100


@settings(max_examples=15)
@given(st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=300), min_size=1, max_size=4), st.booleans())
def test_a_text_does_not_feel_the_others_beside_it(subject: TokenSubject, texts: list[list[int]], packing: bool) -> None:
    spec, dictionary = SPEC.model_copy(update={"packing": packing}), real("jumprelu")
    wanted = list(range(0, 700, 35))
    together = ask(subject, dictionary, spec, texts=[words(np.array(text)) for text in texts], features=wanted)
    for text, found in zip(texts, together.texts, strict=True):
        alone = ask(subject, dictionary, spec, texts=[words(np.array(text))], features=wanted).texts[0]
        assert np.array_equal(found.activations.view(np.uint16), alone.activations.view(np.uint16))
        assert found.tokens.tolist() == text
        assert not found.activations[:, ~found.counted].any()
        # Special tokens count nowhere, whatever a person writes.
        assert not found.counted[np.isin(found.tokens, [0, 1])].any()


def test_a_text_in_a_batch_has_the_bits_of_one_alone(subject: TokenSubject, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU does always, and a CPU whose library sums a single row in another way."""
    texts = [words(CORPUS.tokens[first : first + 200]) for first in (0, 300)]
    alone = ask(subject, real("jumprelu"), SPEC, texts=texts, top_k=5)
    shapes: list[tuple[int, ...]] = []
    of_class = LlamaSubject.activations

    def noting(self: LlamaSubject, tokens: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(tokens.shape))
        return of_class(self, tokens)

    monkeypatch.setattr(TextReader, "_may_be_alone", lambda *_: False)
    monkeypatch.setattr(LlamaSubject, "activations", noting)
    batched = ask(subject, real("jumprelu"), SPEC, texts=texts, top_k=5)
    layout = layout_of(CORPUS, subject.bos, SPEC)
    assert {length for _, length in shapes} <= set(layout.row_lengths)
    # The very shapes that a collection's passes have.
    assert set(shapes) == {(8, 128), (3, 80)}
    for one, other in zip(alone.texts, batched.texts, strict=True):
        assert np.array_equal(one.activations, other.activations)


def test_the_strongest_are_those_of_a_plain_encode() -> None:
    subject, dictionary = FakeSubject(), make_dictionary(features=600)
    spec = CollectionSpec(row_tokens=32, window=8, batch_tokens=512, firing_level="zero")
    found = ask(subject, dictionary, spec, texts=["abcdefgh", "hgfedcba hgfe"], against=["aaaa"], top_k=7, per_token=3)
    maxima = []
    for text in (*found.texts, *found.against):
        rows = torch.tensor([[0, *text.tokens.tolist()]])
        plain = dictionary.encode(subject.activations(rows)[0, 1:].float())
        plain[~torch.from_numpy(text.counted)] = 0
        maxima.append(plain.amax(0))
        assert text.top.values.tolist() == plain.amax(0).topk(7).values.tolist()
        for place, ranked in enumerate(text.per_token):
            expected = plain[place].topk(3).values
            assert ranked.values.tolist() == expected[expected > 0].tolist()
    first = torch.maximum(maxima[0], maxima[1])
    assert found.top.values.tolist() == first.topk(7).values.tolist()
    assert found.differences.values.tolist() == (first - maxima[2]).topk(7).values.tolist()
    for ranked, over in ((found.top, first), (found.differences, first)):
        for feature, text, token in zip(ranked.features.tolist(), ranked.texts.tolist(), ranked.tokens.tolist(), strict=True):
            at = ask(subject, dictionary, spec, texts=["abcdefgh", "hgfedcba hgfe"], features=[feature]).texts[text].activations[0, token]
            assert float(at) == float(over[feature])


def test_a_text_without_a_token_and_too_many_tokens() -> None:
    subject, dictionary = TokenSubject(), real("jumprelu")
    empty = ask(subject, dictionary, SPEC, texts=[" "], against=["  ", "5 6"], features=[1], top_k=3, per_token=2)
    assert empty.texts[0].activations.shape[1] == 0
    assert empty.top.features.tolist() == [] == empty.differences.features.tolist()
    with pytest.raises(InputError, match="2,100 tokens"):
        ask(subject, dictionary, SPEC, texts=["7 " * 2100], features=[1])
    with pytest.raises(FeatureOutOfRangeError, match="700"):
        ask(subject, dictionary, SPEC, texts=["7"], features=[700])


def test_work_ends_between_tiles() -> None:
    subject, dictionary = FakeSubject(), make_dictionary(features=2000)
    spec = CollectionSpec(row_tokens=32, window=8, batch_tokens=512)
    calls = []

    def between() -> None:
        calls.append(None)
        if len(calls) == 3:
            raise WorkInterruptedError("nobody waits any more")

    with pytest.raises(WorkInterruptedError):
        activations(subject, dictionary, spec, TextReader(subject, spec, dictionary.positions), ActivationsWork(texts=("abc",), top_k=1), between)
    assert len(calls) == 3
