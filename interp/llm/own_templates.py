"""Check prompt templates that jobs bring, and name each by its digest.

A template is a text with `{{names}}`, perhaps in two parts, `[system]` and `[user]`. The names are those of the built-in template in whose place it
stands. They are filled in one pass, as texts: nothing in a template is evaluated, and nothing filled in is filled again.
"""

import hashlib
import re
from functools import lru_cache

from interp.domain.errors import InputError
from interp.llm.templates import Template

RULE, ANSWER = "fence_rule", "answer"
# Why a template needs a name; all others stand for quoted texts.
NEEDED = {RULE: "it tells the model that quoted texts are data", ANSWER: "it says in what form the answer is read"}
QUOTED = "without it the model does not see the evidence"
# Digits of the digest in a template's name.
SHOWN = 16

_MARK = re.compile(r"^\[(system|user)\][ \t]*\n", re.MULTILINE)
_NAME = re.compile(r"\{\{(\w+)\}\}", re.ASCII)
_BRACES = re.compile(r"\{\{|\}\}")
_TAG = re.compile(r"</?[a-z]+-[0-9a-f]{8}>")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


@lru_cache(maxsize=64)
def own_template(text: str, builtin: Template, field: str) -> Template:
    """Return a job's template in place of a built-in one; raises InputError.

    Every text that the built-in one quotes must stand in the user's part, exactly once and on a line of its own. So must the rule on fences and the
    form of the answer, anywhere. Counts may be left out. `field` names the template in errors.
    """
    parts = _parts(text, field)
    names, needed = _names(builtin.parts), _needed(builtin)
    found = [(part, name) for part, content in parts for name in _NAME.findall(content)]
    known = ", ".join(f"{{{{{name}}}}}" for name in names)
    for name in dict.fromkeys(name for _, name in found):
        if name not in names:
            raise _refused(field, f"There is nothing to fill {{{{{name}}}}} with.", f"Names are: {known}.")
    for name in needed:
        places = [part for part, each in found if each == name]
        if len(places) != 1:
            what = f"{{{{{name}}}}} is missing." if not places else f"{{{{{name}}}}} stands {len(places)} times."
            raise _refused(field, what, f"Let it stand once: {NEEDED.get(name, QUOTED)}.")
        if name not in NEEDED and places != ["user"]:
            raise _refused(field, f"{{{{{name}}}}} stands in the part [{places[0]}].", "Quote texts in the part [user].")
        if name not in NEEDED and f"{{{{{name}}}}}" not in dict(parts)["user"].split("\n"):
            # A fence begins a line: only so is an answer found that is copied out of one.
            raise _refused(field, f"{{{{{name}}}}} shares its line.", "Let it stand on a line of its own, without spaces.")
    for _, content in parts:
        _check_rest(content, field, known)
    return Template(builtin.name, hashlib.sha256(text.encode()).hexdigest()[:SHOWN], tuple(parts))


def _parts(text: str, field: str) -> list[tuple[str, str]]:
    before, *rest = _MARK.split(text)
    if not rest:
        return [("user", text.strip("\n"))]
    names = rest[::2]
    if before.strip() or names not in (["system", "user"], ["user"]):
        what = "Text stands before its first part." if before.strip() else f"Its parts are {', '.join(f'[{name}]' for name in names)}."
        raise _refused(field, what, "Write one part [user], perhaps after one [system]; or no part, and all is the user's.")
    return [(name, part.strip("\n")) for name, part in zip(names, rest[1::2], strict=True)]


def _names(parts: tuple[tuple[str, str], ...]) -> list[str]:
    return list(dict.fromkeys(name for _, content in parts for name in _NAME.findall(content)))


def _needed(builtin: Template) -> list[str]:
    return [name for name in _names(builtin.parts) if not name.endswith("count")]


def _check_rest(content: str, field: str, known: str) -> None:
    """Raise InputError for braces, fences and control characters that are the template's own."""
    rest = _NAME.sub("", content)
    if _BRACES.search(rest):
        raise _refused(field, "Braces {{ or }} stand around no name.", f"Write one of {known}; single braces are text.")
    if _TAG.search(rest):
        raise _refused(field, "It holds a tag that looks like a fence.", "Leave it out: quoted texts come with their own.")
    if _CONTROL.search(rest):
        raise _refused(field, "It holds control characters.", "Leave out all but line breaks and tabs.")


def _refused(field: str, what: str, cure: str) -> InputError:
    return InputError(f"{field} cannot be used. {what}", cure=cure, field=field)
