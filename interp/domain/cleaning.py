"""Cleaning of untrusted text, so that no control character takes effect when it is shown."""

import re
from typing import Any

LONGEST_LINE = 1000
# ECMA-48: control sequences, strings (titles, links) and escapes of two characters.
ESCAPE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*[0-~]?")
READ = 4  # times the limit: characters read for a line with many escapes and blanks
# What Excel, LibreOffice and Google Sheets read as a formula, also after blanks.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
GUARD = "'"


def one_line(text: str, limit: int = LONGEST_LINE) -> str:
    """Return at most `limit` characters on one line, without controls, escapes and direction marks."""
    begun = text[: READ * limit]
    if not begun.isprintable():
        begun = "".join(letter if letter.isprintable() else " " for letter in ESCAPE.sub("", begun))
    line = " ".join(begun.split())
    return line if len(line) <= limit and len(text) <= READ * limit else line[: limit - 1] + "…"


# Controls of both ISO 2022 sets, marks of direction and of lines, and lone surrogates, which no stream accepts.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
SIGNS = {"\n": "↵", "\t": "→", "\r": "␍", "\x7f": "␡"}
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


def visible(text: str) -> str:
    """Return the text with each control character as a visible sign (newline: ↵, escape: ␛)."""
    return CONTROLS.sub(_sign, text)


def lines(text: str) -> str:
    """Return the text with control characters other than newlines and tabs as visible signs."""
    return CONTROLS.sub(lambda found: found[0] if found[0] in "\n\t" else _sign(found), text)


def escaped(json_text: str) -> str:
    """Return an equal JSON document with the control characters of its texts as escapes."""
    # No control character is printable, and most texts have none.
    if json_text.isprintable():
        return json_text
    return CONTROLS.sub(lambda found: found[0] if found[0] in "\n\t" else f"\\u{ord(found[0]):04x}", json_text)


def _sign(found: re.Match[str]) -> str:
    character = found[0]
    if character in SIGNS:
        return SIGNS[character]
    return chr(0x2400 + ord(character)) if character < " " else UNKNOWN


def guarded(value: Any) -> Any:
    """Return a text as no formula and without controls; other values as they are."""
    if not isinstance(value, str):
        return value
    clean = lines(value)
    return GUARD + clean if clean.lstrip(" ").startswith((*FORMULA, GUARD)) or clean.startswith(("\t", "\n")) else clean


def unguarded(text: str) -> str:
    """Return the text that `guarded` was given."""
    return text[1:] if text.startswith(GUARD) and guarded(text[1:]) == text else text
