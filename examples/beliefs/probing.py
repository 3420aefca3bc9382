"""Linear probes of the optimal predictor's belief."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from examples.beliefs import process
from interp.collect.measure.ratio import Ratio
from interp.domain.check_report import Figure
from interp.domain.spec import SubjectSpec
from interp.subject.base import Subject, open_subject

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ROWS = 500  # read at once
CONSTANT = "The targets do not vary."


@torch.inference_mode()
def activations(subject: Subject, sequences: Ints) -> NDArray[np.float32]:
    """Return a subject's activations float32 `[N, L, D]` at the letters of sequences `[N, L]`, BOS before each."""
    rows = torch.nn.functional.pad(torch.from_numpy(sequences) + 1, (1, 0))
    return torch.cat([subject.activations(part)[:, 1:].float() for part in rows.split(ROWS)]).numpy()


def one_hot(codes: Ints) -> Floats:
    """Return indicators float64 `[..., K]` of codes `[...]`, without the first, which the intercept covers."""
    found: Floats = np.eye(int(codes.max()) + 1)[codes][..., 1:]
    return found


def last_two(sequences: Ints) -> Ints:
    """Return a code `[N, L]` of each token and the one before, if any."""
    before = np.pad(sequences[:, :-1] + 1, ((0, 0), (1, 0)))
    return sequences * (len(process.TOKENS) + 1) + before


def squares(inputs: NDArray[np.floating], targets: Floats) -> tuple[Floats, Floats]:
    """Return squared errors of a linear regression of targets `[N, L, S]` on inputs `[N, L, K]`, and about the mean: float64 `[N // 2, S]`.

    Every other sequence is fitted on, the rest is measured, in sums over each. The ridge, 1e-9 of the mean square, keeps dependent inputs solvable.
    """
    fitted, measured = (np.concatenate([part, np.ones((*part.shape[:2], 1))], axis=2) for part in (inputs[::2], inputs[1::2]))
    x, y = (part.reshape(-1, part.shape[2]).astype(np.float64) for part in (fitted, targets[::2]))
    gram = x.T @ x
    weights = np.linalg.solve(gram + 1e-9 * gram.trace() / len(gram) * np.eye(len(gram)), x.T @ y)
    return ((targets[1::2] - measured @ weights) ** 2).sum(axis=1), ((targets[1::2] - y.mean(axis=0)) ** 2).sum(axis=1)


def r_squared(inputs: NDArray[np.floating], targets: Floats) -> Figure:
    """Return R² of a linear regression over all S targets, with its standard error by sequences (see `squares`)."""
    errors, totals = (part.sum(axis=1) for part in squares(inputs, targets))
    return Ratio(totals - errors, totals).figure(CONSTANT)


def probe_figures(folder: Path, hook_point: str, sequences: Ints) -> dict[str, Figure]:
    """Return R² of belief from the stream, and its null: each sequence with the beliefs of another."""
    subject = open_subject(SubjectSpec(model=str(folder), device="cpu"), hook_point)
    x, truth = activations(subject, sequences), process.beliefs(process.mess3(), sequences)[0]
    # Moved by two, so that halves stay apart.
    return {"probe": r_squared(x, truth), "other sequences' beliefs": r_squared(x, np.roll(truth, 2, axis=0))}
