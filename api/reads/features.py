"""Read everything stored of one feature."""

from collections.abc import Container, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from api.reads.dictionaries import summary
from api.reads.explanations import explanation
from api.reads.names import exact, run_name
from api.reads.vocabularies import Vocabularies
from api.schemas.features import (
    ContextAnswer,
    EvidenceAnswer,
    FeatureAnswer,
    HistogramAnswer,
    NeighbourAnswer,
    QuantileAnswer,
    SplitStatistics,
    StatisticsAnswer,
    TokenEffectAnswer,
)
from interp.domain.errors import NotFoundError
from interp.domain.evidence import HISTOGRAM_EDGES, ContextKind, Contexts, FeatureEvidence, Split, Statistics, TokenEffect
from interp.domain.vocabulary import Vocabulary
from interp.score import best
from interp.score.items.codec import decode_items
from interp.store.db.engine import Session
from interp.store.db.tables import DictionaryRow, ExplanationRow, RunRow, ScoreRow
from interp.store.listings import feature_detail, queries
from interp.store.listings.feature_detail import FeatureDetailRow
from interp.store.results import runs

# Why an imported feature has no counts.
IMPORTED = "The records hold the feature's strongest documents, not a whole corpus."
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


def feature(session: Session, vocabularies: Vocabularies, dictionary: str, written: str, run: str | None, items: bool) -> FeatureAnswer:
    """Return a feature of a run (default: current); raises NotFoundError, BlobCorruptError."""
    row = queries.dictionary(session, dictionary)
    index = queries.feature_number(row, written)
    of = runs.shown(session, row, run)
    found = feature_detail.read(session, row, of, index)
    labels = feature_detail.explanations_of(session, of, index)
    scores = queries.scores_of(session, [label.id for label in labels])
    packed = feature_detail.items_of(session, [score for group in scores.values() for score in group]) if items else {}
    unpacked = {score_id: decode_items(blob) for score_id, blob in packed.items()} if items else None
    shown = {found.row.explanation_id or 0}
    evidence, vocabulary = found.evidence, vocabularies.of(session, row.subject_id)
    return FeatureAnswer(
        **summary(found.row, of, row, next((label for label in labels if label.id in shown), None)),
        dictionary=row.name,
        subject=found.subject,
        hook_point=row.hook_point,
        evidence=evidence_answer(of),
        statistics=statistics(evidence.statistics),
        histogram=histogram(evidence.histogram),
        quantiles=quantiles(evidence),
        promoted=[_effect(effect, vocabulary) for effect in evidence.promoted],
        suppressed=[_effect(effect, vocabulary) for effect in evidence.suppressed],
        nearest=_nearest(found, row),
        explanations=[explanation(label, of, row, found.row, scores.get(label.id, ()), unpacked) for label in ranked(labels, scores, shown)],
        contexts=contexts(evidence.contexts, vocabulary),
    )


def beside(session: Session, dictionary: str, written: str, run: str | None) -> tuple[str | None, str | None]:
    """Return the addresses of a run's features before and after one; raises NotFoundError."""
    row = queries.dictionary(session, dictionary)
    of, index = runs.shown(session, row, run), queries.feature_number(row, written)
    before, after = (_next(session, row, of, index, descending) for descending in (True, False))
    return before, after


def at_share(session: Session, dictionary: str, run: str | None, share: float) -> str:
    """Return the feature at or after a share (0 to 1) of the indices."""
    row = queries.dictionary(session, dictionary)
    of = runs.shown(session, row, run)
    index = int(share * row.n_features) - 1
    found = _next(session, row, of, index) or _next(session, row, of, -1)
    if found is None:
        raise NotFoundError(f"{run_name(of, row)} has no features yet.", cure="Wait until its job has collected them.")
    return found


def _next(session: Session, dictionary: DictionaryRow, run: RunRow, index: int, descending: bool = False) -> str | None:
    # Whole numbers: PostgreSQL compares an integer column with a float by reading every row.
    place = queries.Position(index, index)
    found = queries.features(session, queries.FeatureQuery(run.id, descending=descending, after=place, limit=1)).rows
    return dictionary.feature_name(found[0].feature).rpartition(":")[2] if found else None


def ranked(rows: Sequence[ExplanationRow], scores: Mapping[int, Sequence[ScoreRow]], shown: Container[int]) -> list[ExplanationRow]:
    """Return a feature's explanations, the `shown` one first, then by `interp.score.best`."""
    pairs = [(row.id, score) for row in rows for score in scores.get(row.id, ())]
    columns = ([getattr(score, name) for _, score in pairs] for name in ("scorer", "value", "shrunken_value", "lift", "q_value", "p_value"))
    unscored = best.unscored([0] * len(rows), [row.id for row in rows])
    found = best.Candidates.joined([unscored, best.scored([0] * len(pairs), [made for made, _ in pairs], *columns)])
    order = list(dict.fromkeys(found.explanations[best.in_order(found)].tolist()))
    return sorted(rows, key=lambda row: (row.id not in shown, row.text is None, order.index(row.id)))


def evidence_answer(run: RunRow) -> EvidenceAnswer:
    return EvidenceAnswer.of(run, id=run.digest)


def statistics(found: Statistics) -> StatisticsAnswer:
    if not found.tokens_seen:
        unknown = dict.fromkeys(("tokens_seen", "tokens_active", "density", "mean_active", "explain", "test"))
        return StatisticsAnswer.of(found, **unknown, max_activation=found.max_activation or None, reason=IMPORTED)
    explain, test = (SplitStatistics(windows_seen=found.windows_seen[split], windows_active=found.windows_active[split]) for split in Split)
    return StatisticsAnswer.of(found, firing_level=exact(found.firing_level), explain=explain, test=test)


def histogram(counts: NDArray[np.int64]) -> HistogramAnswer:
    """Return the bins between the first and last non-empty ones of `counts`, int64 [HISTOGRAM_BINS]."""
    filled = np.flatnonzero(counts)
    if len(filled) == 0:
        return HistogramAnswer(edges=[], counts=[])
    first, last = int(filled[0]), int(filled[-1])
    edges = [exact(edge) for edge in HISTOGRAM_EDGES[first : last + 2]]
    return HistogramAnswer(edges=edges, counts=counts[first : last + 1].tolist())


def quantiles(evidence: FeatureEvidence) -> list[QuantileAnswer]:
    """Return the quantiles `QUANTILES`; none for a dead feature."""
    found = ((share, evidence.quantile(share)) for share in QUANTILES)
    return [QuantileAnswer(share=share, activation=exact(value)) for share, value in found if value is not None]


def contexts(found: Contexts, vocabulary: Vocabulary) -> list[ContextAnswer]:
    """Return the contexts by kind, then split, then descending maximum."""
    maxima = found.maxima()
    identities = found.identities()
    order = np.lexsort((-maxima, found.splits, found.kinds))
    answers = []
    for row in order.tolist():
        length = int(found.lengths[row])
        answers.append(
            ContextAnswer(
                id=identities[row],
                kind=ContextKind(found.kinds[row]).name.lower(),
                split=Split(found.splits[row]).name.lower(),
                document=f"{int(found.documents[row]):016x}",
                start=int(found.starts[row]),
                position=int(found.positions[row]),
                max_activation=exact(maxima[row]),
                left=vocabulary.texts(found.left_tokens(row)),
                tokens=vocabulary.texts(found.tokens[row, :length].tolist()),
                activations=[exact(value) for value in found.activations[row, :length]],
            )
        )
    return answers


def _effect(effect: TokenEffect, vocabulary: Vocabulary) -> TokenEffectAnswer:
    return TokenEffectAnswer(token=vocabulary.text(effect.token), token_id=effect.token, logit=_short(effect.logit))


def _nearest(entry: FeatureDetailRow, of: DictionaryRow) -> list[NeighbourAnswer]:
    answers = []
    for neighbour in entry.evidence.nearest:
        label, value = entry.labels.get(neighbour.feature, (None, None))
        answers.append(
            NeighbourAnswer(
                index=neighbour.feature, name=of.feature_name(neighbour.feature), cosine=_short(neighbour.cosine), label=label, score=value
            )
        )
    return answers


def _short(value: float) -> float:
    """Return a cosine or logit with four significant digits."""
    return float(f"{value:.4g}") if value else value
