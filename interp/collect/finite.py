"""NaN and infinity stop a collection, with the place where they came from: they would poison every statistic in silence."""

import numpy as np
import torch
from torch import Tensor

from interp.collect.rows.feed import RowBatch
from interp.collect.rows.layout import Layout
from interp.corpus.tokenized import TokenizedCorpus
from interp.domain.errors import ActivationsNotFiniteError
from interp.subject.base import Subject


def check_activations(x: Tensor, batch: RowBatch, subject: Subject, corpus: TokenizedCorpus, layout: Layout) -> None:
    """Raises ActivationsNotFinite when x float32 [B, T, D] holds NaN or infinity at a real token. At padding they become 0, in place."""
    # One NaN or infinity makes the sum so: a single pass, and a search for the token only when there is one.
    if bool(torch.isfinite(x.sum())):
        return
    finite = torch.isfinite(x).all(2)[: len(batch.rows)].cpu().numpy()
    real = np.arange(x.shape[1])[None, :] < batch.rows.lengths[:, None]
    bad = np.argwhere(real & ~finite)
    if len(bad) == 0:
        x.nan_to_num_(0.0, 0.0, 0.0)
        return
    row, column = (int(index) for index in bad[0])
    document = f"{int(corpus.documents[batch.rows.documents[row]]):016x}"
    token = int(batch.rows.firsts[row]) + column - layout.head
    where = f"token {token}" if token >= batch.rows.firsts[row] else f"the BOS before token {token + 1}"
    raise ActivationsNotFiniteError(
        f"{subject.name} gives NaN or infinity at {subject.hook_point}, in document {document} at {where}.",
        why="The subject's numbers overflow, or its weights are damaged.",
        cure="Use dtype bfloat16 or float32 for the subject.",
        hook_point=subject.hook_point,
        document=document,
        token=token,
    )


def check_maxima(maxima: Tensor) -> None:
    """Raises ActivationsNotFinite when the maxima [P] of active windows hold infinity: the encoder's own arithmetic overflowed."""
    if not bool(torch.isfinite(maxima.sum(dtype=torch.float64))):
        raise ActivationsNotFiniteError(
            "The dictionary gives infinity for finite activations.", why="Its encoder overflows.", cure="Collect with encode_dtype float32."
        )
