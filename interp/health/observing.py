"""Figures of a dictionary's activity in the same pass as its evidence."""

from collections.abc import Sequence
from dataclasses import dataclass

from interp.collect.levels import FiringLevels
from interp.collect.memory import FIRING
from interp.collect.run import SharedPass
from interp.corpus.tokenized import TokenizedCorpus
from interp.dictionary.module import Dictionary
from interp.domain.spec import CollectionSpec
from interp.files.artifact_store import Store
from interp.health.activity import Activity, fires_at_bos
from interp.health.cofiring.counting import MOST_FEATURES, STRIDE, Cofiring
from interp.health.counts import Counts, load, merge, save
from interp.health.firing import GROUPS, FiringObserver, TokenKinds
from interp.health.token_classes import token_classes
from interp.subject.base import Subject

# The most kinds of tokens that are allowed for: the seven classes and a user's own make some twenty.
MOST_KINDS = 64
# Bytes of a firing in a batch: feature and token, in 64 bits, of each block and joined.
FIRED = 32


@dataclass(frozen=True)
class Observed:
    """Accumulators of one dictionary; their `counts` are complete when its partial evidence is."""

    activity: Activity
    cofiring: Cofiring


def save_counts(store: Store, stem: str, observed: Observed) -> None:
    """Write what was counted to the store; raises DiskFullError."""
    save(store, f"{stem}-activity", observed.activity.counts())
    save(store, f"{stem}-cofiring", observed.cofiring.counts())


def load_counts(store: Store, stems: Sequence[str]) -> tuple[Counts, Counts]:
    """Return activity and co-firing of all shards; raises ArtifactMissingError and BlobCorruptError."""
    return merge(load(store, f"{stem}-activity") for stem in stems), merge(load(store, f"{stem}-cofiring") for stem in stems)


def observe(
    collecting: SharedPass,
    place: int,
    subject: Subject,
    dictionary: Dictionary,
    corpus: TokenizedCorpus,
    levels: FiringLevels | None = None,
    own: Sequence[str] = (),
    seed: int = 0,
) -> Observed:
    """Observe one of a pass's collections, before its first batch.

    `place` is the dictionary's in what the pass collects, `levels` are the collection's, `own` a user's list of tokens, `seed` decides the subset of
    features. Raises InputError for a text of `own` that is no token.
    """
    collection, device = collecting.collections[place], subject.device
    kinds, features = TokenKinds.of(token_classes(subject.vocabulary, own)), collection.features
    bos = fires_at_bos(subject, dictionary, features, None if levels is None else levels.of(features))
    found = Observed(
        Activity(features, kinds, device, collection.origin, bos), Cofiring(features, collection.neighbours, device, seed, collection.origin)
    )
    collection.observer = FiringObserver(corpus, collecting.stream.layout, kinds, device, (found.activity, found.cofiring))
    return found


def observed_bytes(features: int, spec: CollectionSpec) -> int:
    """Estimate, generously, the bytes that observing adds to `collection_bytes`.

    They are the counts and a copy of them (at the default settings 64 MiB and 1 KB a feature, each), and the firings and sampled tokens of a batch.
    """
    together = min(features, MOST_FEATURES) ** 2 * 4
    by_feature = GROUPS * 4 + (MOST_KINDS + spec.near_miss_neighbours + 4) * 8
    batch = int(FIRING * features * spec.tokens_at_once) * FIRED + spec.tokens_at_once // STRIDE * (features + 1)
    return 2 * (together + features * by_feature) + batch
