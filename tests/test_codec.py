"""Evidence survives the way to bytes and back; what is damaged says so."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from interp.domain.errors import BlobCorruptError
from interp.domain.evidence import HISTOGRAM_BINS, Contexts, FeatureEvidence, Neighbour, Statistics, TokenEffect
from interp.files.evidence_codec import decode_evidence, encode_evidence
from tests.api.synthetic import feature_evidence

COLUMNS = Contexts.__slots__


@st.composite
def evidences(draw: st.DrawFn) -> FeatureEvidence:
    count, window = draw(st.integers(0, 6)), draw(st.sampled_from([8, 32]))
    whole, floats = st.integers(0, 2**40), st.floats(0, 1e6)

    def column(dtype: type, *shape: int) -> np.ndarray:
        return draw(npst.arrays(dtype, (count, *shape)))

    level = np.float32(draw(floats))
    left = draw(st.sampled_from([0, 5, 16]))
    contexts = Contexts(
        tokens=column(np.uint32, window),
        activations=draw(npst.arrays(np.float16, (count, window), elements=st.floats(0, 65504, width=16))),
        lengths=column(np.uint16),
        kinds=column(np.uint8),
        splits=column(np.uint8),
        documents=column(np.uint64),
        starts=column(np.uint32),
        positions=column(np.uint16),
        left=column(np.uint32, left),
        left_lengths=column(np.uint8),
        levels=np.full(count, level),
    )
    whole_pair = st.tuples(whole, whole)
    effects = st.lists(st.builds(TokenEffect, st.integers(0, 2**31), st.floats(-50, 50)), max_size=4).map(tuple)
    return FeatureEvidence(
        feature=draw(st.integers(0, 2**31)),
        statistics=Statistics(draw(whole), draw(whole), draw(whole_pair), draw(whole_pair), draw(floats), draw(floats), float(level)),
        histogram=draw(npst.arrays(np.int64, HISTOGRAM_BINS)),
        contexts=contexts,
        promoted=draw(effects),
        suppressed=draw(effects),
        nearest=draw(st.lists(st.builds(Neighbour, st.integers(0, 2**31), st.floats(-1, 1)), max_size=4).map(tuple)),
    )


def assert_same(one: FeatureEvidence, other: FeatureEvidence) -> None:
    for name in ("feature", "statistics", "promoted", "suppressed", "nearest"):
        assert getattr(one, name) == getattr(other, name)
    np.testing.assert_array_equal(one.histogram, other.histogram)
    for name in COLUMNS:
        mine, yours = getattr(one.contexts, name), getattr(other.contexts, name)
        assert mine.dtype == yours.dtype
        np.testing.assert_array_equal(mine, yours)


@settings(deadline=None, max_examples=50)
@given(evidences())
def test_evidence_survives(evidence: FeatureEvidence) -> None:
    blob = encode_evidence(evidence)
    assert_same(decode_evidence(blob), evidence)
    assert encode_evidence(decode_evidence(blob)) == blob


@settings(deadline=None, max_examples=100)
@given(evidences(), st.data())
def test_any_damage_is_told(evidence: FeatureEvidence, data: st.DataObject) -> None:
    blob = bytearray(encode_evidence(evidence))
    place = data.draw(st.integers(0, len(blob) - 1))
    blob[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BlobCorruptError):
        decode_evidence(bytes(blob))


@settings(deadline=None, max_examples=20)
@given(evidences())
def test_the_first_format_is_still_read(evidence: FeatureEvidence) -> None:
    body = zstandard.ZstdDecompressor().decompress(encode_evidence(evidence)[9:])
    assert_same(decode_evidence(b"GLEV\1" + zstandard.ZstdCompressor(write_checksum=True).compress(body)), evidence)


def test_the_second_format_is_still_read() -> None:
    """A blob that the version before the left context wrote."""
    old = decode_evidence((Path(__file__).parent / "fakes" / "evidence_v2.bin").read_bytes())
    assert_same(old, feature_evidence(3))
    assert old.statistics.firing_level == 0
    assert old.contexts.left.shape == (3, 0)
    assert [old.contexts.left_tokens(row) for row in range(3)] == [[], [], []]
    np.testing.assert_array_equal(old.contexts.fires(), [True, True, False])


@settings(deadline=None, max_examples=50)
@given(evidences(), st.data())
def test_any_cut_is_told(evidence: FeatureEvidence, data: st.DataObject) -> None:
    blob = encode_evidence(evidence)
    with pytest.raises(BlobCorruptError):
        decode_evidence(blob[: data.draw(st.integers(0, len(blob) - 1))])
    with pytest.raises(BlobCorruptError):
        decode_evidence(blob + b"x")


@given(st.binary(max_size=200))
def test_no_bytes_of_others_are_read(blob: bytes) -> None:
    for prefix in (b"", b"GLEV\x01", b"GLEV\x02"):
        with pytest.raises(BlobCorruptError):
            decode_evidence(prefix + blob)


def test_a_typical_feature_is_small() -> None:
    """40 windows of 64 tokens, a tenth of them active, stay near 4 KB: token ids and half floats, hardly anything else."""
    generator = np.random.default_rng(0)
    tokens = generator.zipf(1.3, (40, 64)).astype(np.uint32) % 4096
    activations = np.where(generator.random((40, 64)) < 0.1, generator.random((40, 64)), 0).astype(np.float16)
    flat = {name: np.zeros(40, dtype) for name, dtype in zip(COLUMNS[2:8], ("u2", "u1", "u1", "u8", "u4", "u2"), strict=True)}
    statistics = Statistics(1, 1, (1, 1), (1, 1), 1.0, 1.0)
    evidence = FeatureEvidence(0, statistics, np.zeros(HISTOGRAM_BINS, np.int64), Contexts(tokens, activations, **flat), (), (), ())
    assert len(encode_evidence(evidence)) < 5000


def test_reading_evidence_needs_no_torch() -> None:
    code = "import interp.files.evidence_codec, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
