"""Reader of OpenAI's neuron records and explanations (Bills et al., 2023), a file per neuron.

    {layer}/{neuron}.json                 `neuron_id`, `most_positive_activation_records`, `random_sample` and `random_sample_by_quantile`, whose
                                          records have `tokens` and `activations`; also in `neurons` or `collated-activations`
    explanations/{layer}/{neuron}.jsonl   a line with `neuron_id` and `scored_explanations`

Neurons are dense: they are above 0 at a third of all tokens. A neuron therefore fires at the `firing_rate` of the tokens of its random sample at
which it is strongest; without a random sample, above 0. Activations below 0 are read as 0.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from pydantic import Field

from interp.corpus.feature_records import SPECIAL, Component, FeatureRecords, HumanLabel, Pair, RecordedDictionary, Text, evidence_of
from interp.domain.cleaning import lines
from interp.domain.digests import digest_of
from interp.domain.errors import FileMissingError, InputError
from interp.domain.evidence import FeatureEvidence
from interp.domain.spec import CollectionSpec
from interp.domain.vocabulary import Vocabulary
from interp.security.bounded_json import JsonLimits, read_json
from interp.security.foreign_config import Foreign, Index, typed

RECORDS = ("neurons/*/*.json", "collated-activations/*/*.json", "[0-9]*/*.json")
EXPLANATIONS = ("explanations/*/*.jsonl",)
LIMITS = JsonLimits(nbytes=64 << 20, values=5_000_000, nul=False, constants=True)
MOST_FILES, MOST_TOKENS, LONGEST_LABEL = 100_000, 20_000_000, 10_000
KIND = "neurons"
CURE = "Correct it, or take it out of the folder."

NeuronActivation = Annotated[float, Field(ge=-65_000, le=65_000)]


class NeuronId(Foreign):
    """A neuron's place in a model."""

    layer_index: Annotated[int, Field(ge=0, lt=10_000)]
    neuron_index: Index


class ActivationRecord(Foreign):
    """Tokens of a text, and the neuron's activations at them."""

    tokens: Text
    activations: Annotated[list[NeuronActivation], Field(max_length=8192)]


Records = Annotated[list[ActivationRecord], Field(max_length=10_000)]


class NeuronRecord(Foreign):
    """Texts in which a neuron is strongest, and texts drawn at random."""

    neuron_id: NeuronId
    most_positive_activation_records: Records = Field(default_factory=list)
    random_sample: Records = Field(default_factory=list)
    random_sample_by_quantile: Annotated[list[Records], Field(max_length=100)] | None = None

    @property
    def records(self) -> list[ActivationRecord]:
        of_quantiles = [record for records in self.random_sample_by_quantile or () for record in records]
        return self.most_positive_activation_records + of_quantiles + self.random_sample


class ScoredSimulation(Foreign):
    """The correlation of simulated and true activations; NaN is read as a text."""

    ev_correlation_score: float | str | None = None


class ScoredExplanation(Foreign):
    """An explanation and its score."""

    explanation: Annotated[str, Field(max_length=LONGEST_LABEL)]
    scored_simulation: ScoredSimulation | None = None

    @property
    def score(self) -> float | None:
        found = None if self.scored_simulation is None else self.scored_simulation.ev_correlation_score
        return found if isinstance(found, float) else None


class Explanations(Foreign):
    """Explanations of a neuron."""

    neuron_id: NeuronId
    scored_explanations: Annotated[list[ScoredExplanation], Field(max_length=1000)]


Content = TypeVar("Content", NeuronRecord, Explanations)


def read(folder: Path) -> FeatureRecords:
    """Read a folder; raises FileMissingError, PathRefusedError and InputError."""
    neurons = _by_neuron(_files(folder, RECORDS, NeuronRecord))
    explained = _by_neuron(_files(folder, EXPLANATIONS, Explanations))
    if not neurons and not explained:
        raise FileMissingError(f"{folder} holds no neuron records.", cure="It needs LAYER/NEURON.json: see docs/exports.md.")
    if sum(len(record.tokens) for neuron in neurons.values() for record in neuron.records) > MOST_TOKENS:
        raise InputError(f"{folder} holds more than {MOST_TOKENS:,} tokens.", cure="Import fewer neurons.")
    texts = sorted({token for neuron in neurons.values() for record in neuron.records for token in record.tokens})
    ids = {text: number for number, text in enumerate(texts)}
    labels = {place: _label(place[1], made.scored_explanations) for place, made in explained.items()}
    unread = sum(label is None for label in labels.values())
    places: dict[int, list[int]] = defaultdict(list)
    for layer, number in sorted({*neurons, *(place for place, label in labels.items() if label is not None)}):
        places[layer].append(number)
    found = []
    for layer, numbers in places.items():
        component: Component = (KIND, layer)
        evidence = tuple(_evidence(number, neurons.get((layer, number)), ids) for number in numbers)
        of_layer = tuple(label for number in numbers if (label := labels.get((layer, number))) is not None)
        found.append(RecordedDictionary(component, "", numbers[-1] + 1, evidence, of_layer))
    content = {"neurons": [neuron.model_dump(mode="json") for neuron in neurons.values()], "labels": [repr(item.labels) for item in found]}
    vocabulary = Vocabulary(tuple(text.encode() for text in texts), frozenset({ids[SPECIAL]} if SPECIAL in ids else ()))
    return FeatureRecords(vocabulary, tuple(found), digest_of(content), unread)


def _files(folder: Path, patterns: Sequence[str], kind: type[Content]) -> Iterator[Content]:
    files = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    if len(files) > MOST_FILES:
        raise InputError(f"{folder} holds more than {MOST_FILES:,} files.", cure="Import fewer neurons.")
    for file in files:
        content = typed(kind, read_json(file, InputError, LIMITS), file, InputError, CURE)
        if isinstance(content, NeuronRecord):
            _check(content, file)
        yield content


def _check(neuron: NeuronRecord, file: Path) -> None:
    for record in neuron.records:
        if len(record.tokens) != len(record.activations):
            raise InputError(f"{file}: a record has {len(record.tokens)} tokens and {len(record.activations)} activations.", cure=CURE)


def _by_neuron(contents: Iterator[Content]) -> dict[tuple[int, int], Content]:
    """Return the first content of each neuron, by layer and number."""
    found: dict[tuple[int, int], Content] = {}
    for content in contents:
        found.setdefault((content.neuron_id.layer_index, content.neuron_id.neuron_index), content)
    return found


def _evidence(number: int, neuron: NeuronRecord | None, ids: dict[str, int]) -> FeatureEvidence:
    records = () if neuron is None else neuron.records
    pairs: list[Pair] = [(record.tokens, [max(value, 0.0) for value in record.activations]) for record in records]
    return evidence_of(number, pairs, ids, level=0.0 if neuron is None else firing_level(neuron))


def firing_level(neuron: NeuronRecord) -> float:
    """Return the activation that `firing_rate` of the random sample's tokens exceed.

    It is a float16 number, and 0 without a sample.
    """
    values = [value for record in neuron.random_sample for value in record.activations]
    rate: float = CollectionSpec().firing_rate
    return float(np.float16(max(np.quantile(values, 1 - rate, method="higher"), 0.0))) if values else 0.0


def _label(number: int, made: Sequence[ScoredExplanation]) -> HumanLabel | None:
    """Return the explanation with the largest score, else the first."""
    found = [(one, " ".join(lines(one.explanation).split())) for one in made]
    kept = [(one, text) for one, text in found if text]
    if not kept:
        return None
    one, text = max(kept, key=_rank)
    return HumanLabel(number, text, None, None if one.score is None else f"ev_correlation_score {one.score:.4f}")


def _rank(item: tuple[ScoredExplanation, str]) -> float:
    """Return a score for comparison, below all correlations where there is none."""
    return -2.0 if item[0].score is None else item[0].score
