"""Imports without garbage collection, and with it afterwards."""

import gc

import pytest

from interp.observability.import_time import without_collecting


def test_collection_is_off_within_and_on_afterwards() -> None:
    assert gc.isenabled()
    with pytest.raises(ImportError), without_collecting():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()


def test_a_process_that_never_collects_goes_on_so() -> None:
    gc.disable()
    try:
        with without_collecting():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
