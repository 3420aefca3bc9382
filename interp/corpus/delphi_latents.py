"""Reader of the activations that Delphi (eai-delphi 0.1) caches in its `results` folder.

    latents/{module}/{first}_{last}.safetensors   `locations` [n, 3]: row of `tokens`, place in it, latent less `first`; `activations` [n];
                                                  `tokens` [rows, length]
    latents/{module}/config.json                  `model_name`
    explanations/{module}_latent{number}.txt      where there are some, the other latents are left out
    tokenizer.json                                of that model: the cache has ids alone

Rows are cut into windows of 32 tokens, each a document of its own. Of each latent there are at most 40 windows in which it fires, evenly over the
ranks of their maximum as Delphi draws its own, and 20 in which it is silent. `feature_records` says what is not known of records.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from interp.corpus.feature_records import NO_LAYER, WINDOW, FeatureRecords, Pair, RecordedDictionary, evidence_of
from interp.dictionary.weights import StoredTensor, as_unreadable, read_safetensors
from interp.domain.digests import digest_of
from interp.domain.errors import FileMissingError, InputError
from interp.domain.evidence import FeatureEvidence
from interp.domain.vocabulary import Vocabulary
from interp.security.allowed_files import file_digest, is_file
from interp.security.bounded_json import TOKENIZER, read_json
from interp.security.foreign_config import Foreign, typed
from interp.subject.text.tokenizer import vocabulary_of
from interp.subject.text.tokenizer_file import of_content

LATENTS = "latents/*/*.safetensors"
CONFIG, PIECES = "config.json", "tokenizer.json"
SPLIT = re.compile(r"([0-9]{1,9})_([0-9]{1,9})\.safetensors", re.ASCII)
EXPLANATIONS = "explanations"
EXPLANATION_FILE = re.compile(r"(.{1,200})_latent([0-9]{1,9})\.txt", re.ASCII)
FIRING, SILENT = 40, 20
MOST_ENTRIES, MOST_LATENTS, MOST_SPLITS, MOST_IDS, LARGEST_ACTIVATION = 200_000_000, 20_000, 1000, 1 << 22, 65_000.0
CURE = "Correct it, or take it out of the folder."

Numbers = NDArray[Any]


class CacheConfig(Foreign):
    """The model that Delphi ran."""

    model_name: Annotated[str, Field(min_length=1, max_length=400)]


@dataclass(frozen=True, slots=True)
class Split:
    """The activations of some latents, sorted by latent and window.

    latents    [n]  the latent of each activation
    windows    [n]  its window, numbered over all rows
    places     [n]  its place in the window
    values     [n]  the activation
    tokens     [windows, 32]  ids; MOST_IDS beyond a row's end
    """

    latents: Numbers
    windows: Numbers
    places: Numbers
    values: Numbers
    tokens: Numbers


def read(folder: Path) -> FeatureRecords:
    """Read a folder of results; raises FileMissingError, PathRefusedError, DictionaryError and InputError."""
    modules = sorted({path.parent for path in folder.glob(LATENTS)})
    models = sorted({typed(CacheConfig, read_json(path / CONFIG, InputError), path / CONFIG, InputError, CURE).model_name for path in modules})
    if len(models) != 1:
        raise InputError(f"{folder} holds latents of several models, such as {models[0]} and {models[1]}.", cure="Give each model a folder.")
    vocabulary = _vocabulary(folder, models[0])
    # One text per id, so that equal bytes of several ids stay apart only where they differ.
    texts = [token.decode("latin-1") for token in vocabulary.tokens]
    ids = {text: number for number, text in reversed(list(enumerate(texts)))}
    special = np.array(sorted(vocabulary.special), np.int64)
    found, digests = [], []
    for module in modules:
        wanted = _explained(folder, module.name)
        files = sorted((int(name[1]), int(name[2]), path) for path in module.glob("*.safetensors") if (name := SPLIT.fullmatch(path.name)))
        if not files or len(files) > MOST_SPLITS:
            raise InputError(f"{module} holds no file that is named FIRST_LAST.safetensors, or more than {MOST_SPLITS:,}.", cure=CURE)
        evidence: list[FeatureEvidence] = []
        for first, last, path in files:
            digests.append([module.name, path.name, file_digest(path)])
            split = _split(path, first, last, len(texts), special)
            evidence += (evidence_of(latent, pairs, ids) for latent, pairs in _latents(split, wanted, texts))
            if len(evidence) > MOST_LATENTS:
                raise InputError(
                    f"{folder} holds more than {MOST_LATENTS:,} latents.", cure="Import those of some files, or those with explanations."
                )
        size = max(last for _, last, _ in files) + 1
        found.append(RecordedDictionary((module.name, NO_LAYER), "", size, tuple(sorted(evidence, key=lambda one: one.feature)), ()))
    return FeatureRecords(vocabulary, tuple(found), digest_of({"delphi": digests}), 0, models[0].rstrip("/").rpartition("/")[2])


def _vocabulary(folder: Path, model: str) -> Vocabulary:
    """Return the bytes of the subject's tokens; raises FileMissingError."""
    path = folder / PIECES
    if not is_file(path):
        raise FileMissingError(f"{folder} has no {PIECES}.", why="Delphi caches ids of tokens.", cure=f"Put that of {model[:80]} there.")
    file = of_content(read_json(path, InputError, TOKENIZER), path)
    size = max([-1, *(number for number, _ in file.pieces()), *(added.id for added in file.added_tokens)]) + 1
    if size > MOST_IDS:
        raise InputError(f"{path} has an id of {size - 1:,}.", cure=CURE)
    return vocabulary_of(file, file.special(), size)


def _explained(folder: Path, module: str) -> set[int] | None:
    """Return the latents of a module that have explanations; None where no file has one."""
    names = (EXPLANATION_FILE.fullmatch(path.name) for path in (folder / EXPLANATIONS).glob("*_latent*.txt"))
    return {int(name[2]) for name in names if name and name[1] == module} or None


def _split(path: Path, first: int, last: int, size: int, special: Numbers) -> Split:
    """Read one file; raises DictionaryError for one that Delphi did not write."""
    stored = read_safetensors(path)
    with as_unreadable(path, "file of Delphi's latents, which"):
        locations, values, tokens = (stored[name] for name in ("locations", "activations", "tokens"))
        shapes = [locations.shape, values.shape]
        if shapes != [(*values.shape, 3), (values.size,)] or len(tokens.shape) != 2 or max(values.size, tokens.size) > MOST_ENTRIES:
            raise ValueError(f"has the shapes {shapes[0]}, {shapes[1]} and {tokens.shape}")
        at, ids, peaks = _numbers(locations).astype(np.int64), _numbers(tokens).astype(np.int64), _numbers(values).astype(np.float32)
        if ids.size == 0 or ids.min() < 0 or ids.max() >= size:
            raise ValueError(f"has ids of tokens that {PIECES} has not")
        if at.size and (at.min() < 0 or (at.max(axis=0) >= (*ids.shape, last - first + 1)).any()):
            raise ValueError("has locations beyond its rows, or beyond the latents of its name")
        if not np.isfinite(peaks).all() or np.abs(peaks).max(initial=0) > LARGEST_ACTIVATION:
            raise ValueError("has activations that are no numbers, or too large")
    # What fires at a special token is no evidence of ours.
    counted = (peaks > 0) & ~np.isin(ids[at[:, 0], at[:, 1]], special)
    at, peaks = at[counted], peaks[counted]
    per_row = -(-ids.shape[1] // WINDOW)
    padded = np.full((len(ids), per_row * WINDOW), MOST_IDS, np.int64)
    padded[:, : ids.shape[1]] = ids
    windows = at[:, 0] * per_row + at[:, 1] // WINDOW
    order = np.lexsort((at[:, 1], windows, at[:, 2]))
    return Split(at[order, 2] + first, windows[order], at[order, 1] % WINDOW, peaks[order], padded.reshape(-1, WINDOW))


def _numbers(tensor: StoredTensor) -> Numbers:
    return np.concatenate([np.zeros(0, np.int8), *tensor.stream()]).reshape(tensor.shape) if tensor.size else np.zeros(tensor.shape, np.int8)


def _latents(split: Split, wanted: set[int] | None, texts: list[str]) -> Iterator[tuple[int, list[Pair]]]:
    """Yield each latent with its windows, as texts of tokens and activations."""
    latents, starts = np.unique(split.latents, return_index=True)
    for latent, start, end in zip(latents.tolist(), starts.tolist(), [*starts[1:].tolist(), len(split.latents)], strict=True):
        if wanted is not None and latent not in wanted:
            continue
        windows, first = np.unique(split.windows[start:end], return_index=True)
        peaks = np.maximum.reduceat(split.values[start:end], first)
        ranked = windows[np.argsort(-peaks, kind="stable")]
        chosen = ranked[np.unique(np.linspace(0, len(ranked) - 1, FIRING).astype(np.intp))]
        values = {window: np.zeros(WINDOW, np.float32) for window in chosen.tolist()}
        for window, row in values.items():
            among = slice(*(start + np.searchsorted(split.windows[start:end], [window, window + 1])))
            row[split.places[among]] = split.values[among]
        drawn = np.random.default_rng(latent).integers(0, len(split.tokens), 4 * SILENT)
        silent = drawn[~np.isin(drawn, windows)][:SILENT]
        values |= {window: np.zeros(WINDOW, np.float32) for window in silent.tolist()}
        yield latent, [_pair(split.tokens[window], row, texts) for window, row in values.items()]


def _pair(ids: Numbers, values: Numbers, texts: list[str]) -> Pair:
    length = int((ids < MOST_IDS).sum())
    return [texts[number] for number in ids[:length].tolist()], values[:length].tolist()
