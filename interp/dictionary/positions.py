"""Which positions of a row a dictionary was trained on, and so counts on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interp.domain.errors import DictionaryError

# Python ints beyond this are no positions or tokens of any model.
LARGEST = 2**31


@dataclass(frozen=True, slots=True)
class Positions:
    """Where a dictionary's activations count. Special tokens never count, whatever is said here.

    prepend_bos      whether rows begin with the BOS
    excluded_tokens  ids at which nothing counts
    start stop step  the slice of a row's positions that counts, BOS included, as Python slices
    """

    prepend_bos: bool = True
    excluded_tokens: tuple[int, ...] = ()
    start: int | None = None
    stop: int | None = None
    step: int | None = None

    def mask(self, length: int, row_tokens: int) -> NDArray[np.bool_]:
        """bool `[length]`: the positions that count in rows of `row_tokens` tokens; negative bounds count from that length."""
        counted = np.zeros(max(length, row_tokens), dtype=np.bool_)
        counted[slice(*slice(self.start, self.stop, self.step).indices(row_tokens))] = True
        return counted[:length]

    def identity(self) -> dict[str, Any]:
        """What of it decides evidence."""
        return {
            "prepend_bos": self.prepend_bos,
            "excluded_tokens": list(self.excluded_tokens),
            "seqpos_slice": [self.start, self.stop, self.step],
        }


EVERYWHERE = Positions()


def saelens_positions(metadata: Mapping[str, Any]) -> Positions:
    """From SAELens' `prepend_bos`, `exclude_special_tokens` (true, or ids) and `seqpos_slice` (start, stop, step). Raises DictionaryError.

    Source: `ActivationsStore` of SAELens 6 (training/activations_store.py), which slices and masks so before it trains.
    """
    prepend = metadata.get("prepend_bos")
    if prepend is not None and not isinstance(prepend, bool):
        raise _unreadable("prepend_bos", prepend, "true or false")
    excluded = metadata.get("exclude_special_tokens")
    ids = excluded if isinstance(excluded, list) else []
    if excluded is not None and not isinstance(excluded, bool | list):
        raise _unreadable("exclude_special_tokens", excluded, "true, false or a list of token ids")
    if not all(_is_int(token) and token >= 0 for token in ids):
        raise _unreadable("exclude_special_tokens", excluded, "a list of token ids")
    bounds = metadata.get("seqpos_slice")
    bounds = [] if bounds is None else bounds
    if not isinstance(bounds, list) or len(bounds) > 3 or not all(bound is None or _is_int(bound) for bound in bounds):
        raise _unreadable("seqpos_slice", bounds, "a list of up to three numbers or nulls")
    # As in Python, a slice of one number is its stop.
    start, stop, step = (None, *bounds, None) if len(bounds) == 1 else (*bounds, None, None, None)[:3]
    if step is not None and step < 1:
        raise _unreadable("seqpos_slice", bounds, "a slice with a step of 1 or more")
    return Positions(prepend is not False, tuple(sorted(set(ids))), start, stop, step)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST


def _unreadable(name: str, value: Any, wanted: str) -> DictionaryError:
    return DictionaryError(
        f"The dictionary's {name} cannot be read: {str(value)[:80]}.", why=f"It should be {wanted}.", cure="Correct it in the dictionary's config."
    )
