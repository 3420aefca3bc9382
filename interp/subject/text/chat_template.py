"""The chat template in a subject's files, read without transformers."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from interp.domain.errors import FileMissingError, TokenizerMismatchError
from interp.domain.spec import SubjectSpec
from interp.security.foreign_config import Foreign, typed
from interp.subject.location import read_subject_bytes, read_subject_json

FILE = "chat_template.jinja"
LONGEST_TEMPLATE = 200_000  # characters; known templates have less than 20,000


class NamedTemplate(Foreign):
    """One of several templates."""

    name: str
    template: str


class Templates(Foreign):
    """The template in tokenizer_config.json."""

    chat_template: str | list[NamedTemplate] | None = None


def read_template(spec: SubjectSpec) -> tuple[str, dict[str, Any]]:
    """Return the chat template and the tokenizer's settings; raises TokenizerMismatchError without a template."""
    settings: dict[str, Any] = {}
    with suppress(FileMissingError):
        settings = read_subject_json(spec, "tokenizer_config.json", TokenizerMismatchError)
    template = _template(spec, settings)
    if not template or len(template) > LONGEST_TEMPLATE:
        raise TokenizerMismatchError(
            f"{spec.model} has {'too long a' if template else 'no'} chat template.",
            why=f"Neither {FILE} nor tokenizer_config.json holds one." if not template else "",
            cure="Give the corpus as text, or use a chat model's own tokenizer.",
        )
    return template, settings


def _template(spec: SubjectSpec, settings: Mapping[str, Any]) -> str | None:
    """Return the template of its own file, else the default one of the settings."""
    with suppress(FileMissingError):
        return read_subject_bytes(spec, FILE).decode("utf-8", errors="replace")
    found = typed(Templates, settings, "tokenizer_config.json", TokenizerMismatchError, "Save the tokenizer again.").chat_template
    if isinstance(found, list):
        return next((named.template for named in found if named.name == "default"), None)
    return found
