"""Report of a check: a dictionary, its fit to a subject, and its faults."""

from dataclasses import dataclass, field
from typing import Literal

# A fault makes the job's results worthless; a warning may.
Severity = Literal["fault", "warning"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its standard error by documents; where either is None, `why` says why."""

    value: float | None
    standard_error: float | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement; `cure` says what to set or to correct."""

    code: str
    severity: Severity
    detail: str
    cure: str


@dataclass(frozen=True, slots=True)
class CheckedDictionary:
    """Family, shapes, arithmetic and metadata of a dictionary, as it is read."""

    name: str
    format: str
    architecture: str
    n_features: int
    d_in: int
    d_out: int
    hook_point: str
    output_point: str
    activation: str
    k: int | None
    input_norm: str
    has_pre_bias: bool
    has_skip: bool
    prepend_bos: bool
    model: str | None
    context: int | None


@dataclass(frozen=True, slots=True)
class CheckedSubject:
    """The subject, as it was opened."""

    name: str
    architecture: str
    layers: int
    vocabulary: int
    context: int
    dtype: str
    backend: str


@dataclass(frozen=True, slots=True)
class CheckFigures:
    """Figures of the sample; losses in nats a token, shares from 0 to 1.

    l0            features that fire at a token, on average
    fvu           fraction of variance unexplained: sum |x - x̂|² / sum |x - mean of x|²
    ce_clean      cross-entropy of the subject's next tokens
    ce_spliced    the same with the reconstruction in place of the activations
    ce_zero       the same with zeros in their place
    ce_recovered  (ce_zero - ce_spliced) / (ce_zero - ce_clean)
    dead_share    features that never fire in the sample
    firing_share  tokens at which a feature fires, on average over the features
    """

    l0: Figure
    fvu: Figure
    ce_clean: Figure
    ce_spliced: Figure
    ce_zero: Figure
    ce_recovered: Figure
    dead_share: Figure
    firing_share: Figure


@dataclass(frozen=True, slots=True)
class Tried:
    """A change to the job or to the dictionary's arithmetic, and the FVU with it."""

    change: str
    fvu: Figure


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Result of a check; `rows` and `tokens` are the sample's, `tried` is ascending by FVU."""

    dictionary: CheckedDictionary
    subject: CheckedSubject
    rows: int
    tokens: int
    figures: CheckFigures
    findings: tuple[Finding, ...] = ()
    tried: tuple[Tried, ...] = field(default=())
