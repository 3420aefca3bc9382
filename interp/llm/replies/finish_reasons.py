"""The meaning of a reply's `finish_reason`: one table of every word that servers are known to send."""

from enum import Enum


class Ending(Enum):
    """How a reply ended.

    ANSWER: by itself. LENGTH: cut short. REFUSAL: declined by the model or a filter. FAILURE: broken off by the server, and may succeed when asked
    again. OTHER: no answer, for a reason that is not known to pass.
    """

    ANSWER = "answer"
    LENGTH = "length"
    REFUSAL = "refusal"
    FAILURE = "failure"
    OTHER = "other"


# In lower case, by who sends them. What is not here is OTHER.
_WORDS = {
    Ending.ANSWER: (
        "stop",  # OpenAI and most; Gemini in capitals
        "eos eos_token",  # Together, text-generation-inference
        "end_turn stop_sequence",  # Anthropic, Bedrock
        "complete",  # Cohere
        "eosfound stopstringfound",  # LM Studio
    ),
    Ending.LENGTH: (
        "length",
        "max_tokens max_output_tokens",  # Anthropic, Cohere; Gemini in capitals
        "model_length",  # Mistral
        "model_context_window_exceeded context_length_exceeded",  # Anthropic
        "maxpredictedtokensreached contextlengthreached",  # LM Studio
    ),
    Ending.REFUSAL: (
        "content_filter",
        "content_filtered guardrail_intervened",  # Bedrock
        "refusal",  # Anthropic
        "sensitive",  # z.ai
        "error_toxic",  # Cohere
        "safety recitation language blocklist prohibited_content spii",  # Gemini
    ),
    Ending.FAILURE: (
        "error failed",  # OpenRouter, Mistral, vLLM, Cohere
        "abort aborted cancelled canceled",  # vLLM, SGLang
        "user_cancel error_limit timeout",  # Cohere
        "network_error",  # z.ai
        "insufficient_system_resource",  # DeepSeek
        "modelunloaded",  # LM Studio
    ),
}
ENDINGS: dict[str, Ending] = {word: ending for ending, lines in _WORDS.items() for line in lines for word in line.split()}


def ending_of(word: object, has_text: bool) -> Ending:
    """Return what a `finish_reason` says of its reply.

    None and the empty string say nothing: some servers set it in streams alone. Then a reply with a text is an answer, since its reader still
    wants it whole, and one without is none.
    """
    if word is None or word == "":
        return Ending.ANSWER if has_text else Ending.OTHER
    if not isinstance(word, str):
        return Ending.OTHER
    name = word.partition(":")[0].strip().lower()  # `content_filter: PROHIBITED_CONTENT`
    return ENDINGS.get(name, Ending.OTHER)
