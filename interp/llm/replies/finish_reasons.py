"""Interpret `finish_reason` by one table of all words that servers send."""

from enum import Enum


class Ending(Enum):
    """The end of a reply.

    ANSWER: by itself. LENGTH: cut short. REFUSAL: declined by the model or a filter. FAILURE: broken off by the server, and may succeed when retried.
    OTHER: no answer, for a reason that may be permanent.
    """

    ANSWER = "answer"
    LENGTH = "length"
    REFUSAL = "refusal"
    FAILURE = "failure"
    OTHER = "other"


# In lower case, with the servers that send them. All other words are OTHER.
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
    """Return the meaning of a `finish_reason`.

    None and the empty string mean nothing: some servers set it in streams alone. Then a reply with a text is an answer, since its parser still
    requires all of it, and one without is none.
    """
    if word is None or word == "":
        return Ending.ANSWER if has_text else Ending.OTHER
    if not isinstance(word, str):
        return Ending.OTHER
    name = word.partition(":")[0].strip().lower()  # `content_filter: PROHIBITED_CONTENT`
    return ENDINGS.get(name, Ending.OTHER)
