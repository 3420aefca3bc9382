"""Write texts about a label for the scripted judge: its quotes and words, in frames."""

import random
import re

from api.demo.fake_llm.labels import QUOTED, as_text
from api.demo.fake_llm.texts import COMMON

# Prose and code, with room for a string at one place.
FRAMES = (
    "She said {} twice, then went home along the river.",
    "The letter begins with {} and ends with a name.",
    "In the list below, {} stands before the rest.",
    "Nobody at the market had seen {} before that day.",
    "    value = other{}(name)\n    return value",
    "for item in things:\n    {}item\n",
    "{} and the others were late again.",
    "He wrote {}, crossed it out, and wrote it again.",
    "The answer was {}; the question came later.",
    "# {} is read first\nprint(index)",
    "A note on the door: {}",
    "{}",
    "{} one two three",
    "It was an old house, {}, with a garden behind.",
)
PLAIN = ("", "it", "a small red box", "the other one", "12", "x", "nothing at all")
MOST = 400


def candidates(label: str, key: str) -> list[str]:
    """Return distinct texts with the label's strings, alone and by twos, and without, shuffled."""
    quotes = [as_text(next(part for part in match.groups() if part is not None)) for match in QUOTED.finditer(label)]
    words = quotes or [word for word in re.findall(r"[^\W\d_]{4,}", label) if word.casefold() not in COMMON]
    strings = [*words, *(one + other for one in words[:6] for other in words[:6] if one != other)]
    texts = list(dict.fromkeys(frame.format(string) for frame in FRAMES for string in (*strings, *PLAIN)))
    random.Random(f"write:{key}").shuffle(texts)
    return texts[:MOST]


def some_of(texts: list[str], count: int) -> list[str]:
    """Return `count` texts; where there are fewer, the same ones again behind a number."""
    if not texts:
        return []
    return [texts[place % len(texts)] if place < len(texts) else f"{place}. {texts[place % len(texts)]}" for place in range(count)]
