"""Build the answers of language model usage and budgets."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from api.schemas.jobs import AmountAnswer, BudgetAnswer
from api.schemas.usage import UsageRow, UsageTotal
from interp.store.llm.call_stats import Group, UsageLine
from interp.store.queue.budgets import BudgetState

NOTHING = AmountAnswer(calls=0, tokens=0, usd=0.0)


def budget_answer(state: BudgetState | None, lines: Sequence[UsageLine]) -> BudgetAnswer:
    """Return a budget's four amounts; without a cap, the spent one sums the calls."""
    if state is not None and state.has_cap:
        return BudgetAnswer.model_validate(state)
    spent = AmountAnswer(
        calls=sum(line.attempts for line in lines),
        tokens=sum(line.prompt_tokens + line.completion_tokens for line in lines),
        usd=total_cost(line.cost_usd for line in lines),
    )
    return BudgetAnswer(caps=AmountAnswer(calls=None, tokens=None, usd=None), spent=spent, reserved=NOTHING, unsettled=NOTHING)


def usage_row(line: UsageLine, p50: Mapping[Group, float], p95: Mapping[Group, float]) -> UsageRow:
    group = line.stage, line.purpose, line.model, line.base_url, line.transport
    unanswered = line.questions - line.answered
    return UsageRow.of(line, calls=line.questions, unanswered=unanswered, p50_seconds=p50.get(group), p95_seconds=p95.get(group))


def usage_total(rows: Sequence[UsageRow]) -> UsageTotal:
    """Return the sum of all rows; its cost is unknown if any row's is."""
    counts: dict[str, Any] = {name: sum(getattr(row, name) for row in rows) for name in UsageTotal.model_fields if name != "cost_usd"}
    return UsageTotal(**counts, cost_usd=total_cost(row.cost_usd for row in rows))


def total_cost(costs: Iterable[float | None]) -> float | None:
    """Return the sum of some costs; None if any is unknown."""
    total = 0.0
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total
