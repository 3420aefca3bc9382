"""Define the test set of a feature: distinct windows with the right answers."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import ACTIVE_KINDS, ContextKind, Contexts, Split, Statistics

Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

DECILES = 10


@dataclass(frozen=True, slots=True)
class TestSet:
    """Columns of N questions about distinct windows of one feature.

    contexts   the windows
    kinds      why each was kept, joined: `uniform+weighted`
    groups     bool [N] each: the windows that were kept for one reason, by its name
    truth      bool [N]  the right answer
    positive   bool [N]  firing windows of the uniform and the weighted sample, on which recall is measured
    negative   bool [N]  silent windows, inactive ones and near misses; windows of neither are reported separately
    clusters   intp [N]  documents, numbered
    strengths  float32 [N]  the largest activation of each window
    rate       share of all test windows in which the feature fires; None where unknown, or where the question is not about firing
    ceiling    the largest activation of the feature; 0 where unknown: then the largest of the windows is used
    """

    __test__ = False

    contexts: Contexts
    kinds: list[str]
    groups: dict[str, Mask]
    truth: Mask
    positive: Mask
    negative: Mask
    clusters: Rows
    strengths: NDArray[np.float32]
    rate: float | None = None
    ceiling: float = 0.0

    @classmethod
    def of(cls, contexts: Contexts, statistics: Statistics | None = None) -> "TestSet":
        """Return the question "does the feature fire in the window?" about each window.

        A window kept for several reasons is asked about once, so that it counts once. A reason counts only where it is true: a window that was kept
        as silent and fires is no negative, nor a silent one a positive.
        """
        keys = np.stack([contexts.documents, contexts.starts.astype(np.uint64)], axis=1)
        _, first, same = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        windows = contexts.select(first)
        fires = windows.fires()
        groups = {}
        for kind in ContextKind:
            mask = np.zeros(len(first), dtype=np.bool_)
            mask[same.ravel()[contexts.kinds == kind]] = True
            groups[kind.name.lower()] = mask & (fires if kind in ACTIVE_KINDS else ~fires)
        return cls(
            contexts=windows,
            kinds=["+".join(name for name, mask in groups.items() if mask[row]) for row in range(len(first))],
            groups=groups,
            truth=fires,
            positive=groups["uniform"] | groups["weighted"],
            negative=groups["inactive"] | groups["near_miss"],
            clusters=_numbered(windows.documents),
            strengths=windows.maxima(),
            rate=None if statistics is None or not statistics.windows_seen[Split.TEST] else statistics.window_density(Split.TEST),
            ceiling=0.0 if statistics is None else statistics.max_activation,
        )

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def scored(self) -> Mask:
        """Return the windows that the value counts, bool [N]."""
        return self.positive | self.negative

    @property
    def documents(self) -> int:
        return int(self.clusters.max(initial=-1)) + 1

    def membership(self) -> NDArray[np.float64]:
        """Return 0 or 1 per window and document, float64 [N, m], to sum over documents."""
        return np.eye(self.documents)[self.clusters]

    def select(self, rows: Rows | Mask) -> "TestSet":
        """Return the questions of these rows or mask [N], with documents renumbered."""
        chosen = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return replace(
            self,
            contexts=self.contexts.select(chosen),
            kinds=[self.kinds[row] for row in chosen],
            groups={name: mask[chosen] for name, mask in self.groups.items()},
            clusters=_numbered(self.clusters[chosen]),
            **{name: getattr(self, name)[chosen] for name in ("truth", "positive", "negative", "strengths")},
        )

    def deciles(self, among: Mask) -> list[Rows]:
        """Return the firing rows in the mask `among` [N] in ten parts, weakest first."""
        rows = np.flatnonzero(self.positive & among)
        return np.array_split(rows[np.argsort(self.strengths[rows], kind="stable")], DECILES)


def _numbered(values: NDArray[np.integer]) -> Rows:
    numbered: Rows = np.unique(values, return_inverse=True)[1].ravel().astype(np.intp)
    return numbered
