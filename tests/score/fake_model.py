"""A language model in this process that reads our prompts as they are written: a function of the fenced texts decides what it answers."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from interp.domain.errors import AbilityMissingError
from interp.llm.base import Ability, Prompt, Reply, TokenChoice, Usage
from interp.llm.prompt_text import parse_fenced


@dataclass(frozen=True)
class Asked:
    """A prompt as its reader understands it. `texts` by id; `label` None where there is no explanation."""

    kind: str
    label: str | None
    texts: dict[str, str]
    prompt: Prompt
    purpose: str


@dataclass(frozen=True)
class FakeModel:
    """`tell(asked)` gives the reply's text, or a whole Reply, or raises. Shared by all purposes: `asked` is everything that was ever asked."""

    tell: Callable[[Asked], "str | Reply"]
    name: str = "teller"
    abilities: frozenset[Ability] = frozenset()
    purpose: str = "test"
    asked: list[Asked] = field(default_factory=list)

    @property
    def provenance(self):
        return {"model": self.name, "base_url": "test:"}

    def for_purpose(self, purpose):
        return replace(self, purpose=f"{self.purpose}/{purpose}")

    async def ask(self, prompt):
        found = read(prompt, self.purpose)
        self.asked.append(found)
        told = self.tell(found)
        if isinstance(told, Reply):
            return told
        content = json.dumps([self.name, prompt.content()], sort_keys=True)
        return Reply(told, "stop", Usage(1, 1), hashlib.sha256(content.encode()).hexdigest())

    async def embed(self, texts):
        raise AbilityMissingError("No embeddings here.")

    async def read(self, text):
        raise AbilityMissingError("No log-probs here.")

    def purposes(self) -> Counter:
        return Counter(asked.purpose for asked in self.asked)


def read(prompt: Prompt, purpose: str = "test") -> Asked:
    system, user = prompt.messages[0], prompt.messages[1]
    assert (system.role, user.role) == ("system", "user")
    fenced = parse_fenced(user.content)
    labels = [part.text for part in fenced if part.kind == "explanation"]
    texts = {part.id: part.text for part in fenced if part.kind == "context"}
    return Asked(system.content.splitlines()[0].removeprefix("Task: "), labels[0] if labels else None, texts, prompt, purpose)


def verdicts(says: Callable[[str, str | None], "bool | str"]) -> Callable[[Asked], str]:
    """A judge by a function of a text and the label."""

    def tell(asked: Asked) -> str:
        words = {name: says(text, asked.label) for name, text in asked.texts.items()}
        return json.dumps({name: ("yes" if word else "no") if isinstance(word, bool | np.bool_) else word for name, word in words.items()})

    return tell


def reply(text: str, finish="stop", choices: Sequence[TokenChoice] = (), key: str = "key") -> Reply:
    return Reply(text, finish, Usage(1, 1), key, choices=tuple(choices))
