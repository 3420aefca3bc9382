"""Dictionary of random directions beside a trained one: the control `random_dictionary`.

f = max(0, (norm(x) - pre_bias) @ W_enc + b_enc)        with random columns of W_enc and rows of W_dec

Norms of the trained rows (of a crosscoder at each hook point), b_dec, pre_bias, the input norm and a skip connection stay. The biases of the encoder
are 0 here; `interp.collect.measure.matched_biases` finds those with which each feature fires as often as the trained one of its number. So it is a
ReLU dictionary whatever the trained one is: its features fire as often, and a TopK dictionary's k are kept on average over tokens, not at each.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from interp.dictionary.canonical import LINEAR, Canonical, StoredDictionary
from interp.dictionary.weights import Floats
from interp.domain.errors import DictionaryError
from interp.subject import hooks

# Version of the draw: part of a random dictionary's digest.
DRAW_VERSION = 1
ARCHITECTURE = "random_directions"


def with_random_directions(reading: StoredDictionary, hook_point: str, seed: Callable[[], int]) -> StoredDictionary:
    """Return a stored dictionary with random directions; `seed` is called once the weights are read.

    Encoder and decoder share a feature's direction where they are of one space, and are independent otherwise (transcoders). Raises DictionaryError
    for neurons, which are the axes of their space.
    """
    header = reading.header
    if header.architecture == "neurons":
        raise DictionaryError(
            f"{header.files[0]}: neurons have no dictionary of random directions.",
            why="They are the axes of their hook point, in which the subject's non-linearity acts; other directions there are no neurons.",
            cure="Leave random_dictionary out of the job's controls.",
        )
    written = header.output_point or hook_point
    sites, shared = (len(hooks.points_of(hook_point)), len(hooks.points_of(written))), hooks.canonical(written) == hooks.canonical(hook_point)

    def convert(arrays: Mapping[str, Floats]) -> Canonical:
        return randomised(reading.convert(arrays), sites, shared, seed())

    architecture = header.architecture if header.architecture in LINEAR else ARCHITECTURE
    return replace(reading, header=replace(header, architecture=architecture, config=header.config | {"directions": "random"}), convert=convert)


def randomised(trained: Canonical, sites: tuple[int, int], shared: bool, seed: int) -> Canonical:
    """Return the arrays with random directions of the trained norms, and encoder biases of 0.

    `sites` are the numbers of hook points that are read and written, `shared` whether they are the same space. Directions are normalised normal
    vectors (Muller, Commun. ACM 2, 1959).
    """
    encoder, decoder = np.random.default_rng((seed, 0)), np.random.default_rng((seed, 0 if shared else 1))
    return replace(
        trained,
        W_enc=_random(trained.W_enc.T, sites[0], encoder).T,
        W_dec=_random(trained.W_dec, sites[1], decoder),
        b_enc=np.zeros_like(trained.b_enc),
        activation="relu" if trained.threshold is None else "jumprelu",
        threshold=None if trained.threshold is None else np.zeros_like(trained.threshold),
        k=None,
        batch_k=None,
    )


def _random(rows: Floats, sites: int, draw: np.random.Generator) -> Floats:
    """Return random rows float32 `[F, D]` with the norms of these.

    Norms are those at each hook point, if these are of equal width.
    """
    parts = rows.reshape(len(rows), sites if rows.shape[1] % sites == 0 else 1, -1)
    drawn = draw.standard_normal(parts.shape, dtype=np.float32)
    drawn *= np.linalg.norm(parts, axis=2, keepdims=True) / np.linalg.norm(drawn, axis=2, keepdims=True)
    return drawn.reshape(rows.shape)
