"""Learn which parameters a model at an endpoint takes, from errors that name one."""

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from interp.domain.spec import ModelSpec
from interp.llm.transports.base import ChatRequest, TransportError

Form = Literal["json_schema", "json_object", "text"]

CACHE_KEY = "prompt_cache_key"
FORMS: tuple[Form, ...] = ("json_schema", "json_object", "text")
FEWER_LOGPROBS = 5  # some endpoints give five alternatives where OpenAI gives twenty
REJECTIONS = frozenset({400, 404, 415, 422, 501})
NOT_SUPPORTED = re.compile(
    r"unsupported|not support|n't support|not allowed|unrecogni[sz]ed|unknown|unexpected|extra|not permitted|not available|invalid|must be|only|"
    r"instead|cannot|disabled|at most|less than",
    re.IGNORECASE,
)
TOO_LARGE = re.compile(r"too (large|long|high|big)|at most|exceed|maximum|less than|(greater|larger|more) than", re.IGNORECASE)
JSON_FORM = re.compile(r"json[_ ]schema|json_object|structured output", re.IGNORECASE)
# Of a schema that a server cannot turn into a grammar, in words of vLLM and llama.cpp, which name no field.
NO_GRAMMAR = re.compile(r"\bgrammar error\b|(parse|compile|generate|convert)\b.{0,40}\bgrammar\b", re.IGNORECASE)
MAX_LESSONS = 8  # each quirk once, and no endless loop
# An error that refuses fields beyond a list, by words of OpenAI, Groq and pydantic (Mistral, vLLM), and may not name which.
UNKNOWN_FIELD = re.compile(r"unknown|unrecogni[sz]ed|unexpected|extra (field|input)|extra_forbidden|additional propert|not permitted", re.IGNORECASE)


@dataclass
class EndpointQuirks:
    """The form of requests; each setting changes in one direction, so learning ends."""

    token_field: str = "max_tokens"
    form: Form = "json_schema"
    takes_temperature: bool = True
    takes_seed: bool = True
    most_logprobs: int | None = None
    reads_by_echo: bool = True
    is_cached_by_key: bool = False
    takes_cache_key: bool = True
    _settled: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, base_url: str) -> "EndpointQuirks":
        """Return the initial quirks: OpenAI takes `max_completion_tokens` and a cache key, others `max_tokens`."""
        is_openai = (urlsplit(base_url).hostname or "").endswith("openai.com")
        return cls(token_field="max_completion_tokens" if is_openai else "max_tokens", is_cached_by_key=is_openai)

    def form_for(self, spec: ModelSpec) -> Form:
        """Return how to ask for JSON: as set, else the best accepted form."""
        return self.form if spec.structured == "auto" else spec.structured

    def sends_cache_key(self, spec: ModelSpec) -> bool:
        """Return whether to send a cache key: as set, else to OpenAI, unless refused."""
        is_wanted = self.is_cached_by_key if spec.prompt_cache_key is None else spec.prompt_cache_key
        return is_wanted and self.takes_cache_key

    def learn(self, fault: TransportError, request: ChatRequest, sent: dict[str, object]) -> bool:
        """Return whether the fault names a parameter that is now rewritten or omitted."""
        if fault.kind != "status" or fault.status not in REJECTIONS:
            return False
        name = self._named(fault, sent)
        if name in ("max_tokens", "max_completion_tokens"):
            return self._other_token_field(fault, name)
        if name == "response_format" and request.spec.structured == "auto":
            used: Form = "json_schema" if _kind_of(sent) == "json_schema" else "json_object"
            self.form = max(self.form, FORMS[FORMS.index(used) + 1], key=FORMS.index)
            return True
        if name == "temperature":
            self.takes_temperature = False
        elif name == CACHE_KEY:
            self.takes_cache_key = False
        elif name == "seed":
            self.takes_seed = False
        elif name in ("logprobs", "top_logprobs"):
            asked = sent.get("top_logprobs", 0)
            can_ask_fewer = name == "top_logprobs" and isinstance(asked, int) and asked > FEWER_LOGPROBS and TOO_LARGE.search(fault.message)
            self.most_logprobs = FEWER_LOGPROBS if can_ask_fewer else 0
        else:
            return False
        return True

    def _other_token_field(self, fault: TransportError, name: str) -> bool:
        if TOO_LARGE.search(fault.message) and "instead" not in fault.message:
            return False
        if "token_field" in self._settled:
            return self.token_field != name  # another call learned it meanwhile
        self._settled.add("token_field")
        self.token_field = "max_completion_tokens" if name == "max_tokens" else "max_tokens"
        return True

    @staticmethod
    def _named(fault: TransportError, sent: dict[str, object]) -> str | None:
        param = (fault.param or "").split(".")[0]
        if param in sent:
            return param
        if "response_format" in sent and NO_GRAMMAR.search(fault.message):
            return "response_format"
        if not NOT_SUPPORTED.search(fault.message):
            return None
        # Longer names first: `logprobs` is part of `top_logprobs`, and `max_tokens` may be named beside `max_completion_tokens`, its replacement.
        names = (CACHE_KEY, "response_format", "top_logprobs", "logprobs", "max_tokens", "max_completion_tokens", "temperature", "seed")
        found = next((name for name in names if name in sent and re.search(rf"\b{name}\b", fault.message)), None)
        if found is None and "response_format" in sent and JSON_FORM.search(fault.message):
            return "response_format"
        if found is None and CACHE_KEY in sent and UNKNOWN_FIELD.search(fault.message):
            return CACHE_KEY
        return found


def _kind_of(sent: dict[str, object]) -> object:
    response_format = sent.get("response_format")
    return response_format.get("type") if isinstance(response_format, dict) else None
