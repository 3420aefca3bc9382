"""A subject, a dictionary and a corpus small enough to check by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.module import Dictionary
from interp.domain.vocabulary import Vocabulary

WIDTH, VOCABULARY, SPECIAL = 16, 64, frozenset({0, 1})


class FakeSubject:
    """Embeds each token and adds a share of the token before: causal, and exact in float32, since all its values are small multiples of 1/8."""

    name = "fake"
    digest = "fake"
    hook_point = "blocks.0.hook_resid_post"
    d_in = WIDTH
    context = 4096
    device = torch.device("cpu")
    nbytes = VOCABULARY * WIDTH * 4

    def __init__(self, bos: int | None = 0, dtype: torch.dtype = torch.float32) -> None:
        self.bos = bos
        self.vocabulary = Vocabulary(tuple(b"%d " % token for token in range(VOCABULARY)), SPECIAL)
        self.config: dict[str, Any] = {}
        self.dtype = dtype
        self.embedding = torch.randint(-16, 17, (VOCABULARY, WIDTH), generator=torch.Generator().manual_seed(1)) / 8

    def activations(self, tokens: Tensor) -> Tensor:
        x = self.embedding[tokens]
        x[:, 1:] += x[:, :-1].clone() / 2
        return x.to(self.dtype)

    def output_directions(self, hook_point: str) -> Tensor:
        return self.embedding.T.contiguous()

    def encode_texts(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        return [np.frombuffer(text.encode(), dtype=np.uint8).astype(np.uint32) % VOCABULARY for text in texts]


def make_corpus(lengths: Sequence[int], seed: int = 0, splits: Sequence[int] | None = None) -> TokenizedCorpus:
    """Documents of random tokens, special ones among them."""
    generator = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenizedCorpus(
        digest=f"fake-{seed}",
        path=Path("nowhere"),
        tokens=generator.integers(0, VOCABULARY, offsets[-1]).astype(np.uint32),
        offsets=offsets,
        documents=np.sort(generator.integers(0, 2**63, len(lengths)).astype(np.uint64)),
        splits=np.array(splits if splits is not None else generator.integers(0, 2, len(lengths)), dtype=np.uint8),
        duplicates=0,
        skipped=0,
    )


def make_dictionary(features: int = 24, activation: str = "relu", seed: int = 0) -> Dictionary:
    """Weights are multiples of 1/8, so that every sum is exact. Feature 0 never fires, feature 1 always."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randint(-8, 9, (WIDTH, features), generator=generator) / 8
    bias = -torch.randint(8, 40, (features,), generator=generator) / 4
    weights[:, :2] = 0
    bias[0], bias[1] = -1, 1
    return Dictionary(
        name="fake@0",
        hook_point=FakeSubject.hook_point,
        architecture=activation,
        digest="fake",
        config={},
        W_enc=weights,
        b_enc=bias,
        W_dec=torch.randn(features, WIDTH, generator=generator),
        b_dec=torch.zeros(WIDTH),
        activation="jumprelu" if activation == "jumprelu" else "topk" if activation == "topk" else "relu",
        threshold=torch.randint(0, 16, (features,), generator=generator) / 8 if activation == "jumprelu" else None,
        k=4 if activation == "topk" else None,
    )
