"""Names of published dictionaries: SAELens' releases and Neuronpedia's ids.

The names are those of the installed package sae-lens, whose table is read without importing the package.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from interp.domain.cleaning import one_line
from interp.domain.errors import DictionaryError, FileMissingError
from interp.domain.spec import DictionarySpec

TABLE = "pretrained_saes.yaml"
RELEASE = re.compile(r"saelens:([^/]+)/(.+)")
NEURONPEDIA_ID = re.compile(r"[A-Za-z0-9._-]+/\d+-[A-Za-z0-9._-]+")
NEURONPEDIA_URL = re.compile(r"https://(?:www\.)?neuronpedia\.org/([A-Za-z0-9._-]+/\d+-[A-Za-z0-9._-]+)(?:/\d+)?/?")
HOOK_POINT = re.compile(r"blocks\.\d+\.(?:[a-z0-9]+\.)?hook_\w+")
SHOWN = 200  # characters of a name in an error
MOST_LISTED = 8


@dataclass(frozen=True, slots=True)
class KnownDictionary:
    """One dictionary of the table; `factor` scales its inputs where its files lack it."""

    release: str
    sae_id: str
    model: str
    repo: str
    path: str
    neuronpedia: str | None
    factor: float | None

    @property
    def hook_point(self) -> str | None:
        """Return the hook point that the id names; others are in the files."""
        match = HOOK_POINT.match(self.sae_id)
        return match[0] if match else None

    @property
    def source(self) -> str:
        """Return the text to give as `dictionary.source`."""
        is_plain = self.neuronpedia is not None and NEURONPEDIA_ID.fullmatch(self.neuronpedia) is not None
        return str(self.neuronpedia) if is_plain else f"saelens:{self.release}/{self.sae_id}"


class _Row(BaseModel, coerce_numbers_to_str=True):
    id: str
    path: str
    neuronpedia: str | None = None
    norm_scaling_factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class _Release(BaseModel):
    repo_id: str
    model: str
    saes: list[_Row]


_TABLE = TypeAdapter(dict[str, _Release])


def is_name(source: str) -> bool:
    """Return whether the text can be a name of the table, or also a path."""
    return bool(RELEASE.fullmatch(source) or NEURONPEDIA_ID.fullmatch(source) or NEURONPEDIA_URL.fullmatch(source))


def resolve(spec: DictionarySpec) -> DictionarySpec:
    """Return the spec with a name's place, and what the files there lack.

    Raises FileMissingError for unknown names, and DictionaryError without the table.
    """
    if not is_name(spec.source):
        return spec
    known = _found(spec.source)
    # Single files of weights have no config beside them that names the hook point.
    hook_point = spec.hook_point or (known.hook_point if known.path.endswith(".pt") else None)
    factor = spec.norm_scaling_factor or known.factor
    # A cross-layer transcoder has the number of a layer for a path, whose files alone do not show the family.
    is_layer = known.path.isdigit()
    path = f"W_enc_{known.path}.safetensors" if is_layer else known.path
    kind = "cross_layer_transcoder" if is_layer and spec.format == "auto" else spec.format
    place = f"hf://{known.repo}/{path}".rstrip("/")
    return spec.model_copy(update={"source": place, "format": kind, "hook_point": hook_point, "norm_scaling_factor": factor})


def search(text: str) -> Iterator[KnownDictionary]:
    """Yield the dictionaries whose names hold every word of the text, in the table's order."""
    words = text.lower().split()
    for known in table():
        names = f"{known.release} {known.sae_id} {known.model} {known.repo} {known.neuronpedia or ''}".lower()
        if all(word in names for word in words):
            yield known


@cache
def table() -> tuple[KnownDictionary, ...]:
    """Return all dictionaries of the table; raises DictionaryError where it is not installed."""
    found = find_spec("sae_lens")
    folders = found.submodule_search_locations if found else None
    file = next((Path(folder) / TABLE for folder in folders or () if (Path(folder) / TABLE).is_file()), None)
    if file is None:
        raise DictionaryError(
            "This machine knows no names of dictionaries.",
            why="Releases and Neuronpedia ids are looked up in the package sae-lens, which is not installed.",
            cure="Install it: pip install 'glossator[registry]'. Or give hf://organisation/repository/path.",
        )
    try:
        # Libyaml reads the table in two seconds, Python in twenty.
        releases = _TABLE.validate_python(yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except (yaml.YAMLError, ValidationError) as cause:
        raise DictionaryError(f"{file} cannot be read.", why=one_line(str(cause), SHOWN), cure="Install sae-lens again.") from cause
    return tuple(
        KnownDictionary(name, row.id, release.model, release.repo_id, row.path, row.neuronpedia, row.norm_scaling_factor)
        for name, release in releases.items()
        for row in release.saes
    )


def _found(source: str) -> KnownDictionary:
    if release := RELEASE.fullmatch(source):
        rows = [known for known in table() if known.release == release[1]]
        found = next((known for known in rows if known.sae_id == release[2]), None)
        others = [known.sae_id for known in rows]
    else:
        url = NEURONPEDIA_URL.fullmatch(source)
        name = url[1] if url else source
        found = next((known for known in table() if known.neuronpedia == name), None)
        others = [known.neuronpedia for known in table() if known.neuronpedia and known.neuronpedia.startswith(f"{name.split('/')[0]}/")]
    if found is None:
        raise FileMissingError(
            f"{one_line(source, SHOWN)} names no dictionary.",
            why=f"Of that {'release' if release else 'model'} there are {', '.join(others[:MOST_LISTED])}{', ...' if others[MOST_LISTED:] else ''}."
            if others
            else "There is no such file, and sae-lens has no such name.",
            cure="Check it; `glossator dictionaries --known TEXT` searches the names.",
        )
    return found
