"""Join two ranked lists by reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

# The constant of the paper, which found results to change little with it.
K = 60

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Fused(Generic[Key]):
    """An item of any list, its ranks by list (None without), its score."""

    key: Key
    ranks: tuple[int | None, ...]
    score: float


def fused(*lists: Sequence[Key]) -> list[Fused[Key]]:
    """Return the items of all lists by descending score.

    A score is the sum of 1 / (K + rank) over the lists that have the item. Of equal scores, the one of the best rank comes first, then that of the
    earlier list.
    """
    places = [{key: rank for rank, key in enumerate(one, 1)} for one in lists]
    found = []
    for key in dict.fromkeys(key for one in lists for key in one):
        ranks = tuple(place.get(key) for place in places)
        found.append(Fused(key, ranks, sum(1 / (K + rank) for rank in ranks if rank is not None)))
    return sorted(found, key=lambda item: (-item.score, min(rank for rank in item.ranks if rank is not None)))
