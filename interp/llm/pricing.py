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

    def cost(self, usage: Usage) -> float:
        return (usage.prompt_tokens * self.input + usage.completion_tokens * self.output) / MILLION


def rates_of(spec: ModelSpec, base_url: str) -> Rates | None:
    """Return a model's rates, set or listed, halved for OpenAI's batches; None if unknown."""
    if spec.price is not None:
        return Rates(spec.price.input, spec.price.output)
    return _listed(spec.model, base_url.rstrip("/"), spec.transport == "batch")


@lru_cache(maxsize=1024)
def _listed(model: str, base_url: str, is_batch: bool) -> Rates | None:
    """Return listed rates; the list knows providers by URL, whatever the model's name."""
    # Imported only for a price: the list comes with an HTTP client.
    from genai_prices import Usage as ListedUsage
    from genai_prices import calc_price

    try:
        found = calc_price(ListedUsage(input_tokens=SAMPLE, output_tokens=SAMPLE), model, provider_api_url=base_url)
    except (LookupError, ValueError):
        return None
    share = BATCH_SHARE if is_batch and found.provider.id == "openai" else 1.0
    rates = Rates(float(found.input_price) / SAMPLE * MILLION * share, float(found.output_price) / SAMPLE * MILLION * share)
    is_listed_as_nothing = rates.input == 0 and rates.output == 0 and not model.endswith(FREE)
    return None if is_listed_as_nothing else rates
