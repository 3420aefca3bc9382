"""Health report of one dictionary: all figures, by section."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from interp.collect.levels import FiringLevels
from interp.collect.measure.sample import draw
from interp.collect.run import SharedPass, Wanted, collect_all
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.module import Dictionary
from interp.domain.spec import CollectionSpec, HealthSpec, SplitCounts
from interp.health.activity import ActivityReport, activity_report
from interp.health.cofiring.relations import CofiringReport, cofiring_report
from interp.health.concepts import ConceptReport, TokenActivations, concepts
from interp.health.counts import Counts
from interp.health.geometry import Geometry, geometry
from interp.health.matching import Matching, matching
from interp.health.observing import Observed, observe
from interp.health.reconstruction.batches import batches
from interp.health.reconstruction.context import ContextReport, context
from interp.health.reconstruction.measure import Reconstruction, ReconstructionSettings, reconstruction
from interp.health.token_classes import concept_classes
from interp.subject import hooks
from interp.subject.base import Subject
from interp.subject.loaded import OpenedSubject

# Version of the report's shape.
VERSION = 1
# Tokens of the pass that counts firings where collection did not, and of the sample in which classes of tokens are told apart.
COUNTED_TOKENS, CONCEPT_TOKENS = 1 << 19, 16_384
# Progress when classes of tokens are measured; the rest is mostly the spliced passes.
CLASSES = 0.2
NONE = SplitCounts(top=0, uniform=0, weighted=0, inactive=0, near_miss=0)

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All figures of a dictionary, each with its standard error or why not.

    `features` were collected, of `n_features`. `matching` compares it with the job's other dictionaries of the same space; None where it is alone.
    """

    version: int
    dictionary: str
    hook_point: str
    architecture: str
    n_features: int
    features: int
    reconstruction: Reconstruction
    activity: ActivityReport
    cofiring: CofiringReport
    geometry: Geometry
    concepts: ConceptReport
    context: ContextReport
    matching: Matching | None


def report(
    subject: OpenedSubject,
    dictionary: Dictionary,
    corpus: TokenizedCorpus,
    collection: CollectionSpec,
    settings: HealthSpec,
    counted: tuple[Counts, Counts],
    others: tuple[Dictionary, ...],
    seed: int,
    progress: Progress,
) -> HealthReport:
    """Return the report of a dictionary (with a threshold, if it is BatchTopK).

    `counted` is the activity and co-firing of a pass, `others` are dictionaries of the same space to compare it with. `progress` gets the finished
    share, and may raise to stop the work. Raises ActivationsNotFiniteError and SubjectError.
    """
    activity, cofiring = counted
    sample = draw(subject, corpus, collection, dictionary.positions, settings.tokens)
    passes = ReconstructionSettings(settings.tokens, settings.se, seed)
    inputs, classes = _inputs(subject, dictionary, corpus, collection), concept_classes(subject.vocabulary, settings.token_class)
    of_classes = concepts(dictionary, inputs, subject.vocabulary, classes, subject.embedding, seed=seed)
    of_context = context(dictionary, inputs.x, inputs.tokens, inputs.documents, inputs.before)
    progress(CLASSES)
    return HealthReport(
        version=VERSION,
        dictionary=dictionary.name,
        hook_point=dictionary.hook_point,
        architecture=dictionary.architecture,
        n_features=dictionary.n_features,
        features=len(activity.fixed["features"]),
        reconstruction=reconstruction(subject, dictionary, sample, passes, lambda share: progress(CLASSES + (1 - CLASSES) * share)),
        activity=activity_report(activity),
        cofiring=cofiring_report(cofiring, dictionary.W_dec.float().cpu().numpy(), activity.sums["firing"]),
        geometry=geometry(dictionary, widths=_widths(subject, dictionary), seed=seed),
        concepts=of_classes,
        context=of_context,
        matching=matching(dictionary, others, seed=seed) if others else None,
    )


def _inputs(subject: OpenedSubject, dictionary: Dictionary, corpus: TokenizedCorpus, collection: CollectionSpec) -> TokenActivations:
    """Return the dictionary's inputs at the tokens of a sample."""
    sample = draw(subject, corpus, collection, dictionary.positions, CONCEPT_TOKENS)
    inputs, tokens, before, documents = [], [], [], []
    for batch in batches(subject, dictionary, sample):
        rows = sample.tokens[torch.from_numpy(batch.rows)]
        inputs.append(batch.inputs)
        tokens.append(rows[batch.counted].cpu().numpy())
        before.append(torch.nn.functional.pad(rows[:, :-1], (1, 0), value=-1)[batch.counted].cpu().numpy())
        documents.append(batch.units)
    return TokenActivations(torch.cat(inputs), *(np.concatenate(parts) for parts in (tokens, documents, before)))


def count_firings(
    subject: Subject,
    dictionary: Dictionary,
    corpus: TokenizedCorpus,
    collection: CollectionSpec,
    settings: HealthSpec,
    features: NDArray[np.int64],
    levels: FiringLevels | None,
    seed: int,
    progress: Progress,
) -> tuple[Counts, Counts]:
    """Return activity and co-firing of the corpus' first documents, by a pass without contexts.

    Raises ActivationsNotFiniteError.
    """
    stop = int(np.searchsorted(corpus.offsets, COUNTED_TOKENS, side="left"))
    documents = (0, min(max(stop, 1), len(corpus)))
    total, found = max(int(corpus.offsets[documents[1]]), 1), list[Observed]()

    def begin(collecting: SharedPass) -> None:
        found.append(observe(collecting, 0, subject, dictionary, corpus, levels, settings.token_class, seed))

    spec = collection.model_copy(update={"explain": NONE, "test": NONE})
    wanted = Wanted(dictionary, features, levels)
    collect_all(subject, [wanted], corpus, documents, spec, seed, lambda tokens: progress(tokens / total), begin)
    return found[0].activity.counts(), found[0].cofiring.counts()


def _widths(subject: OpenedSubject, dictionary: Dictionary) -> tuple[int, ...] | None:
    """Return the widths of the hook points that are written, where there are several."""
    if len(dictionary.output_points) == 1:
        return None
    return tuple(point.d_in(subject.shape) for name in dictionary.output_points for point in hooks.parse_all(name, subject.shape))
