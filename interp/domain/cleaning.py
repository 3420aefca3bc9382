"""Text from outside, as terminals, errors, logs and records may hold it: nothing in it is taken for a control.

`visible` and `lines` keep every character, or a sign of it, in its place; `one_line` makes a short line of whatever it is given.
"""

import re

LONGEST_LINE = 1000
# ECMA-48: control sequences, strings (titles, links), and what is two characters long.
ESCAPE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*[0-~]?")
READ = 4  # times the longest line: escapes and blanks are no reason to read a megabyte


def one_line(text: str, limit: int = LONGEST_LINE) -> str:
    """Returns the text as one line of at most `limit` characters, without control characters, escapes and signs that turn the direction."""
    begun = text[: READ * limit]
    if not begun.isprintable():
        begun = "".join(letter if letter.isprintable() else " " for letter in ESCAPE.sub("", begun))
    line = " ".join(begun.split())
    return line if len(line) <= limit and len(text) <= READ * limit else line[: limit - 1] + "…"


# Controls of both ISO 2022 sets, marks that turn the direction of writing or begin a line, and halves of characters, which no stream takes.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
SIGNS = {"\n": "↵", "\t": "→", "\r": "␍", "\x7f": "␡"}
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


def visible(text: str) -> str:
    """The text with every control character shown as a sign of its own: newline as ↵, escape as ␛."""
    return CONTROLS.sub(_sign, text)


def lines(text: str) -> str:
    """The same of a text whose lines are meant: newlines and tabs stay."""
    return CONTROLS.sub(lambda found: found[0] if found[0] in "\n\t" else _sign(found), text)


def escaped(json_text: str) -> str:
    """A JSON document with the control characters of its texts as escapes: for every reader of JSON it is the same document."""
    return CONTROLS.sub(lambda found: found[0] if found[0] in "\n\t" else f"\\u{ord(found[0]):04x}", json_text)


def _sign(found: re.Match[str]) -> str:
    character = found[0]
    if character in SIGNS:
        return SIGNS[character]
    return chr(0x2400 + ord(character)) if character < " " else UNKNOWN
