"""Some hundred requests made from the OpenAPI document: each is answered or refused. `make fuzz` sends 20,000."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from interp.config.settings import Settings
from tests.security.generated import attack

REQUESTS = 300


# `attack` says why.
LEFT_OUT = {"GET /readyz", "POST /v1/keys"}


def test_requests_from_the_document_are_answered_or_refused(
    service_settings: Settings, store: Engine, record_property: Callable[[str, object], None]
) -> None:
    tally = attack(service_settings, REQUESTS, seed=0)
    counts = f"{tally.requests} requests, {len(tally.asked)} of {len(tally.asked | tally.missed)} operations, {tally.of_class(5)} answers of 5xx"
    record_property("counts", f"Requests from the OpenAPI document on {store.dialect.name}: {counts}.")
    assert tally.missed == LEFT_OUT
    assert tally.faults == []
    assert tally.of_class(5) == 0
    assert tally.requests >= REQUESTS / 2
    assert tally.of_class(2) > 0 < tally.of_class(4)


@pytest.mark.parametrize("service_settings", ["sqlite"], indirect=True)
def test_a_defect_is_found(service_settings: Settings, store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_: object) -> None:
        raise KeyError("a defect")

    # Listings of runs: most requests for one are valid, whichever are drawn.
    monkeypatch.setattr("api.reads.runs.stored.page", defect)
    tally = attack(service_settings, 60, seed=0)
    assert tally.faults
    assert all("/runs" in fault for fault in tally.faults)
