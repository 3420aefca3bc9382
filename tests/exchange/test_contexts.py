"""Windows as columns are the windows, of any widths, lengths and characters."""

import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from interp.domain.evidence import ContextKind, Contexts, Split
from interp.domain.vocabulary import Vocabulary
from interp.exchange.contexts import TokenTexts, Windows
from interp.exchange.text import decimal

# Halves of characters, what JSON escapes, and a token without a text.
VOCABULARY = Vocabulary(
    (b"<s>", b"a", b" b", b'"', b"\\", b"\n", b"\x1b", b",", b"\xc3", b"\xa9", "é".encode(), b"\xe2\x80", b"\xae", b""), frozenset({0})
)


@st.composite
def contexts(draw: st.DrawFn) -> Contexts:
    count, width, left = (draw(st.integers(0, most)) for most in (4, 6, 3))
    width = max(width, 1)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    lengths, before = rng.integers(0, width + 1, count), rng.integers(0, left + 1, count)
    valid = np.arange(width) < lengths[:, None]
    there = np.arange(left) >= left - before[:, None]
    return Contexts(
        tokens=(rng.integers(0, len(VOCABULARY), (count, width)) * valid).astype(np.uint32),
        activations=(rng.choice([0.0, -0.5, 0.1, 3.0, 60000.0], (count, width)) * valid).astype(np.float16),
        lengths=lengths.astype(np.uint16),
        kinds=rng.integers(0, len(ContextKind), count).astype(np.uint8),
        splits=rng.integers(0, len(Split), count).astype(np.uint8),
        documents=rng.integers(0, 2**63, count).astype(np.uint64),
        starts=rng.integers(0, 2**32, count).astype(np.uint32),
        positions=rng.integers(0, 2**16, count).astype(np.uint16),
        left=(rng.integers(0, len(VOCABULARY), (count, left)) * there).astype(np.uint32),
        left_lengths=before.astype(np.uint8),
    )


def shown(found: Contexts) -> list[dict[str, Any]]:
    """The windows of one feature, one by one."""
    maxima = found.maxima()
    order = sorted(range(len(found)), key=lambda row: (found.kinds[row], found.splits[row], -maxima[row]))
    return [window(found, row) for row in order]


def window(found: Contexts, row: int) -> dict[str, Any]:
    length = int(found.lengths[row])
    return {
        "id": found.identities()[row],
        "kind": ContextKind(int(found.kinds[row])).name.lower(),
        "split": Split(int(found.splits[row])).name.lower(),
        "document": f"{found.documents[row]:016x}",
        "start": int(found.starts[row]),
        "position": int(found.positions[row]),
        "max_activation": decimal(float(found.maxima()[row]) or 0.0),
        "left": VOCABULARY.texts(found.left_tokens(row)),
        "tokens": VOCABULARY.texts(found.tokens[row, :length].tolist()),
        "activations": [decimal(value) for value in found.activations[row, :length].tolist()],
    }


@given(st.lists(contexts(), max_size=4))
def test_columns_hold_each_window(features: list[Contexts]) -> None:
    texts = TokenTexts(VOCABULARY)
    windows, expected = Windows(features, texts), [shown(found) for found in features]
    read = [bytes(text).decode() for text in windows.json(texts)]
    assert [json.loads(f"[{text}]") for text in read] == expected
    assert all(text.isprintable() for text in read)
    flat = [row for rows in expected for row in rows]
    columns = windows.struct(texts).to_pylist()
    for row in columns:
        row |= {"max_activation": decimal(row["max_activation"]), "activations": [decimal(value) for value in row["activations"]]}
    assert columns == flat


def test_no_feature_has_no_window() -> None:
    texts = TokenTexts(VOCABULARY)
    assert Windows([], texts).json(texts) == []
    assert len(Windows([], texts).struct(texts)) == 0
