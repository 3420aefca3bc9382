"""Tokens as a scripted model counts and draws them: short words, digits, spaces and signs, joining to the text."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from api.demo.fake_llm.draws import draw

TOKEN = re.compile(r" ?[^\W\d_]{1,12}|\d{1,3}|\s|[^\w\s]|_|.", re.DOTALL)
BYTES_A_TOKEN = 4
TOKENS_A_MESSAGE = 3

# What else a model might have said, in place of any token.
JUNK = (" the", "\n", " a", "_", " I", "-", "~", "…", " of", " so", "?", " in", "/", " and", ":", " to", "&", "=", " as", "%")
SURE = 0.999

Odds = tuple[tuple[str, float], ...]


def split(text: str) -> list[str]:
    return TOKEN.findall(text)


def prompt_tokens(messages: Sequence[str]) -> int:
    """Four bytes a token and three more a message: near the truth for English, and cheap."""
    return sum(-(-len(text.encode("utf-8", "surrogatepass")) // BYTES_A_TOKEN) + TOKENS_A_MESSAGE for text in messages)


def chat_logprobs(tokens: Sequence[str], odds: Mapping[int, Odds], top: int) -> list[dict[str, Any]]:
    """`choices[0].logprobs.content` of a chat completion. `odds` gives the probabilities at a token that starts at a place of the text."""
    content, place = [], 0
    for token in tokens:
        known = odds.get(place)
        alternatives = _ranked(token, known if known is not None else ((token, SURE),))
        own = next(chance for name, chance in alternatives if name == token)
        entry = _entry(token, own)
        entry["top_logprobs"] = [_entry(name, chance) for name, chance in alternatives[:top]]
        content.append(entry)
        place += len(token)
    return content


def _ranked(token: str, odds: Odds) -> list[tuple[str, float]]:
    """The given chances and junk for what is left of 1, the likeliest first."""
    given = list(odds) if any(name == token for name, _ in odds) else [(token, SURE), *odds]
    left = max(1.0 - sum(chance for _, chance in given), 1e-6)
    taken = {name for name, _ in given}
    junk = [(name, left * 0.5 ** (rank + 1)) for rank, name in enumerate(name for name in JUNK if name not in taken)]
    return sorted(given + junk, key=lambda pair: -pair[1])


def _entry(token: str, chance: float) -> dict[str, Any]:
    return {"token": token, "logprob": math.log(max(chance, 1e-9)), "bytes": list(token.encode("utf-8", "surrogatepass"))}


def read_logprobs(tokens: Sequence[str]) -> list[float | None]:
    """Log-probability of each token of a prompt: a word that stood before is likely, a new one as unlikely as its hash says; the first has none."""
    seen: set[str] = set()
    found: list[float | None] = []
    for token in tokens:
        word = token.strip().casefold()
        if not word[:1].isalnum():
            found.append(-1.0 - draw(word))
        else:
            found.append(-1.5 if word in seen else -5.0 - 5.0 * draw(word))
            seen.add(word)
    if found:
        found[0] = None
    return found
