"""Interpret `finish_reason` by one table of all words that servers send."""

from typing import Literal

from interp.llm.base import Finish

# "broken": the server broke off, and may succeed when retried. "invalid": no answer, for a reason that may be permanent.
Ending = Finish | Literal["broken"]

# In lower case, with the servers that send them. All other words are "invalid".
_WORDS: dict[Ending, tuple[str, ...]] = {
    "stop": (
        "stop",  # OpenAI and most; Gemini in capitals
        "eos eos_token",  # Together, text-generation-inference
        "end_turn stop_sequence",  # Anthropic, Bedrock
        "complete",  # Cohere
        "eosfound stopstringfound",  # LM Studio
    ),
    "length": (
        "length",
        "max_tokens max_output_tokens",  # Anthropic, Cohere; Gemini in capitals
        "model_length",  # Mistral
        "model_context_window_exceeded context_length_exceeded",  # Anthropic
        "maxpredictedtokensreached contextlengthreached",  # LM Studio
    ),
    "refusal": (
        "content_filter",
        "content_filtered guardrail_intervened",  # Bedrock
        "refusal",  # Anthropic
        "sensitive",  # z.ai
        "error_toxic",  # Cohere
        "safety recitation language blocklist prohibited_content spii",  # Gemini
    ),
    "broken": (
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
        return "stop" if has_text else "invalid"
    if not isinstance(word, str):
        return "invalid"
    name = word.partition(":")[0].strip().lower()  # `content_filter: PROHIBITED_CONTENT`
    return ENDINGS.get(name, "invalid")
