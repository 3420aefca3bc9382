"""Price tokens by model settings or the list of `genai-prices`; unknown is None, never 0."""

from dataclasses import dataclass
from functools import lru_cache

from interp.domain.spec import ModelSpec
from interp.llm.base import Usage

MILLION = 1_000_000
SAMPLE = 10_000  # tokens for which the list is asked: below every tier of long prompts
BATCH_SHARE = 0.5  # OpenAI: "50% cost discount compared to synchronous APIs" (platform.openai.com/docs/guides/batch)
FREE = ":free"


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens."""

    input: float
    output: float
    cached_input: float | None = None

    def cost(self, usage: Usage) -> float:
        """Return the cost in USD; cached tokens cost the full rate where theirs is unknown."""
        cached = self.input if self.cached_input is None else self.cached_input
        read = usage.prompt_tokens - usage.cached_tokens
        return (read * self.input + usage.cached_tokens * cached + usage.completion_tokens * self.output) / MILLION


def rates_of(spec: ModelSpec, base_url: str) -> Rates | None:
    """Return a model's rates, set or listed, halved for OpenAI's batches; None if unknown.

    A runner without a server has those that are set alone.
    """
    if spec.price is not None:
        return Rates(spec.price.input, spec.price.output, spec.price.cached_input)
    if spec.transport == "files":
        return None
    return _listed(spec.model, base_url.rstrip("/"), spec.transport == "batch")


@lru_cache(maxsize=1024)
def _listed(model: str, base_url: str, is_batch: bool) -> Rates | None:
    """Return listed rates; the list knows providers by URL, whatever the model's name."""
    # Imported only for a price: the list comes with an HTTP client.
    from genai_prices import Usage as ListedUsage
    from genai_prices import calc_price

    try:
        found = calc_price(ListedUsage(input_tokens=SAMPLE, output_tokens=SAMPLE), model, provider_api_url=base_url)
        cached = calc_price(ListedUsage(input_tokens=SAMPLE, cache_read_tokens=SAMPLE), model, provider_api_url=base_url)
    except (LookupError, ValueError):
        return None
    share = BATCH_SHARE if is_batch and found.provider.id == "openai" else 1.0
    rates = Rates(*(float(price) / SAMPLE * MILLION * share for price in (found.input_price, found.output_price, cached.input_price)))
    is_listed_as_nothing = rates.input == 0 and rates.output == 0 and not model.endswith(FREE)
    return None if is_listed_as_nothing else rates
