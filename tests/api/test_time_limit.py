"""Times until which a command works, in the forms that people and Slurm write."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from api.cli.time_limit import SLURM_END, slurm_time_limit, time_limit
from interp.domain.errors import InputError

NOW = datetime(2026, 3, 1, 17, 0, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("text", "hours"),
    [("+3h30m", 3.5), ("+90m", 1.5), ("+3600s", 1), ("18:30", 1.5), ("16:00", 23), ("2026-03-01T19:00", 2), ("2026-03-01T19:00Z", 4)],
)
def test_forms_of_a_time(text: str, hours: float) -> None:
    assert (time_limit(text, NOW) - NOW).total_seconds() == hours * 3600


@pytest.mark.parametrize("text", ["", "+", "soon", "25:00", "+1d", "3h", "+-1h", "2026-13-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is no time"):
        time_limit(text, NOW)


def test_the_end_of_a_slurm_job() -> None:
    assert slurm_time_limit({SLURM_END: "1772377200"}) == datetime(2026, 3, 1, 15, 0, tzinfo=UTC)
    assert [slurm_time_limit(given) for given in ({}, {SLURM_END: ""}, {SLURM_END: "0"}, {SLURM_END: "Unknown"})] == [None] * 4
