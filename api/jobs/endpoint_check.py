"""Whether the models that a job names answer, and can do what is asked of them: looked at before the job is stored."""

import time
from collections.abc import Sequence
from threading import Lock

from interp.config.settings import Settings
from interp.domain.errors import PriceUnknownError, PromptTooLongError
from interp.domain.spec import JobSpec, ModelSpec
from interp.llm import pricing
from interp.llm.base import Ability
from interp.llm.probe import SECONDS, ProbeResult, probe_now
from interp.planning.model_requirements import Need

# For all models of a job together, and for the last of them however long the others took.
PROBE_SECONDS = SECONDS
LEAST_SECONDS = 10.0
# What an endpoint said is believed for so long; a refusal is never kept, so that a cure works at once.
KEPT_SECONDS = 60.0
MOST_KEPT = 256


class EndpointProbeCache:
    """What endpoints said in the last minute. Endpoints of the API run in threads: two may ask the same at once, which costs one request more."""

    def __init__(self) -> None:
        self._said: dict[object, tuple[float, ProbeResult]] = {}
        self._lock = Lock()

    def check(self, spec: JobSpec, needs: Sequence[Need], settings: Settings) -> dict[str, int | None]:
        """The context window of each role's model in tokens, None where nobody says.

        Raises EndpointUnreachable, KeyRefused, ModelUnknown, AbilityMissing: what would pause the job refuses it.
        """
        windows: dict[str, int | None] = {}
        deadline = time.monotonic() + PROBE_SECONDS
        for role, abilities in _by_role(needs).items():
            model: ModelSpec = getattr(spec.models, role)
            found = self._ask(settings, model, abilities, max(LEAST_SECONDS, deadline - time.monotonic()))
            windows[role] = model.context_window or found.context_window
        return windows

    def _ask(self, settings: Settings, model: ModelSpec, abilities: frozenset[Ability], seconds: float) -> ProbeResult:
        key = (model.model_dump_json(), abilities, settings.key_of(model.base_url or settings.llm_base_url))
        with self._lock:
            kept = self._said.get(key)
        if kept is not None and time.monotonic() - kept[0] < KEPT_SECONDS:
            return kept[1]
        found = probe_now(settings, model, abilities, seconds)
        with self._lock:
            while len(self._said) >= MOST_KEPT:
                self._said.pop(next(iter(self._said)))
            self._said[key] = (time.monotonic(), found)
        return found


def check_prices(spec: JobSpec, needs: Sequence[Need]) -> None:
    """Raises PriceUnknown where a cap in USD could not be held, since nobody knows what a model costs."""
    if spec.budget.usd is None:
        return
    for role in _by_role(needs):
        model: ModelSpec = getattr(spec.models, role)
        if pricing.rates_of(model, model.base_url or "") is None:
            raise PriceUnknownError(
                f"The job has a cap in USD, and nobody knows what {model.model!r} costs at {model.base_url}.",
                why="The price list does not have it, and the job states none.",
                cure=f'Set models.{role}.price to {{"input": ..., "output": ...}} (USD for a million tokens), or cap calls or tokens instead.',
                role=role,
                model=model.model,
            )


def check_windows(spec: JobSpec, longest: dict[str, int], windows: dict[str, int | None]) -> None:
    """Raises PromptTooLong where the job's own prompts (`longest`, in tokens, by role) will not fit a model's context window."""
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
