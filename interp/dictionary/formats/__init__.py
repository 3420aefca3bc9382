"""Registry of weight families, one module each, read without torch to check jobs."""

import re
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from interp.dictionary import sources
from interp.dictionary.canonical import DictionaryHeader, StoredDictionary, as_dictionary_errors, both_signs
from interp.dictionary.random_directions import DRAW_VERSION, with_random_directions
from interp.dictionary.weights import StoredTensor, check_expansion
from interp.domain.digests import IDENTITY_VERSION, digest_of
from interp.domain.errors import DictionaryError, DictionaryFormatUnknownError, FileMissingError
from interp.domain.spec import RANDOM, DictionarySpec
from interp.security import allowed_files, uploads
from interp.security.allowed_files import Roots, file_digest
from interp.subject import hooks


class Format(Protocol):
    """A family of weight files: a module with these two functions."""

    def recognise(self, source: Path) -> bool:
        """Return whether names and configs of the files are this family's."""
        ...

    def read(self, source: Path, spec: DictionarySpec) -> StoredDictionary:
        """Read headers; raises DictionaryError."""
        ...


# In order of detection: families with more specific files first.
FORMATS = (
    "saelens",
    "sparsify",
    "crosscoder",
    "cross_layer_transcoder",
    "dictionary_learning",
    "bussmann",
    "llama_scope",
    "gemma_scope",
    "circuit_tracer",
    "goodfire",
    "openai",
    "apollo",
    "gated",
    "prolu",
    "directions",
    "neurons",
)

# Characters before and after the @ of a name that is stored in the database.
LONGEST_PART = 120


def read(spec: DictionarySpec) -> StoredDictionary:
    """Open a dictionary without weights; raises FileMissingError, DictionaryFormatUnknownError and DictionaryError."""
    with sources.reading(spec) as (source, roots):
        found = _read(sources.resolve(spec), source)
    return found if roots is None else replace(found, tensors={name: _inside(roots, tensor) for name, tensor in found.tensors.items()})


def _read(spec: DictionarySpec, source: Path) -> StoredDictionary:
    kind = allowed_files.kind_of(source)
    if kind == "other":
        raise allowed_files.not_regular(source)
    if kind == "nothing":
        raise FileMissingError(
            f"{spec.source} does not exist.",
            why="A dictionary is a folder or file of weights, a place (hf://, s3://, wandb://) or a name of SAELens or Neuronpedia.",
            cure="Check the path; a relative one counts from where the service was started. `glossator dictionaries --known TEXT` searches names.",
        )
    with as_dictionary_errors(source, spec.format):
        reading = _format(source, spec.format).read(source, spec)
        check_expansion(reading.tensors.values(), reading.header.files, source)
    hook_point = hooks.canonical(spec.hook_point or reading.header.hook_point)
    if not hook_point:
        raise DictionaryError(
            f"{spec.source} does not say which hook point it reads.",
            why="Files of this family carry no such name.",
            cure="Set `dictionary.hook_point`.",
        )
    written = reading.header.output_point
    reading = with_random_directions(reading, hook_point, lambda: _draw(spec)) if spec.directions == "random" else reading
    reading = both_signs(reading) if spec.polarity == "both" else reading
    header = replace(reading.header, hook_point=hook_point, output_point=None if written is None else hooks.canonical(written))
    return replace(reading, header=header)


def header_of(spec: DictionarySpec) -> DictionaryHeader:
    """Return the header of a dictionary; raises the errors of `read`."""
    return read(spec).header


def dictionary_digest(spec: DictionarySpec) -> str:
    """Return the digest of the weight files and of how they are read."""
    header = header_of(spec)
    with sources.reading(spec):
        digests = {path.name: file_digest(path) for path in header.files}
    # Names in hashed identities never change: `features` is n_features, `width` d_in.
    facts = {"format": header.format, "hook_point": header.hook_point, "features": header.n_features, "width": header.d_in}
    # Left out of the hash where it is the default, as digests of before have it.
    facts |= {} if header.polarity == "positive" else {"polarity": header.polarity}
    facts |= {} if spec.directions == "trained" else {"directions": spec.directions, "draw": DRAW_VERSION}
    if spec.norm_scaling_factor is not None:
        facts |= {"norm_scaling_factor": spec.norm_scaling_factor}
    return digest_of({"version": IDENTITY_VERSION, "files": digests, **facts})


def dictionary_name(spec: DictionarySpec, header: DictionaryHeader, model: str | None = None) -> str:
    """Return `model@layer-set`: the user's name, or one from the files (or `model`)."""
    if spec.name:
        return spec.name
    place = "-".join(point.abbreviation if (point := hooks.split(name)) else name for name in hooks.ends_of(header.hook_point))
    owner = header.model or model or (uploads.local(spec.source) if uploads.is_upload(spec.source) else Path(spec.source).absolute()).name
    name = "@".join(re.sub(r"[^A-Za-z0-9._-]+", "-", part)[:LONGEST_PART] for part in (owner.rsplit("/", 1)[-1], place))
    return name if spec.directions == "trained" else f"{name}{RANDOM}"


def _draw(spec: DictionarySpec) -> int:
    """Return the seed of a dictionary's random directions: the digest of the trained one."""
    return int(dictionary_digest(spec.model_copy(update={"directions": "trained"}))[:16], 16)


def _format(source: Path, name: str) -> Format:
    if name != "auto":
        if name not in FORMATS:
            raise DictionaryFormatUnknownError(f"{name!r} is no format.", cure=f"Known: {', '.join(sorted(FORMATS))}, or auto.")
        return _module(name)
    if recognised := next((module for module in map(_module, FORMATS) if module.recognise(source)), None):
        return recognised
    raise DictionaryFormatUnknownError(
        f"{source} is of no known family.",
        why="No file in it has the names that a family gives to its own." if allowed_files.is_folder(source) else "",
        cure=f"Name its format: {', '.join(sorted(FORMATS))}.",
    )


def _inside(roots: Roots, tensor: StoredTensor) -> StoredTensor:
    """Return the tensor with its file opened inside the roots, whenever it is read."""

    def stream() -> Iterator[NDArray[Any]]:
        blocks = tensor.stream()
        with allowed_files.within(roots):
            first = next(blocks, None)  # opens the file
        if first is not None:
            yield first
            yield from blocks

    return replace(tensor, stream=stream)


def _module(name: str) -> Format:
    module: Format = import_module(f"{__name__}.{name}")
    return module
