"""What a job asked of language models, as answers: usage, calls, budget. Rows in, answers out."""

from collections.abc import Mapping, Sequence
from typing import Any

from api.schemas import AmountAnswer, BudgetAnswer, UsageRow, UsageTotal
from interp.domain.spec import BudgetSpec
from interp.llm.call_store import Amount
from interp.store.llm.call_stats import Group, UsageLine
from interp.store.queue.budgets import BudgetState

NOTHING = AmountAnswer(calls=0, tokens=0, usd=0.0)


def budget(state: BudgetState | None, lines: Sequence[UsageLine]) -> BudgetAnswer:
    """The four amounts. Without a cap nothing is set aside and no sums are kept: then the calls themselves are added up."""
    if state is None or not state.has_cap:
        return BudgetAnswer(caps=AmountAnswer(calls=None, tokens=None, usd=None), spent=spent(lines), reserved=NOTHING, unsettled=NOTHING)
    return BudgetAnswer(caps=caps(state.caps), spent=_amount(state.spent), reserved=_amount(state.reserved), unsettled=_amount(state.unsettled))


def caps(given: BudgetSpec) -> AmountAnswer:
    return AmountAnswer(calls=given.calls, tokens=given.tokens, usd=given.usd)


def spent(lines: Sequence[UsageLine]) -> AmountAnswer:
    """Attempts, tokens and dollars of recorded calls; dollars are unknown as soon as some call's are."""
    costs = [line.cost_usd for line in lines]
    return AmountAnswer(
        calls=sum(line.attempts for line in lines),
        tokens=sum(line.prompt_tokens + line.completion_tokens for line in lines),
        usd=None if any(cost is None for cost in costs) else sum(cost for cost in costs if cost is not None),
    )


def usage_row(line: UsageLine, p50: Mapping[Group, float], p95: Mapping[Group, float]) -> UsageRow:
    group = (line.stage, line.purpose, line.model, line.base_url, line.transport)
    return UsageRow(
        stage=line.stage,
        purpose=line.purpose,
        model=line.model,
        base_url=line.base_url,
        transport=line.transport,
        calls=line.questions,
        answered=line.answered,
        unanswered=line.questions - line.answered,
        attempts=line.attempts,
        prompt_tokens=line.prompt_tokens,
        completion_tokens=line.completion_tokens,
        tokens_known=line.tokens_known,
        cost_usd=line.cost_usd,
        priced_usd=line.priced_usd,
        p50_seconds=p50.get(group),
        p95_seconds=p95.get(group),
    )


def usage_total(rows: Sequence[UsageRow]) -> UsageTotal:
    """All rows added up; the cost is unknown as soon as one row's is."""
    counted: dict[str, Any] = {
        name: sum(getattr(row, name) for row in rows)
        for name in ("calls", "answered", "unanswered", "attempts", "prompt_tokens", "completion_tokens")
    }
    costs = [row.cost_usd for row in rows]
    known = None if any(cost is None for cost in costs) else sum(cost for cost in costs if cost is not None)
    return UsageTotal(**counted, cost_usd=known, priced_usd=sum(row.priced_usd for row in rows))


def _amount(found: Amount) -> AmountAnswer:
    return AmountAnswer(calls=found.calls, tokens=found.tokens, usd=found.usd)
