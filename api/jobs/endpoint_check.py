"""Check that a job's models answer and have the needed abilities, before it is stored."""

import time
from collections.abc import Sequence
from threading import Lock

from interp.config.settings import Settings
from interp.domain.errors import InputError, PriceUnknownError, PromptTooLongError
from interp.domain.spec import BudgetSpec, ExplainerSpec, JobSpec, ModelSpec
from interp.llm import pricing
from interp.llm.base import Ability
from interp.llm.probe import SECONDS, probe_now
from interp.planning.model_requirements import Need

# Seconds for all models of a job together, and least seconds per model.
PROBE_SECONDS = SECONDS
MIN_PROBE_SECONDS = 10.0
# Seconds that a result is kept. Refusals are not kept, so that a cure works at once.
KEEP_SECONDS = 60.0
MAX_KEPT = 256


class EndpointProbeCache:
    """A cache of recent probe results; threads may probe the same endpoint twice."""

    def __init__(self) -> None:
        self._results: dict[object, tuple[float, int | None]] = {}
        self._lock = Lock()

    def check(self, spec: JobSpec, needs: Sequence[Need], settings: Settings) -> dict[str, int | None]:
        """Return the context window of each role's model in tokens, None where unknown.

        A model that is asked by files has no endpoint to probe. Raises EndpointUnreachableError, KeyRefusedError, ModelUnknownError and
        AbilityMissingError, which would otherwise pause the job.
        """
        windows: dict[str, int | None] = {}
        deadline = time.monotonic() + PROBE_SECONDS
        for role, abilities in _by_role(needs).items():
            model: ModelSpec = getattr(spec.models, role)
            if model.transport == "files":
                windows[role] = model.context_window
                continue
            found = self._ask(settings, model, abilities, max(MIN_PROBE_SECONDS, deadline - time.monotonic()))
            windows[role] = model.context_window or found
        return windows

    def _ask(self, settings: Settings, model: ModelSpec, abilities: frozenset[Ability], seconds: float) -> int | None:
        key = (model.model_dump_json(), abilities, settings.key_of(model.base_url or settings.llm_base_url))
        with self._lock:
            kept = self._results.get(key)
        if kept is not None and time.monotonic() - kept[0] < KEEP_SECONDS:
            return kept[1]
        found = probe_now(settings, model, abilities, seconds)
        with self._lock:
            while len(self._results) >= MAX_KEPT:
                self._results.pop(next(iter(self._results)))
            self._results[key] = (time.monotonic(), found)
        return found


def check_prices(spec: JobSpec, needs: Sequence[Need]) -> None:
    """Raise PriceUnknownError for a cap in USD and an unknown price.

    Raises InputError for a cap in tokens where an explainer's endpoint may take any number.
    """
    for place, explainer in enumerate(spec.explainers):
        if explainer.url is not None:
            _check_caps(spec.budget, explainer, f"explainers[{place}]")
    if spec.budget.usd is None:
        return
    for role in _by_role(needs):
        model: ModelSpec = getattr(spec.models, role)
        if pricing.rates_of(model, model.endpoint("")) is None:
            raise PriceUnknownError(
                f"The job has a cap in USD, and the price of {model.model!r} at {model.endpoint('')} is unknown.",
                why="The price list does not have it, and the job states none.",
                cure=f'Set models.{role}.price to {{"input": ..., "output": ...}} (USD for a million tokens), or cap calls or tokens instead.',
                role=role,
                model=model.model,
            )


def _check_caps(budget: BudgetSpec, explainer: ExplainerSpec, where: str) -> None:
    if budget.usd is not None and explainer.price is None:
        raise PriceUnknownError(
            f"The job has a cap in USD, and the price of a call to {explainer.url} is unknown.",
            cure=f"Set {where}.price to the most USD that a call costs (0 for nothing), or cap calls instead.",
        )
    if budget.tokens is not None and explainer.most_tokens is None:
        raise InputError(
            f"The job has a cap in tokens, and how many a call to {explainer.url} takes is unknown.",
            cure=f"Set {where}.most_tokens to the most that a call takes (0 where its tokens do not count), or cap calls or USD instead.",
        )


def check_windows(spec: JobSpec, longest: dict[str, int], windows: dict[str, int | None]) -> None:
    """Raise PromptTooLongError if the longest prompts (tokens by role) exceed a model's window."""
    for role, tokens in longest.items():
        window = windows.get(role)
        if window is not None and tokens > window:
            model: ModelSpec = getattr(spec.models, role)
            raise PromptTooLongError(
                f"Prompts of about {tokens:,} tokens are longer than the window of {model.model!r}, {window:,} tokens.",
                why=f"Counted on prompts that the job would send to models.{role}.",
                cure="Show fewer contexts (contexts of explainers, per_prompt of scorers), collect shorter ones (collection.window), or take a model "
                "with a longer window; where the endpoint misstates it, set context_window.",
                role=role,
                tokens=tokens,
                window=window,
            )


def _by_role(needs: Sequence[Need]) -> dict[str, frozenset[Ability]]:
    found: dict[str, frozenset[Ability]] = {}
    for need in needs:
        found[need.role] = found.get(need.role, frozenset()) | need.abilities
    return found
