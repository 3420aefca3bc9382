"""Text from outside, as errors, logs and records may hold it."""

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
