"""Where a dictionary says that it was trained, there alone it counts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interp.dictionary.canonical import Positions
from interp.dictionary.formats.saelens import CURE, Metadata
from interp.domain.errors import DictionaryError
from interp.security.foreign_config import typed
from tests.dictionary import files


def saelens_positions(metadata: dict[str, Any]) -> Positions:
    return typed(Metadata, metadata, "cfg.json", DictionaryError, CURE).positions


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (None, [0, 1, 2, 3, 4, 5]),
        ([None], [0, 1, 2, 3, 4, 5]),
        ([2], [0, 1]),
        ([1, None], [1, 2, 3, 4, 5]),
        ([1, -1], [1, 2, 3, 4]),
        ([0, 6, 2], [0, 2, 4]),
    ],
)
def test_a_slice_of_positions_is_that_of_saelens(bounds: Any, expected: list[int]) -> None:
    found = saelens_positions({"seqpos_slice": bounds})
    assert np.flatnonzero(found.mask(6, 6)).tolist() == expected == list(range(6)[slice(*(bounds or [None]))])


def test_what_the_files_say(tmp_path: Path) -> None:
    said = {"prepend_bos": False, "exclude_special_tokens": [5, 2, 5], "seqpos_slice": [3, None]}
    folder = files.saelens(tmp_path / "sae", "standard", files.standard_tensors(), metadata=said)
    expected = Positions(prepend_bos=False, excluded_tokens=(2, 5), start=3)
    assert files.opened(folder).positions == expected
    old = {"hook_point": files.HOOK_POINT, "d_in": files.WIDTH, "d_sae": files.FEATURES} | said
    (folder / "cfg.json").write_text(json.dumps(old), encoding="utf-8")
    assert files.opened(folder).positions == expected
    plain = files.saelens(tmp_path / "plain", "standard", files.standard_tensors(), metadata={"exclude_special_tokens": True})
    assert files.opened(plain).positions == Positions()


@pytest.mark.parametrize(
    "said",
    [
        {"prepend_bos": "no"},
        {"exclude_special_tokens": "all"},
        {"exclude_special_tokens": [1.5]},
        {"exclude_special_tokens": [-1]},
        {"seqpos_slice": 3},
        {"seqpos_slice": [0, 4, 0]},
        {"seqpos_slice": ["a"]},
        {"seqpos_slice": [1, 2, 3, 4]},
        {"seqpos_slice": [10**30]},
    ],
)
def test_what_cannot_be_read_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(DictionaryError) as refused:
        saelens_positions(said)
    assert refused.value.cure
