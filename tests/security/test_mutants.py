"""Valid weights, configs and tokenizers with some bytes or fields changed: opened or refused, in bounded time and memory. `make fuzz` does more."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interp.planning import preflight
from tests.security.mutants import CORPORA, DICTIONARIES, TOKENIZERS, Case, cases
from tests.security.mutating import attempt, begin

NAMES = (*DICTIONARIES, *(f"subject, {name}" for name in TOKENIZERS), "neurons", *(f"corpus, {name}" for name in CORPORA))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    return cases(tmp_path_factory.mktemp("cases"))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_changed_was_accepted(found: dict[str, Case], name: str) -> None:
    preflight.check(found[name].job)
    begin(found[name])


@pytest.mark.parametrize("name", NAMES)
@given(chance=st.randoms(use_true_random=False))
@settings(max_examples=25, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_mutants(found: dict[str, Case], name: str, chance: random.Random) -> None:
    outcome = attempt(found[name], chance)
    assert not outcome.fault
