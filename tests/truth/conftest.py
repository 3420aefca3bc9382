"""The planted dictionary for all tests here."""

from tests.truth.fixtures import world

__all__ = ["world"]
