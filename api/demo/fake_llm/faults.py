"""Define the transient faults of a scripted endpoint."""

from dataclasses import dataclass, fields
from typing import Any

from api.demo.fake_llm.texts import draw

# Mixed faults are for whole jobs, whose clients wait for the end of a stall.
MIXED_STALL_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares of requests with a fault.

    Each request draws its own, so a retry most likely succeeds.

    rate_limited            429 with `Retry-After: retry_after_seconds`; `_silently`: without the header
    server_error            500
    dropped                 the connection closes before the reply; `_midway`: within its body
    stalled                 the reply comes after `stall_seconds`
    truncated_body          half of the body, with a Content-Length that fits the half
    invalid_json            a reply in words that is not JSON
    missing_verdicts        one of the requested answers is left out; `extra_verdicts`: one is added
    refused                 `refusal` instead of `content`
    wrong_usage             token counts are negative, absurd, or missing
    slow                    the body comes in ten pieces over `slow_seconds`
    cut_short               half of the content, `finish_reason: length`
    """

    rate_limited: float = 0.0
    rate_limited_silently: float = 0.0
    server_error: float = 0.0
    dropped: float = 0.0
    dropped_midway: float = 0.0
    stalled: float = 0.0
    truncated_body: float = 0.0
    invalid_json: float = 0.0
    missing_verdicts: float = 0.0
    extra_verdicts: float = 0.0
    refused: float = 0.0
    wrong_usage: float = 0.0
    slow: float = 0.0
    cut_short: float = 0.0
    retry_after_seconds: float = 0.05
    stall_seconds: float = 3600.0
    slow_seconds: float = 0.2

    @classmethod
    def mixed(cls, share: float, **others: Any) -> "Faults":
        """Return equal shares of all transient faults, in sum `share`, with fields `others`."""
        if not 0 <= share <= 1:
            raise ValueError(f"a share lies between 0 and 1, and {share} does not")
        return cls(**{name: share / len(PASSING) for name in PASSING} | {"stall_seconds": MIXED_STALL_SECONDS} | others)

    def drawn(self, seed: int, number: int) -> str | None:
        """Return the transient fault of the `number`th request; None for most."""
        chance = draw(seed, number)
        for name in PASSING:
            chance -= getattr(self, name)
            if chance < 0:
                return name
        return None


PASSING = tuple(field.name for field in fields(Faults) if not field.name.endswith("_seconds"))
