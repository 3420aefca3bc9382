"""Windows of tokens with real and predicted activations of a chosen kind, the input of a simulation score."""

from dataclasses import dataclass

import numpy as np

from interp.stats.agreement import SUMS, pearson_of, sums

TOKENS = 32
RATE = 0.03


@dataclass(frozen=True)
class World:
    """How windows come about.

    tail    of the activations: `uniform`, `exponential`, or the sigma of a lognormal
    label   `graded`: follows the activation, with another feature's added; `noisy`: with normal noise on every token;
            `rule`: the same level wherever it fires, and at some other tokens
    skill   share of the activation in the prediction (`graded`, `noisy`), or of the firing tokens that a rule finds
    windows firing windows, and as many silent ones
    each    windows a document; with more than one they share a scale, and a rule finds more in some documents than in others
    large   share of the windows that stand in one document
    """

    tail: str | float
    label: str
    skill: float
    windows: int
    each: int = 1
    large: float = 0.0

    def documents(self) -> np.ndarray:
        """int [windows]: the documents of the firing windows; those of the silent ones are others, alike."""
        head = round(self.large * self.windows)
        return np.concatenate([np.zeros(head, dtype=int), int(head > 0) + np.arange(self.windows - head) // self.each])

    def draw(self, random: np.random.Generator, runs: int) -> tuple[np.ndarray, np.ndarray]:
        """Predicted and real, float64 [runs, 2 windows, TOKENS], the firing windows first."""
        documents = self.documents()
        is_clustered = self.each > 1 or self.large > 0
        fires = random.random((runs, self.windows, TOKENS)) < RATE
        np.put_along_axis(fires, random.integers(0, TOKENS, (runs, self.windows))[..., None], True, axis=2)
        real = np.zeros((runs, 2 * self.windows, TOKENS))
        real[:, : self.windows][fires] = self._activations(random, int(fires.sum()))
        if is_clustered:
            real[:, : self.windows] *= np.exp(0.4 * random.standard_normal((runs, documents[-1] + 1)))[:, documents, None]
        own, rest = self.skill, np.sqrt(1 - self.skill**2)
        if self.label == "rule":
            spread = random.beta(own / 0.3 - own, (1 - own) / 0.3 - (1 - own), (runs, documents[-1] + 1)) if is_clustered else None
            found = own if spread is None else spread[:, documents, None]
            predicted = (random.random(real.shape) < 0.005).astype(float)
            predicted[:, : self.windows] += fires & (random.random(fires.shape) < found)
        elif self.label == "graded":
            others = random.random(real.shape) < RATE
            predicted = own * real
            predicted[others] += rest * self._activations(random, int(others.sum()))
        else:
            predicted = own * real + rest * 0.3 * random.standard_normal(real.shape)
        return predicted, real

    def _activations(self, random: np.random.Generator, count: int) -> np.ndarray:
        if self.tail == "uniform":
            return random.uniform(0, 2, count)
        if self.tail == "exponential":
            return random.exponential(1, count)
        return random.lognormal(-(self.tail**2) / 2, self.tail, count)

    def totals(self, random: np.random.Generator, runs: int) -> np.ndarray:
        """Sums by document, float64 [runs, m, 6]."""
        return by_document(self, *self.draw(random, runs))

    def true(self, seed: int = 99, runs: int = 4000, transform=None) -> float:
        """Pearson's r of very many windows."""
        random, whole = np.random.default_rng(seed), np.zeros(SUMS)
        for _ in range(max(1, runs * 50 // self.windows // 500)):
            predicted, real = self.draw(random, 500)
            if transform is not None:
                predicted, real = transform(predicted), transform(real)
            whole += sums(predicted.ravel(), real.ravel(), np.zeros(predicted.size, dtype=np.intp), 1)[0]
        return float(pearson_of(whole))


def by_document(world: World, predicted: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Sums by document, float64 [runs, m, 6], of values [runs, 2 windows, TOKENS]."""
    documents = world.documents()
    places = np.concatenate([documents, documents[-1] + 1 + documents])
    columns = (predicted, real, predicted**2, real**2, predicted * real)
    window = np.stack([np.full(real.shape[:2], float(TOKENS)), *(column.sum(axis=2) for column in columns)], axis=-1)
    return np.einsum("dw,rws->rds", np.eye(places[-1] + 1)[:, places], window)
