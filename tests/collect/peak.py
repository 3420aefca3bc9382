"""What a collection takes at its peak, in a process that does nothing else."""

import numpy as np
import torch

from benches.memory import peak_rss_mb, reset_peak
from interp.collect.run import collect
from interp.dictionary.module import Dictionary
from interp.domain.spec import CollectionSpec
from tests.collect.fakes import WIDTH, FakeSubject, make_corpus


def measure(features: int, of: int) -> None:
    """Prints the bytes that collecting `features` features of a dictionary of `of` took."""
    draw = torch.Generator().manual_seed(2)
    dictionary = Dictionary(
        name="sparse@0",
        hook_point="h",
        architecture="relu",
        digest="d",
        config={},
        W_enc=torch.randn(WIDTH, of, generator=draw),
        b_enc=torch.full((of,), -18.0),
        W_dec=torch.randn(of, WIDTH, generator=draw),
        b_dec=torch.zeros(WIDTH),
    )
    corpus = make_corpus([800] * 40)
    reset_peak()
    before = peak_rss_mb(now=True)
    collect(FakeSubject(), dictionary, corpus, (0, 40), CollectionSpec(), 0, np.arange(features), lambda done: None)
    print(int((peak_rss_mb() - before) * 1e6))
