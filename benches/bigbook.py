"""Fill a database with the results of a large dictionary, through the real repositories.

Figures are a function of the feature's index, so they are always the same. Each feature has evidence, a row, an explanation of each of two
explainers, and per explanation a score of three scorers with its items. One feature in ten is dead. Score and lift are correlated, as in real
results. Labels are drawn from words of which some are in most labels and some in a handful.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from interp.analysis import stored_league
from interp.domain.evidence import HISTOGRAM_BINS, ContextKind, Contexts, FeatureEvidence, Statistics
from interp.domain.explanation import Explanation, ExplanationFamily
from interp.domain.score import Interval, Item, NullResult, Score
from interp.domain.vocabulary import Vocabulary
from interp.files.evidence_codec import encode_evidence
from interp.score.items.codec import encode_items
from interp.store.db.engine import snapshot, transaction
from interp.store.db.tables import EvidenceRow
from interp.store.results import dictionaries, dictionary_scores, evidence, explanations, runs, scores
from interp.store.results.dictionary_scores import BestExplanation
from interp.store.results.evidence import Gathered
from interp.store.results.scores import Scored

NAME, RUN, SUBJECT = "big@1-res", "b" * 64, "s" * 64
EXPLAINERS = ("contexts", "pattern")
SCORERS = ("detection", "fuzzing", "simulation")
TOKENS = 100_000_000
VOCABULARY = Vocabulary((b"<s>", b"a"), frozenset({0}))
# Evidence of features beyond the first ones: not to be read.
SMALL_BLOB = bytes(64)
Write = Callable[[Session], None]
# Word number n is in about five labels of n squared: from one that most have to many that none has.
WORDS = 20_000
# What words are made of, so that they share their letters as words of a language do.
SYLLABLES = [consonant + vowel for consonant in "bdfghjklmnprst" for vowel in "aeiou"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Features of a transaction, and how many of the first have evidence of real size.

    That of the others is small, to spare the disk.
    """

    chunk: int = 1024
    real: int = 32_768


def prepare(engine: Engine, features: int, vocabulary: Vocabulary = VOCABULARY) -> tuple[int, int]:
    """Write the dictionary and its completed run, unless they are there; return their ids."""
    with transaction(engine) as session:
        dictionaries.save_subject(session, SUBJECT, "big", {}, vocabulary)
        kinds: dict[str, Any] = {"hook_point": "blocks.1.hook_resid_post", "architecture": "jumprelu", "d_in": 768, "config": {}}
        found = dictionaries.save_dictionary(session, SUBJECT, name=NAME, digest="d" * 64, n_features=features, **kinds)
        run_id = runs.save(session, RUN, found, {}, {}, TOKENS)
        runs.complete(session, run_id)
    return found, run_id


def missing(engine: Engine, run_id: int, features: int, sizes: Sizes) -> Iterator[range]:
    """The chunks that are not in the book yet."""
    with snapshot(engine) as session:
        done = session.execute(select(func.max(EvidenceRow.feature)).where(EvidenceRow.run_id == run_id)).scalar()
    for start in range(0 if done is None else done + 1, features, sizes.chunk):
        yield range(start, min(start + sizes.chunk, features))


@dataclass(frozen=True, slots=True)
class Figures:
    """What is drawn for the features of a chunk, [F] each."""

    density: NDArray[np.float64]
    score: NDArray[np.float64]
    lift: NDArray[np.float64]
    q_value: NDArray[np.float64]
    dead: NDArray[np.bool_]
    words: NDArray[np.int_]


def figures(chunk: range) -> Figures:
    rng = np.random.default_rng((7, chunk.start))
    number = len(chunk)
    skill = rng.beta(2.0, 2.0, number)
    score = np.clip(0.45 + 0.55 * skill + rng.normal(0, 0.03, number), 0, 1)
    lift = score - 0.5 + rng.normal(0, 0.05, number)
    q_value = np.clip(np.exp(-40 * np.maximum(lift, 0)) * rng.random(number), 0, 1)
    words = (rng.random((number, 5)) ** -1.0).clip(1, WORDS).astype(int)
    return Figures(10 ** rng.uniform(-7, -1, number), score, lift, q_value, rng.random(number) < 0.1, words)


def real_blob(number: int = 64, tokens: int = 2, seed: int = 0) -> bytes:
    """Return evidence of the size that the default settings give.

    What the server keeps does not depend on what it says.
    """
    rng, window = np.random.default_rng(seed), 32
    kept = Contexts(
        tokens=rng.integers(0, tokens, (number, window), dtype=np.uint32),
        activations=(rng.random((number, window)) * (rng.random((number, window)) < 0.6)).astype(np.float16),
        lengths=np.full(number, window, np.uint16),
        kinds=np.full(number, ContextKind.TOP, np.uint8),
        splits=np.arange(number, dtype=np.uint8) % 2,
        documents=rng.integers(0, 2**63, number, dtype=np.uint64),
        starts=np.arange(number, dtype=np.uint32) * window,
        positions=np.zeros(number, np.uint16),
    )
    statistics = Statistics(TOKENS, 40, (10, 10), (5, 5), 1.0, 0.5)
    return encode_evidence(FeatureEvidence(0, statistics, np.ones(HISTOGRAM_BINS, np.int64), kept, (), (), ()))


def gathered(chunk: range, found: Figures, blob: bytes) -> list[Gathered]:
    counts = np.where(found.dead, 0, np.maximum((found.density * TOKENS).astype(int), 1)).tolist()
    return [
        Gathered(feature, Statistics(TOKENS, count, (10, 10), (5, 5), 1.0 + count, 0.5 + count), blob)
        for feature, count in zip(chunk, counts, strict=True)
    ]


def word(number: int) -> str:
    """Three syllables, others for each number: 104,729 is prime, and divides no number of words."""
    first, rest = divmod(number * 104_729 % len(SYLLABLES) ** 3, len(SYLLABLES) ** 2)
    return SYLLABLES[first] + SYLLABLES[rest // len(SYLLABLES)] + SYLLABLES[rest % len(SYLLABLES)]


def labels(chunk: range, found: Figures, explainer: str) -> list[Explanation]:
    made = {"prompt": "f" * 64, "template": "contexts-3", "model": {"model": "some-model", "base_url": "https://example.org/v1"}, "seed": 0}
    texts = [" ".join(word(number) for number in row) for row in found.words.tolist()]
    return [
        Explanation(feature, explainer, None, failure="no context fires") if dead else Explanation(feature, explainer, text, provenance=made)
        for feature, dead, text in zip(chunk, found.dead.tolist(), texts, strict=True)
    ]


def scored(found: Figures, chunk: range, scorer: str, ids: dict[int, int], items: bytes) -> list[Scored]:
    rows = [(feature, place) for place, feature in enumerate(chunk) if not found.dead[place]]
    shift = 0.01 * SCORERS.index(scorer)
    return [
        Scored(ids[feature], _score(feature, scorer, float(found.score[place]) - shift, float(found.lift[place])), items) for feature, place in rows
    ]


def _score(feature: int, scorer: str, value: float, lift: float) -> Score:
    return Score(
        feature=feature,
        explainer="contexts",
        scorer=scorer,
        metric="balanced_accuracy",
        value=value,
        interval=Interval(value - 0.1, value + 0.1, 0.95, "wilson"),
        reason=None,
        answered=40,
        failed=0,
        abstained=0,
        null=NullResult(value - lift, lift, Interval(lift - 0.1, lift + 0.1, 0.95, "bootstrap"), 0.01, (1, 2, 3)),
        metrics={"f1": value, "sensitivity": value, "specificity": value},
        provenance={"judge_model": {"model": "some-model", "base_url": "https://example.org/v1"}, "template": "detection-2"},
        items=(),
    )


def some_items(number: int) -> bytes:
    """Packed items of one score: so many questions."""
    return encode_items(tuple(Item(f"{place:016x}:{place * 32}", "top", 1.0, 1.0) for place in range(number)))


def family(run_id: int, explainer: str) -> ExplanationFamily:
    return ExplanationFamily(run_id, explainer, "p" * 64)


def ids_of(engine: Engine, of: ExplanationFamily, chunk: range) -> dict[int, int]:
    with snapshot(engine) as session:
        return {feature: row for feature, (row, _) in explanations.load(session, of, [(chunk.start, chunk.stop)]).items()}


def best(chunk: range, found: Figures, ids: dict[int, int]) -> list[BestExplanation]:
    """What listings show: the first explainer's label with the first scorer's figures."""
    texts = labels(chunk, found, EXPLAINERS[0])
    shown = [BestExplanation(feature, ids[feature], label.text) for feature, label in zip(chunk, texts, strict=True)]
    return [
        row
        if dead
        else replace(row, scorer="detection", score=float(score), lift=float(lift), q_value=float(q), shrunken_score=0.7 + (float(score) - 0.7) * 0.9)
        for row, dead, score, lift, q in zip(shown, found.dead, found.score, found.lift, found.q_value, strict=True)
    ]


def fill(engine: Engine, run_id: int, features: int, sizes: Sizes) -> None:
    """Write what is not there yet, list best explanations, and update the server's statistics."""
    real, small = some_items(40), some_items(1)
    writer, wrote = Writer(engine, run_id), False
    for chunk in missing(engine, run_id, features, sizes):
        is_real = chunk.stop <= sizes.real
        _run(engine, writer.explanations(chunk))
        _run(engine, writer.scores(chunk, real if is_real else small))
        # Last: that a chunk's evidence is there means that all of it is.
        _run(engine, writer.evidence(chunk, real_blob() if is_real else SMALL_BLOB))
        wrote = True
    if wrote:
        show(engine, run_id, features, sizes)
        stored_league.store(engine, run_id)
        # Listing the best wrote every row anew, and left each index twice its size: what is to be done once after a job of a million features.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("REINDEX TABLE features"))
        vacuum(engine)


def _run(engine: Engine, write: Write) -> None:
    with transaction(engine) as session:
        write(session)


def vacuum(engine: Engine) -> None:
    """What PostgreSQL does by itself, some minutes later."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


@dataclass(frozen=True, slots=True)
class Writer:
    """Make what workers write at the end of a chunk of each stage.

    Each is to be run in a transaction of its own.
    """

    engine: Engine
    run_id: int
    explainers: tuple[str, ...] = EXPLAINERS
    scorers: tuple[str, ...] = SCORERS

    def evidence(self, chunk: range, blob: bytes) -> Write:
        rows = gathered(chunk, figures(chunk), blob)
        return partial(evidence.save, run_id=self.run_id, gathered=rows)

    def explanations(self, chunk: range) -> Write:
        made = {explainer: labels(chunk, figures(chunk), explainer) for explainer in self.explainers}

        def write(session: Session) -> None:
            for explainer, rows in made.items():
                explanations.save(session, self._family(explainer), rows, "big")

        return write

    def scores(self, chunk: range, items: bytes) -> Write:
        found = figures(chunk)
        ids = [ids_of(self.engine, self._family(explainer), chunk) for explainer in self.explainers]
        made = [scored(found, chunk, scorer, own, items) for own in ids for scorer in self.scorers]

        def write(session: Session) -> None:
            for rows in made:
                scores.save(session, self.run_id, "x" * 64, rows, "big")

        return write

    def _family(self, explainer: str) -> ExplanationFamily:
        return ExplanationFamily(self.run_id, explainer, "p" * 64)


def show(engine: Engine, run_id: int, features: int, sizes: Sizes) -> None:
    """Lists each feature's best explanation, as a job's last chunk does."""
    for start in range(0, features, sizes.chunk):
        chunk = range(start, min(start + sizes.chunk, features))
        rows = best(chunk, figures(chunk), ids_of(engine, family(run_id, EXPLAINERS[0]), chunk))
        with transaction(engine) as session:
            dictionary_scores.show_best(session, run_id, rows)
