"""Signs of control characters, the same as the service shows."""

import re

# Controls of both ISO 2022 sets, marks of direction and of lines, and lone surrogates, which no stream accepts.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
SIGNS = {"\n": "↵", "\t": "→", "\r": "␍", "\x7f": "␡"}


def visible(text: str) -> str:
    """Return the text with each control character as a visible sign (newline: ↵, escape: ␛)."""
    return CONTROLS.sub(_sign, text)


def _sign(found: re.Match[str]) -> str:
    character = found[0]
    if character in SIGNS:
        return SIGNS[character]
    return chr(0x2400 + ord(character)) if character < " " else "\N{REPLACEMENT CHARACTER}"
