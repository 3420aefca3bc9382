"""What all calls to language models add up to, kept as they are recorded: nobody has to add up millions of rows, and retention takes nothing away."""

import random
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from interp.store.db.bulk import upsert
from interp.store.db.tables import LlmTotalRow

PICO = 10**12
# A process adds to one of so many rows of a model: with one row for all of them each transaction would wait for the one before.
SLOTS = 32
SLOT = random.randrange(SLOTS)
COUNTS = ("calls", "attempts", "prompt_tokens", "completion_tokens", "picodollars", "unpriced")


def add(session: Session, calls: Iterable[Mapping[str, Any]]) -> None:
    """Adds rows of `llm_calls` to the sums. In the order of their keys, so that two writers cannot deadlock."""
    sums: dict[tuple[str, str], dict[str, int]] = {}
    for call in calls:
        total = sums.setdefault((call["model"], call["status"]), dict.fromkeys(COUNTS, 0))
        total["calls"] += 1
        for name in ("attempts", "prompt_tokens", "completion_tokens"):
            total[name] += call[name]
        if call["cost_usd"] is None:
            total["unpriced"] += 1
        else:
            total["picodollars"] += round(call["cost_usd"] * PICO)
    rows = [{"model": model, "status": status, "slot": SLOT, **total} for (model, status), total in sorted(sums.items())]
    upsert(session, LlmTotalRow, rows, keys=["model", "status", "slot"], update=[], assign=_added)


def _added(new: Any) -> dict[str, ColumnElement[Any]]:
    return {name: getattr(LlmTotalRow, name) + new[name] for name in COUNTS}
