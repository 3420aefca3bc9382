"""Read the time until which a command may work."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from interp.domain.errors import InputError

# Slurm sets it for each job: seconds since 1970.
SLURM_END = "SLURM_JOB_END_TIME"
DURATION = re.compile(r"\+(?:(?P<hours>\d{1,5})h)?(?:(?P<minutes>\d{1,5})m)?(?:(?P<seconds>\d{1,7})s)?")
FORMS = "Write +3h50m, 18:30, or 2026-11-30T18:30."


def time_limit(text: str, now: datetime) -> datetime:
    """Return the moment of `+3h50m`, `18:30` (the next) or an ISO time.

    Times without a zone are in that of `now`. Raises InputError.
    """
    if match := DURATION.fullmatch(text):
        parts = {unit: int(count) for unit, count in match.groupdict().items() if count}
        if not parts:
            raise InputError(f"{text!r} is no time.", cure=FORMS)
        return now + timedelta(**parts)
    try:
        if re.fullmatch(r"\d{1,2}:\d{2}", text):
            hour, minute = map(int, text.split(":"))
            found = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
            return found if found > now else found + timedelta(days=1)
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{text!r} is no time.", cure=FORMS) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)


def slurm_time_limit(environment: Mapping[str, str]) -> datetime | None:
    """Return the end of the Slurm job in whose allocation this process runs, or None."""
    text = environment.get(SLURM_END, "")
    if not re.fullmatch(r"\d{1,11}", text) or int(text) == 0:
        return None
    return datetime.fromtimestamp(int(text), UTC)
