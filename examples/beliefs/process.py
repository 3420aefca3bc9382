"""Mess3, a hidden Markov model of three states and three tokens, and its optimal predictor.

Source: Marzen and Crutchfield 2017, arXiv 1702.08565, with the parameters of Shai et al. 2024, arXiv 2405.15943.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
X, ALPHA = 0.15, 0.6
TOKENS = "ABC"


def mess3(x: float = X, alpha: float = ALPHA) -> Floats:
    """Return P(token, next state | state), float64 `[3 tokens, 3 states, 3 next states]`.

    The state stays with probability 1 - 2x and moves to each of the others with x; the new state emits its own token with probability alpha, each of
    the others with (1 - alpha) / 2. Raises ValueError for what is no probability.
    """
    if not (0 <= x <= 0.5 and 0 <= alpha <= 1):
        raise ValueError(f"x = {x} is not within 0 and 0.5, or alpha = {alpha} not within 0 and 1")
    moves = np.full((3, 3), x) + (1 - 3 * x) * np.eye(3)
    emits = np.full((3, 3), (1 - alpha) / 2) + (alpha - (1 - alpha) / 2) * np.eye(3)
    joint: Floats = moves[None] * emits.T[:, None]
    return joint


def stationary(transitions: Floats) -> Floats:
    """Return the distribution of states float64 `[S]` that a step leaves: the left eigenvector of eigenvalue 1."""
    moves = transitions.sum(axis=0)
    count = len(moves)
    system = np.vstack([moves.T - np.eye(count), np.ones(count)])
    found: Floats = np.linalg.lstsq(system, np.append(np.zeros(count), 1.0), rcond=None)[0]
    return found


def sample(transitions: Floats, count: int, length: int, seed: int) -> Ints:
    """Return tokens int64 `[count, length]` of independent sequences that start in the stationary distribution."""
    rng = np.random.default_rng(seed)
    states = transitions.shape[1]
    # Given the state, one draw decides the token and the next state.
    edges = transitions.transpose(1, 0, 2).reshape(states, -1).cumsum(axis=1)[:, :-1]
    state = rng.choice(states, size=count, p=stationary(transitions))
    found = np.empty((count, length), dtype=np.int64)
    for place in range(length):
        drawn = (rng.random(count)[:, None] > edges[state]).sum(axis=1)
        found[:, place], state = drawn // states, drawn % states
    return found


def beliefs(transitions: Floats, sequences: Ints) -> tuple[Floats, Floats]:
    """Return what the optimal predictor knows of sequences `[N, L]`: beliefs and probabilities.

    Beliefs float64 `[N, L, S]` are P(state | tokens so far), the token at that place included: b' = b T(token) / |b T(token)|. Probabilities float64
    `[N, L]` are P(token | tokens before).
    """
    count, length = sequences.shape
    states = transitions.shape[1]
    belief = np.tile(stationary(transitions), (count, 1))
    known, probabilities = np.empty((count, length, states)), np.empty((count, length))
    for place in range(length):
        joint = np.einsum("ns,nst->nt", belief, transitions[sequences[:, place]])
        probabilities[:, place] = joint.sum(axis=1)
        belief = joint / joint.sum(axis=1, keepdims=True)
        known[:, place] = belief
    return known, probabilities


def entropy_bounds(transitions: Floats, length: int) -> tuple[float, float]:
    """Return a lower and an upper bound of the entropy rate in nats a token.

    H(X_n | X_1 ... X_n-1, S_0) <= h <= H(X_n | X_1 ... X_n-1), by all words of `length` n (Cover and Thomas, Elements of Information Theory, 2nd
    edition, theorem 4.5.1).
    """
    start = stationary(transitions)
    words = np.eye(len(start))[None]
    entropies = []
    for _ in range(length):
        words = np.einsum("wst,atu->wasu", words, transitions).reshape(-1, *words.shape[1:])
        by_start = words.sum(axis=2)
        entropies.append((float(start @ _entropy(by_start, axis=0)), float(_entropy(by_start @ start, axis=0))))
    before = entropies[-2] if length > 1 else (0.0, 0.0)
    return entropies[-1][0] - before[0], entropies[-1][1] - before[1]


def _entropy(probabilities: Floats, axis: int) -> Floats:
    logs = np.log(np.where(probabilities > 0, probabilities, 1.0))
    found: Floats = -(probabilities * logs).sum(axis=axis)
    return found


def text(sequence: Ints) -> str:
    return "".join(TOKENS[token] for token in sequence)
