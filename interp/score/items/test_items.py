"""Which test contexts are asked about, each window once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interp.domain.evidence import ACTIVE_KINDS, ContextKind, Contexts

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Questions:
    """N distinct windows; `kept[k]` bool [N] says whether a window was kept for reason k. `clusters` intp [N] numbers the documents."""

    contexts: Contexts
    kept: dict[ContextKind, Mask]
    clusters: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.contexts)

    @property
    def positive(self) -> Mask:
        """Firing windows of the uniform and the weighted sample: what recall is measured on."""
        return self.kept[ContextKind.UNIFORM] | self.kept[ContextKind.WEIGHTED]

    @property
    def negative(self) -> Mask:
        """Windows in which the feature does not fire: inactive ones and near misses."""
        return self.kept[ContextKind.INACTIVE] | self.kept[ContextKind.NEAR_MISS]

    @property
    def scored(self) -> Mask:
        """Windows that the value counts; those kept only as top ones are reported apart."""
        return self.positive | self.negative

    def select(self, keep: Mask) -> "Questions":
        """The questions that a boolean mask [N] picks, with their documents numbered anew."""
        _, clusters = np.unique(self.clusters[keep], return_inverse=True)
        return Questions(self.contexts.select(keep), {kind: mask[keep] for kind, mask in self.kept.items()}, clusters.ravel().astype(np.intp))

    def kinds(self) -> list[str]:
        """The reasons for each window, joined: `uniform+weighted`."""
        names = [(kind.name.lower(), mask) for kind, mask in self.kept.items()]
        return ["+".join(name for name, mask in names if mask[row]) for row in range(len(self))]


def questions_of(contexts: Contexts) -> Questions:
    """Windows kept for several reasons are asked about once: a judge would give the same answer, and it would count twice.

    A reason counts only where it is so: a window that was kept as silent and fires is no negative, nor a silent one a positive, whoever kept it.
    """
    keys = np.stack([contexts.documents, contexts.starts.astype(np.uint64)], axis=1)
    _, first, same = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    same = same.ravel()
    windows = contexts.select(first)
    fires = windows.fires()
    kept = {}
    for kind in ContextKind:
        mask = np.zeros(len(first), dtype=np.bool_)
        mask[same[contexts.kinds == kind]] = True
        kept[kind] = mask & (fires if kind in ACTIVE_KINDS else ~fires)
    _, clusters = np.unique(windows.documents, return_inverse=True)
    return Questions(windows, kept, clusters.ravel().astype(np.intp))
