"""What the `finish_reason` of a reply means: one table of every word that servers are known to send."""

from enum import Enum


class Ending(Enum):
    """ANSWER: the model ended by itself. LENGTH: it was cut short. REFUSAL: it, or a filter, declined. FAILURE: the server broke off, and may do
    better. OTHER: no answer, for a reason that is not known to pass."""

    ANSWER = "answer"
    LENGTH = "length"
    REFUSAL = "refusal"
    FAILURE = "failure"
    OTHER = "other"


# Words in lower case, by who sends them. Not here: what is not known, which is OTHER.
ENDINGS: dict[str, Ending] = dict.fromkeys(
    (
        "stop",  # OpenAI and most; Gemini in capitals
        "eos",  # Together
        "eos_token",  # text-generation-inference
        "end_turn",  # Anthropic, Bedrock
        "stop_sequence",  # Anthropic, text-generation-inference
        "complete",  # Cohere
        "eosfound",  # LM Studio
        "stopstringfound",
    ),
    Ending.ANSWER,
)
ENDINGS |= dict.fromkeys(
    (
        "length",
        "max_tokens",  # Anthropic, Cohere; Gemini in capitals
        "max_output_tokens",
        "model_length",  # Mistral
        "model_context_window_exceeded",  # Anthropic
        "context_length_exceeded",
        "maxpredictedtokensreached",  # LM Studio
        "contextlengthreached",
    ),
    Ending.LENGTH,
)
ENDINGS |= dict.fromkeys(
    (
        "content_filter",
        "content_filtered",  # Bedrock
        "guardrail_intervened",
        "refusal",  # Anthropic
        "sensitive",  # z.ai
        "error_toxic",  # Cohere
        "safety",  # Gemini, with those below
        "recitation",
        "language",
        "blocklist",
        "prohibited_content",
        "spii",
    ),
    Ending.REFUSAL,
)
ENDINGS |= dict.fromkeys(
    (
        "error",  # OpenRouter, Mistral, vLLM, Cohere
        "abort",  # vLLM, SGLang
        "aborted",
        "cancelled",
        "canceled",
        "user_cancel",  # Cohere, with the two below
        "error_limit",
        "timeout",
        "network_error",  # z.ai
        "insufficient_system_resource",  # DeepSeek
        "modelunloaded",  # LM Studio
        "failed",
    ),
    Ending.FAILURE,
)


def ending_of(word: object, has_text: bool) -> Ending:
    """What a `finish_reason` says of its reply.

    None and the empty string say nothing: some servers set it in streams alone. Then a reply with a text is an answer, since its reader still
    wants it whole, and one without is none.
    """
    if word is None or word == "":
        return Ending.ANSWER if has_text else Ending.OTHER
    if not isinstance(word, str):
        return Ending.OTHER
    name = word.partition(":")[0].strip().lower()  # `content_filter: PROHIBITED_CONTENT`
    return ENDINGS.get(name, Ending.OTHER)
