"""The registry of weight families. Each file has one; all are read with numpy, so that a job can be checked where there is no torch."""

import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Protocol

from interp.dictionary.canonical import DictionaryHeader, Reading, as_dictionary_errors
from interp.dictionary.weights import check_expansion
from interp.domain.errors import DictionaryError, DictionaryFormatUnknownError, FileMissingError
from interp.domain.spec import DictionarySpec
from interp.security import allowed_files
from interp.subject.hooks import ABBREVIATIONS, canonical


class Format(Protocol):
    """One family of weight files: a module with these two functions."""

    def recognise(self, source: Path) -> bool:
        """Whether the files look like this family's. Cheap: names and configs, no weights."""
        ...

    def read(self, source: Path, spec: DictionarySpec) -> Reading:
        """Reads headers. Raises DictionaryError."""
        ...


# In the order in which they are tried: the more telling files first.
FORMATS = ("saelens", "sparsify", "dictionary_learning", "gemma_scope", "openai", "apollo", "directions", "neurons")

# Of what stands before and after the @ of a name, which the database keeps.
LONGEST_PART = 120


def read(spec: DictionarySpec) -> Reading:
    """The dictionary at `spec.source`, its numbers not yet read. Raises FileMissing, DictionaryFormatUnknown, DictionaryError."""
    source = Path(allowed_files.expand(spec.source))
    kind = allowed_files.kind_of(source)
    if kind == "other":
        raise allowed_files.not_regular(source)
    if kind == "nothing":
        raise FileMissingError(
            f"{spec.source} does not exist.",
            why="A dictionary is a folder or file of weights.",
            cure="Check the path; a relative one counts from where the service was started.",
        )
    with as_dictionary_errors(source, spec.format):
        reading = _format(source, spec.format).read(source, spec)
        check_expansion(reading.tensors.values(), reading.header.files, source)
    hook_point = canonical(spec.hook_point or reading.header.hook_point)
    if not hook_point:
        raise DictionaryError(
            f"{spec.source} does not say which hook point it reads.",
            why="Files of this family carry no such name.",
            cure="Set `dictionary.hook_point`.",
        )
    return replace(reading, header=replace(reading.header, hook_point=hook_point))


def header_of(spec: DictionarySpec) -> DictionaryHeader:
    """What the files say of a dictionary without their numbers. Raises what `read` raises."""
    return read(spec).header


def dictionary_name(spec: DictionarySpec, header: DictionaryHeader, model: str | None = None) -> str:
    """`model@layer-set`: as the user names it, else from the files; `model` stands in where they name no model."""
    if spec.name:
        return spec.name
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)", header.hook_point)
    place = f"{match[1]}-{ABBREVIATIONS.get(match[2], match[2])}" if match else header.hook_point
    owner = header.model or model or Path(spec.source).absolute().name
    return "@".join(re.sub(r"[^A-Za-z0-9._-]+", "-", part)[:LONGEST_PART] for part in (owner.rsplit("/", 1)[-1], place))


def _format(source: Path, name: str) -> Format:
    if name != "auto":
        if name not in FORMATS:
            raise DictionaryFormatUnknownError(f"{name!r} is no format.", cure=f"Known: {', '.join(sorted(FORMATS))}, or auto.")
        return _module(name)
    for candidate in FORMATS:
        module = _module(candidate)
        if module.recognise(source):
            return module
    raise DictionaryFormatUnknownError(
        f"{source} is of no known family.",
        why="No file in it has the names that a family gives to its own." if allowed_files.is_folder(source) else "",
        cure=f"Name its format: {', '.join(sorted(FORMATS))}.",
    )


def _module(name: str) -> Format:
    module: Format = import_module(f"{__name__}.{name}")
    return module
