"""Reader of activation records that other tools wrote, with human labels.

A folder holds, in the form of feature-circuits (Marks et al., 2403.19647):

    *contexts.json      objects with `component` (submodule_type, layer_idx, feature_idx, training_run_name) and `top_contexts`, pairs of a
                        document's tokens and the feature's activations at them
    annotations.jsonl   lines with Component, Layer, Feature (or a Name such as resid_5/3036) and Annotation; perhaps Author and Notes

The documents of a feature are those in which it is strongest, so they give contexts and the largest activation, but no density and no mean:
`Statistics.tokens_seen` is 0, which means unknown. All windows of the records are kept, hence all firing ones are the uniform sample of them.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, StringConstraints

from interp.corpus.documents import split_of
from interp.domain.cleaning import lines
from interp.domain.digests import digest_of
from interp.domain.errors import FileMissingError, InputError
from interp.domain.evidence import HISTOGRAM_BINS, ContextKind, Contexts, FeatureEvidence, Split, Statistics, TokenEffect
from interp.domain.vocabulary import Vocabulary
from interp.security.allowed_files import open_file
from interp.security.bounded_json import JsonLimits, parse_json, read_json
from interp.security.foreign_config import Foreign, Index, Name, typed

RECORDS, LABELS = "*contexts.json", "annotations.jsonl"
LIMITS = JsonLimits(nbytes=256 << 20, values=20_000_000, nul=False)
LINE = JsonLimits(nbytes=1 << 16, values=200, nul=False)
MOST_LABELS = 1_000_000
LABEL_NAME = re.compile(r"(embed|attn|mlp|resid)(?:_([0-9]{1,4}))?/([0-9]{1,9})", re.ASCII)
SIZE = re.compile(r"_([0-9]{1,9})$", re.ASCII)
SITES = {"embed": "hook_resid_pre", "attn": "hook_attn_out", "mlp": "hook_mlp_out", "resid": "hook_resid_post", "neurons": "mlp.hook_post"}
WINDOW, TOP = 32, 10
SPECIAL = "<|endoftext|>"
CURE = "Correct it, or take it out of the folder."

Kind = Literal["embed", "attn", "mlp", "resid"]
Token = Annotated[str, StringConstraints(max_length=400)]
Activation = Annotated[float, Field(ge=0, le=65_000)]
Text = Annotated[list[Token], Field(min_length=1, max_length=8192)]
Pair = Annotated[tuple[Text, Annotated[list[Activation], Field(max_length=8192)]], Field(strict=False)]
# A kind of module or the name of a set of dictionaries, and the layer, or NO_LAYER.
Component = tuple[str, int]
NO_LAYER = -1


class RecordedComponent(Foreign):
    """A feature's place in a model, and the training run of its dictionary."""

    submodule_type: Kind
    layer_idx: Annotated[int, Field(ge=0, lt=10_000)]
    feature_idx: Index
    training_run_name: Name = ""


class Record(Foreign):
    """One feature's strongest documents, as tokens and activations."""

    component: RecordedComponent
    top_contexts: Annotated[list[Pair], Field(max_length=10_000)]


@dataclass(frozen=True, slots=True)
class HumanLabel:
    """What a person wrote of a feature; `author` is None where no one is named."""

    feature: int
    text: str
    author: str | None
    notes: str | None


@dataclass(frozen=True, slots=True)
class RecordedDictionary:
    """Evidence and labels of one dictionary's features, ascending; `training` names its training run."""

    component: Component
    training: str
    n_features: int
    evidence: tuple[FeatureEvidence, ...]
    labels: tuple[HumanLabel, ...]

    @property
    def hook_point(self) -> str:
        kind, layer = self.component
        if layer == NO_LAYER:
            return kind
        return f"blocks.{layer}.{SITES[kind]}" if kind in SITES else f"blocks.{layer}"

    @property
    def short_name(self) -> str:
        """Return the part after `model@`."""
        kind, layer = self.component
        return kind if kind == "embed" or layer == NO_LAYER else f"{layer}-{kind}"


@dataclass(frozen=True, slots=True)
class FeatureRecords:
    """A folder's dictionaries and vocabulary.

    `unread` counts the label lines that name no feature, or one that has a label. `model` is the name of the model, where the records have it.
    """

    vocabulary: Vocabulary
    dictionaries: tuple[RecordedDictionary, ...]
    digest: str
    unread: int
    model: str | None = None


def read(folder: Path) -> FeatureRecords:
    """Read a folder; raises FileMissingError, PathRefusedError and InputError."""
    files = sorted(folder.glob(RECORDS))
    records = [record for file in files for record in _records(file)]
    labelled, unread = _labels(folder / LABELS)
    if not records and not labelled:
        raise FileMissingError(f"{folder} holds no activation records.", cure=f"It needs {RECORDS}, {LABELS}, or both: see docs/dictionaries.md.")
    strings = sorted({token for record in records for tokens, _ in record.top_contexts for token in tokens})
    ids = {token: number for number, token in enumerate(strings)}
    vocabulary = Vocabulary(tuple(token.encode() for token in strings), frozenset({ids[SPECIAL]} if SPECIAL in ids else ()))

    trainings = sorted({record.component.training_run_name for record in records})
    features: dict[tuple[Component, str], dict[int, list[Pair]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        at = record.component
        features[(at.submodule_type, at.layer_idx), at.training_run_name][at.feature_idx] += record.top_contexts
    # Labels name no training run: they are those of the records' only one.
    training = trainings[0] if len(trainings) == 1 else ""
    found = []
    for key in sorted({*features, *((component, training) for component in labelled)}):
        component, name = key
        labels = labelled.get(component, {}) if name == training else {}
        numbers = sorted({*features[key], *labels})
        evidence = tuple(evidence_of(number, features[key].get(number, ()), ids) for number in numbers)
        found.append(RecordedDictionary(component, name, _size(name, numbers), evidence, tuple(labels[number] for number in sorted(labels))))
    content = {"records": [record.model_dump(mode="json") for record in records], "labels": [repr(item.labels) for item in found]}
    return FeatureRecords(vocabulary, tuple(found), digest_of(content), unread)


def _size(training: str, numbers: Sequence[int]) -> int:
    """Return the number of features, which the training run's name ends in."""
    size = SIZE.search(training)
    return max(int(size[1]) if size else 0, numbers[-1] + 1)


def _records(file: Path) -> Iterator[Record]:
    for key, content in read_json(file, InputError, LIMITS).items():
        record = typed(Record, content if isinstance(content, Mapping) else {}, f"{file}: {key[:40]!r}", InputError, CURE)
        for place, (tokens, activations) in enumerate(record.top_contexts):
            if len(tokens) != len(activations):
                numbers = f"{len(tokens)} tokens and {len(activations)} activations"
                raise InputError(f"{file}: {key[:40]!r}: top_contexts.{place} has {numbers}.", cure=CURE)
        yield record


def _labels(file: Path) -> tuple[dict[Component, dict[int, HumanLabel]], int]:
    """Return the first label of each feature by component, and how many lines name none."""
    found: dict[Component, dict[int, HumanLabel]] = defaultdict(dict)
    unread = 0
    if not file.exists():
        return found, unread
    with open_file(file) as handle:
        for _ in range(MOST_LABELS):
            line = handle.readline(LINE.nbytes + 1)
            if not line:
                break
            if not line.strip():
                continue
            try:
                at, label = _label(parse_json(line, LINE))
            except (ValueError, RecursionError, KeyError, TypeError):
                unread += 1
                continue
            unread += label.feature in found[at]
            found[at].setdefault(label.feature, label)
    return {at: labels for at, labels in found.items() if labels}, unread


def _label(content: Any) -> tuple[Component, HumanLabel]:
    """Return a label and its place; raises KeyError, TypeError and ValueError for other content."""
    kind, layer, feature = (str(content.get(name, "")) for name in ("Component", "Layer", "Feature"))
    name = LABEL_NAME.fullmatch(f"{kind}_{layer}/{feature}" if layer else f"{kind}/{feature}" if kind else str(content["Name"]))
    text = " ".join(lines(str(content["Annotation"])).split())
    if name is None or not text:
        raise ValueError("it names no feature, or has no text")
    author, notes = (" ".join(lines(str(content.get(field) or "")).split()) or None for field in ("Author", "Notes"))
    return (name[1], int(name[2] or 0)), HumanLabel(int(name[3]), text, author, notes)


def evidence_of(
    feature: int,
    pairs: Iterable[Pair],
    ids: Mapping[str, int],
    promoted: tuple[TokenEffect, ...] = (),
    suppressed: tuple[TokenEffect, ...] = (),
    level: float = 0.0,
) -> FeatureEvidence:
    """Return the evidence of documents (tokens and activations), cut into windows.

    `ids` numbers the tokens. The feature fires above `level`, a float16 number.
    """
    contexts = _contexts(pairs, ids, level)
    fires = contexts.fires()
    # A window is in one row for each of its samples.
    distinct = contexts.kinds != ContextKind.TOP
    explain, test = (int((fires & distinct & (contexts.splits == split)).sum()) for split in Split)
    statistics = Statistics(
        tokens_seen=0,
        tokens_active=int(contexts.fires_at()[distinct].sum()),
        windows_seen=(0, 0),
        windows_active=(explain, test),
        max_activation=float(contexts.maxima().max(initial=0.0)),
        mean_active=0.0,
        firing_level=level,
    )
    return FeatureEvidence(feature, statistics, np.zeros(HISTOGRAM_BINS, np.int64), contexts, promoted, suppressed, ())


def _contexts(pairs: Iterable[Pair], ids: Mapping[str, int], level: float) -> Contexts:
    """Return all windows of distinct documents.

    Firing ones are uniform, the strongest of each split also top, others inactive.
    """
    windows: list[tuple[int, int, list[int], list[float]]] = []
    seen: set[int] = set()
    for texts, values in pairs:
        document = int.from_bytes(hashlib.sha256("".join(texts).encode()).digest()[:8], "big")
        if document in seen:
            continue
        seen.add(document)
        tokens = [ids[text] for text in texts]
        values = [0.0 if text == SPECIAL else value for text, value in zip(texts, values, strict=True)]
        starts_of = (start for start in range(0, len(tokens), WINDOW) if set(texts[start : start + WINDOW]) != {SPECIAL})
        windows += [(document, start, tokens[start : start + WINDOW], values[start : start + WINDOW]) for start in starts_of]
    rows = np.arange(len(windows))
    tokens_of, activations = np.zeros((len(windows), WINDOW), np.uint32), np.zeros((len(windows), WINDOW), np.float16)
    for row, (_, _, tokens, values) in enumerate(windows):
        tokens_of[row, : len(tokens)], activations[row, : len(values)] = tokens, values
    starts = np.array([window[1] for window in windows], np.uint32)
    peaks = activations.max(axis=1, initial=0)
    found = Contexts(
        tokens=tokens_of,
        activations=activations,
        lengths=np.array([len(window[2]) for window in windows], np.uint16),
        kinds=np.where(peaks > level, ContextKind.UNIFORM, ContextKind.INACTIVE).astype(np.uint8),
        splits=np.array([split_of(window[0], 0.5) for window in windows], np.uint8),
        documents=np.array([window[0] for window in windows], np.uint64),
        starts=starts,
        positions=starts.astype(np.uint16),
        levels=np.full(len(windows), level, np.float32),
    )
    order = np.lexsort((starts, found.documents, -peaks))
    top = [rows[order][(found.splits[order] == split) & (peaks[order] > level)][:TOP] for split in Split]
    again = found.select(np.concatenate([rows, *top]).astype(np.intp))
    again.kinds[len(rows) :] = ContextKind.TOP
    return again
