"""Imports without garbage collection, and with it afterwards."""

import gc
import importlib
import sys
import weakref

import pytest

from interp.observability.import_time import without_collecting


def test_collection_is_off_within_and_on_afterwards() -> None:
    assert gc.isenabled()
    with pytest.raises(ImportError), without_collecting():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()


def test_what_is_alive_at_an_import_is_collected_later() -> None:
    class Ring:
        """An object that only garbage collection ends, as engines with their connections are."""

    ring = Ring()
    ring.self = ring
    gone = weakref.ref(ring)
    with without_collecting():
        sys.modules.pop("pydoc_data.topics", None)
        importlib.import_module("pydoc_data.topics")
    del ring
    gc.collect()
    assert gone() is None


def test_a_process_that_never_collects_goes_on_so() -> None:
    gc.disable()
    try:
        with without_collecting():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
