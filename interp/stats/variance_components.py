"""Estimate what the variance of scores is made of, from features scored under crossed conditions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
from numpy.typing import NDArray

from interp.stats.intervals import Bounds, mover_difference

Floats = NDArray[np.float64]
FEATURE, RESIDUAL, CONDITION = "feature", "residual", "condition"
# With fewer features the intervals do not cover what they should (docs/truth.md).
FEWEST_FEATURES = 20
LEVEL = 0.95
# Normal quantiles of a two-sided test at 5% and of a power of 80%.
CRITICAL, POWER = 1.959963984540054, 0.8416212335729143


@dataclass(frozen=True, slots=True)
class Component:
    """One variance component, in squared units of the score.

    name       `feature`, `feature x FACTOR`, `residual`; of condition means, `FACTOR` and `condition`
    estimate   at least 0; `truncated` says that the unbiased estimate was negative
    low, high  its 95% interval, at least 0; None with fewer than 20 features, or without a degree of freedom
    """

    name: str
    estimate: float
    low: float | None
    high: float | None
    truncated: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its 95% interval, None where there is none."""

    value: float
    low: float | None
    high: float | None


class CrossedStudy:
    """Variance components of P features scored under C conditions, each a level of every factor.

    scores   float64 [P, C]  a score of each feature under each condition
    levels   intp [C, K]     the level of each factor, by condition
    factors                  K names

    Model: y_pc = m_c + a_p + Σ_f b_pf(c) + e_pc, with m_c the mean of the condition, a_p the feature's own part, b_pf that of a feature at a level of
    the factor f, and e the rest, interactions of higher order among it. So the covariance of two conditions over features is Σ_k θ_k V_k, V_k one
    where they share the level. The θ_k that fit the observed covariance S by least squares solve Σ_l tr(V_k V_l) θ_l = tr(V_k S): the method of
    moments that is unbiased for any set of conditions, and is the analysis of variance where all levels are crossed. Sources for MINQUE(0): Rao (J.
    Multivar. Anal. 1, 1971); Hartley, Rao and LaMotte (Biometrics 34, 1978). For crossed designs: Brennan (Generalizability Theory, 2001, ch. 3).

    A factor of one level, or one whose levels another factor or the conditions themselves already tell apart, is in `left_out` with the reason.
    Raises ValueError with fewer than two features or conditions, with a score that is not finite, and where nothing varies between conditions.
    """

    def __init__(self, scores: Floats, levels: NDArray[np.integer], factors: Sequence[str]) -> None:
        self.features, self.conditions = scores.shape
        if self.features < 2 or self.conditions < 2:
            raise ValueError("variance components need two features and two conditions: score the same features again with another seed or judge")
        if not np.isfinite(scores).all():
            raise ValueError("a score is missing: leave out features without a score under each condition")
        if levels.shape != (self.conditions, len(factors)):
            raise ValueError("levels needs a row for each condition and a column for each factor")
        self.means = scores.mean(axis=0)
        self._centred = scores - self.means
        self.left_out: dict[str, str] = {}
        everything = np.ones((self.conditions, self.conditions))
        self._patterns = {FEATURE: everything}
        self.factors: tuple[str, ...] = ()
        self._keep(levels, factors)

    def _keep(self, levels: NDArray[np.integer], factors: Sequence[str]) -> None:
        """Take the factors whose part can be told from that of the ones before."""
        residual = np.eye(self.conditions)
        for place, name in enumerate(factors):
            same = (levels[:, place, None] == levels[None, :, place]).astype(np.float64)
            if same.all():
                self.left_out[name] = "it has one level"
            elif _dependent([*self._patterns.values(), residual, same]):
                self.left_out[name] = "its levels coincide with those of other factors, or each condition has its own"
            else:
                self._patterns[f"{FEATURE} x {name}"] = same
                self.factors += (name,)
        self._patterns[RESIDUAL] = residual

    @cached_property
    def covariance(self) -> Floats:
        """Return S, float64 [C, C]: the covariance of conditions over features."""
        found: Floats = self._centred.T @ self._centred / (self.features - 1)
        return found

    @cached_property
    def _forms(self) -> dict[str, Floats]:
        """Return the matrices A_k, float64 [C, C], with θ_k = tr(A_k S)."""
        return _dual(self._patterns)

    @cached_property
    def raw(self) -> dict[str, float]:
        """Return the unbiased estimates of θ, which may be negative."""
        return {name: float((form * self.covariance).sum()) for name, form in self._forms.items()}

    def combination(self, weights: Mapping[str, float]) -> Figure:
        """Return Σ w_k θ_k with its interval, from features alone; not truncated.

        The combination is a mean over features of z'Az. Its positive and negative parts, a = z'A⁺z and b = z'A⁻z, are each like a mean square: an
        interval from χ² with the degrees of freedom that their spread over features shows (Satterthwaite, Biometrics Bull. 2, 1946). MOVER joins both
        by their correlation over features (Zou, Psychol. Methods 12, 2007; of independent mean squares: Graybill and Wang, J. Am. Stat. Assoc. 75,
        1980).
        """
        parts = _split(self._form(weights))
        sides = [self._positive(part) for part in parts]
        (first, bounds), (second, other) = [(float(side.mean()), self._bounds(side, part)) for side, part in zip(sides, parts, strict=True)]
        value = first - second
        if self.features < FEWEST_FEATURES:
            return Figure(value, None, None)
        low, high = mover_difference(first, bounds, second, other, _correlation(*sides))
        return Figure(value, low, high)

    def _positive(self, form: Floats) -> Floats:
        """Return z'Az of each feature, float64 [P].

        The factor P / (P - 1) is for the estimated means.
        """
        found: Floats = np.einsum("pc,cd,pd->p", self._centred, form, self._centred) * (self.features / (self.features - 1))
        return found

    def _bounds(self, squares: Floats, form: Floats) -> Bounds:
        """Return the χ² interval of a mean of squares [P].

        The relative variance of the mean is that of normal scores, corrected by what the squares themselves show: heavier tails count (1 + 30 / P)
        times, since a small sample shows too little of them, and lighter ones P / (P + 150) times. Both constants were chosen by simulation.
        """
        mean = float(squares.mean())
        if mean <= 0:
            return 0.0, 0.0
        product = form @ self.covariance
        normal = float((product * product.T).sum()) / (float(np.trace(product)) ** 2 * (self.features - 1))
        seen = float(squares.var(ddof=1)) / (2 * mean**2 * self.features)
        counted = 1 + 30 / self.features if seen > normal else self.features / (self.features + 150)
        return _chi_squared(mean, 1 / (normal + counted * (seen - normal)))

    def components(self) -> list[Component]:
        """Return the components of a feature's score: feature, feature x factor, residual."""
        return [_component(name, self.combination({name: 1.0})) for name in self._patterns]

    def condition_components(self) -> list[Component]:
        """Return the components of what all features share under a condition.

        A factor's main effect, and `condition`, the rest of the conditions' means. They move every feature alike, so they matter to a mean and not to
        a ranking of features. Intervals take levels as drawn from a normal distribution; two levels leave one degree of freedom, and an upper end a
        thousand times the estimate.
        """
        centre = np.eye(self.conditions) - 1 / self.conditions
        named = {name: centre @ self._patterns[f"{FEATURE} x {name}"] @ centre for name in self.factors}
        forms = _dual(named | {CONDITION: centre})
        noise = self.covariance / self.features
        raw = {name: float(self.means @ form @ self.means - (form * noise).sum()) for name, form in forms.items()}
        patterns = {name: self._patterns[f"{FEATURE} x {name}"] for name in self.factors} | {CONDITION: np.eye(self.conditions)}
        spread = noise + np.sum([max(0.0, raw[name]) * pattern for name, pattern in patterns.items()], axis=0)
        return [_component(name, self._of_means(form, raw[name], spread, noise)) for name, form in forms.items()]

    def _of_means(self, form: Floats, value: float, spread: Floats, noise: Floats) -> Figure:
        """Return a quadratic form of the means with its interval under normality."""
        if self.features < FEWEST_FEATURES:
            return Figure(value, None, None)
        parts = []
        for part in _split(form):
            product = part @ spread
            total = float((product * product.T).sum())
            square = float(self.means @ part @ self.means)
            parts.append((square, _chi_squared(square, float(np.trace(product)) ** 2 / total) if total > 0 and square > 0 else (0.0, 0.0)))
        (first, bounds), (second, other) = parts
        low, high = mover_difference(first, bounds, second, other, 0.0)
        # The features' part of the means is known well, from P - 1 degrees of freedom.
        known = float((form * noise).sum())
        return Figure(value, low - known, high - known)

    def error_weights(self, repeats: Mapping[str, int]) -> dict[str, float]:
        """Return the weights of the components in the error of a feature's mean.

        `repeats` is the number of levels that the mean crosses, 1 where a factor is not named. θ_fp / n_f for each factor, and the residual over the
        product (Brennan 2001, ch. 4): the relative error of a design that crosses all.
        """
        unknown = set(repeats) - set(self.factors)
        if unknown:
            raise ValueError(f"no factor {sorted(unknown)[0]}: the factors are {', '.join(self.factors) or 'none'}")
        each = {name: repeats.get(name, 1) for name in self.factors}
        return {f"{FEATURE} x {name}": 1 / count for name, count in each.items()} | {RESIDUAL: 1 / float(np.prod(list(each.values()) or [1]))}

    def reliability(self, weights: Mapping[str, float]) -> Figure:
        """Return the generalizability coefficient θ_p / (θ_p + error), with its interval.

        `weights` are those of the error (`error_weights`). It is the share of the variance of features' scores that another scoring would find
        again, and the expected squared correlation with the scores of endless repetition. The interval is MOVER's of ln error - ln total, from the
        intervals of both and their correlation over features (`combination`). Sources: Cronbach, Gleser, Nanda and Rajaratnam (The Dependability of
        Behavioral Measurements, 1972); Brennan (2001, ch. 4). Components are untruncated; the coefficient is clipped to 0..1.
        """
        error, total = self.combination(weights), self.combination({FEATURE: 1.0, **weights})
        if error.value <= 0 or total.value <= 0:
            return Figure(1.0 if total.value > 0 else 0.0, None, None)
        value = _unit(1 - error.value / total.value)
        if error.low is None or error.high is None or total.low is None or total.high is None:
            return Figure(value, None, None)
        form = self._form(weights)
        correlation = _correlation(self._positive(form), self._positive(form + self._forms[FEATURE]))
        logs = [(_log(each.value), (_log(low), _log(high))) for each, low, high in ((error, error.low, error.high), (total, total.low, total.high))]
        low, high = mover_difference(*logs[0], *logs[1], correlation)
        return Figure(value, _unit(1 - np.exp(high)), _unit(1 - np.exp(low)))

    def _form(self, weights: Mapping[str, float]) -> Floats:
        found: Floats = np.sum([weight * self._forms[name] for name, weight in weights.items()], axis=0)
        return found


def features_needed(variance: float, difference: float, paired: bool) -> int:
    """Return how many features a dictionary needs to show a difference of means.

    `variance` is that of one feature's score, true differences and error (unpaired: features of two dictionaries, each with this variance), or of
    the difference of two scores of the same feature (paired). Two-sided t test at 5%, power 80%: (z + z')² v / d² with v = 2 variance or variance,
    and Guenther's z²/4 or z²/2 for Student's t (Am. Stat. 35, 1981). Raises ValueError for a difference of 0 or less.
    """
    if difference <= 0:
        raise ValueError("the difference to be told is above 0")
    base = (1 if paired else 2) * max(0.0, variance) * (CRITICAL + POWER) ** 2 / difference**2
    return max(2, ceil(base + CRITICAL**2 / (2 if paired else 4)))


def items_factor_needed(fixed: float, by_items: float, difference: float, features: int, paired: bool) -> float | None:
    """Return by how much the items of each score must grow to tell a difference.

    The variance of a score is `fixed` + `by_items` / factor, as of `features_needed`. None where no number of items suffices: the fixed part alone
    needs more features than there are.
    """
    spare = features - CRITICAL**2 / (2 if paired else 4)
    allowed = spare * difference**2 / ((1 if paired else 2) * (CRITICAL + POWER) ** 2) - max(0.0, fixed)
    return max(0.0, by_items) / allowed if allowed > 0 else None


def _component(name: str, found: Figure) -> Component:
    low, high = (None if end is None else max(0.0, end) for end in (found.low, found.high))
    return Component(name, max(0.0, found.value), low, high, found.value < 0)


def _dependent(patterns: Sequence[Floats]) -> bool:
    flat = np.stack([pattern.ravel() for pattern in patterns])
    return bool(np.linalg.matrix_rank(flat @ flat.T) < len(patterns))


def _dual(patterns: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the dual basis A_k of the V_k, float64 [C, C] each.

    tr(A_k V_l) is 1 where k = l, else 0, and A_k lies in the span of the V.
    """
    stacked = np.stack(list(patterns.values()))
    flat = stacked.reshape(len(stacked), -1)
    return dict(zip(patterns, np.tensordot(np.linalg.pinv(flat @ flat.T), stacked, axes=1), strict=True))


def _split(form: Floats) -> tuple[Floats, Floats]:
    """Return the positive semidefinite A⁺ and A⁻ with A = A⁺ - A⁻."""
    values, vectors = np.linalg.eigh((form + form.T) / 2)
    values[np.abs(values) < 1e-12 * max(1e-300, np.abs(values).max())] = 0.0
    first, second = ((vectors * np.maximum(sign * values, 0)) @ vectors.T for sign in (1, -1))
    return first, second


def _chi_squared(mean: float, degrees: float) -> Bounds:
    """Return the interval of the expectation of a mean square."""
    # Imported here since it takes 0.1 s, and not every process computes an interval.
    from scipy import special

    tail = (1 - LEVEL) / 2
    return mean * degrees / float(special.chdtri(degrees, tail)), mean * degrees / max(float(special.chdtri(degrees, 1 - tail)), 1e-300)


def _correlation(first: Floats, second: Floats) -> float:
    spread = float(first.std() * second.std())
    return float(np.mean((first - first.mean()) * (second - second.mean()))) / spread if spread > 0 else 0.0


def _log(value: float) -> float:
    return float(np.log(max(value, 1e-12)))


def _unit(value: float) -> float:
    return float(min(1.0, max(0.0, value)))
