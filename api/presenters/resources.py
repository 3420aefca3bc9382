"""Rows and evidence turned into answers: pure functions, no session."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from api import schemas
from api.presenters.names import corpus_name, run_name
from interp.domain.evidence import HISTOGRAM_EDGES, ContextKind, Contexts, FeatureEvidence, Split, Statistics, TokenEffect
from interp.domain.score import Item
from interp.domain.vocabulary import Vocabulary
from interp.store.db.tables import DictionaryRow, ExplanationRow, FeatureRow, RunRow, ScoreRow
from interp.store.listings.feature_detail import FeatureDetailRow

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
LEVEL = 0.95  # of every stored interval that names no other


def dictionary(row: DictionaryRow, subject: str, current: RunRow | None, states: dict[str, int] | None = None) -> schemas.DictionaryAnswer:
    """`states` is given in the answer for one dictionary alone: counting reads an index of all its features."""
    return schemas.DictionaryAnswer(
        id=row.id,
        name=row.name,
        digest=row.digest,
        subject=subject,
        subject_digest=row.subject_id,
        hook_point=row.hook_point,
        architecture=row.architecture,
        d_in=row.d_in,
        features=row.n_features,
        current_run=None if current is None else run_name(current, row),
        pinned=current is not None and current.pinned_at is not None,
        states=states,
        config=row.config,
        created_at=row.created_at,
    )


def feature_summary(row: FeatureRow, run: RunRow, dictionary: DictionaryRow, best: ExplanationRow | None) -> schemas.FeatureSummary:
    """`best` is the explanation that the row shows."""
    return schemas.FeatureSummary(
        index=row.feature,
        name=f"{dictionary.name}:{row.feature}",
        run=run_name(run, dictionary),
        corpus=corpus_name(run),
        explainer=None if best is None else best.explainer,
        job=None if best is None else best.job_id,
        scorer=row.scorer,
        state=row.state,
        label=row.label,
        score=row.score,
        shrunken_score=row.shrunken_score,
        lift=row.lift,
        q_value=row.q_value,
        density=row.density,
        tokens_active=row.tokens_active,
        max_activation=row.max_activation,
        mean_active=row.mean_active,
        firing_level=exact(row.firing_level),
    )


def explanation(
    row: ExplanationRow,
    run: RunRow,
    dictionary: DictionaryRow,
    listed: FeatureRow | None,
    scores: Sequence[ScoreRow],
    items: Mapping[int, Sequence[Item]] | None = None,
) -> schemas.ExplanationAnswer:
    """`listed` is the listing's row of the feature, if it has one. `items` maps a score's id to its items; without it scores carry none."""
    return schemas.ExplanationAnswer(
        id=row.id,
        dictionary=dictionary.name,
        run=run_name(run, dictionary),
        corpus=corpus_name(run),
        index=row.feature,
        explainer=row.explainer,
        settings_digest=row.settings_digest,
        best=listed is not None and listed.explanation_id == row.id,
        firing_level=None if listed is None else exact(listed.firing_level),
        text=row.text,
        failure=row.failure,
        rule=row.rule,
        provenance=row.provenance,
        scores=[score(found, None if items is None else items.get(found.id, ())) for found in scores],
        job=row.job_id,
        created_at=row.created_at,
    )


def score(row: ScoreRow, items: Sequence[Item] | None = None) -> schemas.ScoreAnswer:
    null = schemas.NullAnswer(
        value=row.null_value,
        lift=row.lift,
        lift_interval=_interval(row, row.lift_low, row.lift_high, row.lift_method),
        lift_reason=row.lift_reason,
        p_value=row.p_value,
        p_method=row.p_method,
        p_paired=row.p_paired,
        p_paired_reason=row.p_paired_reason,
        q_value=row.q_value,
        reason=row.null_reason,
        values=row.null_values or [],
    )
    controls = [schemas.ControlAnswer.model_validate(control) for control in row.controls or ()]
    return schemas.ScoreAnswer(
        id=row.id,
        scorer=row.scorer,
        judge=judge_of(row),
        metric=row.metric,
        value=row.value,
        interval=_interval(row, row.low, row.high, row.interval_method),
        shrunken_score=row.shrunken_value,
        reason=row.reason,
        answered=row.answered,
        failed=row.failed,
        abstained=row.abstained,
        null=null,
        lift_over_pattern=next((control.lift for control in controls if control.name == "baseline"), None),
        controls=controls,
        details=row.details,
        items=None if items is None else [schemas.ItemAnswer.model_validate(item) for item in items],
        created_at=row.created_at,
    )


def judge_of(row: ScoreRow) -> str | None:
    """Who answered: a language model by its name, or `executable`."""
    made = row.details.get("provenance") or {}
    for name in ("judge_model", "model"):
        if isinstance(made.get(name), dict):
            return str(made[name].get("model"))
    judge = made.get("judge")
    return judge if isinstance(judge, str) else None


def _interval(row: ScoreRow, low: float | None, high: float | None, method: str | None) -> schemas.IntervalAnswer | None:
    if low is None or high is None:
        return None
    return schemas.IntervalAnswer(low=low, high=high, level=row.details.get("level") or LEVEL, method=method)


def feature(
    entry: FeatureDetailRow,
    dictionary_row: DictionaryRow,
    vocabulary: Vocabulary,
    best: ExplanationRow | None,
    explanations: list[schemas.ExplanationAnswer],
) -> schemas.FeatureAnswer:
    """Everything known of one feature, token ids turned into text."""
    evidence, found = entry.evidence, entry.run
    return schemas.FeatureAnswer(
        **feature_summary(entry.row, found, dictionary_row, best).model_dump(),
        dictionary=dictionary_row.name,
        subject=entry.subject,
        hook_point=dictionary_row.hook_point,
        evidence=evidence_answer(found),
        statistics=statistics(evidence.statistics),
        histogram=histogram(evidence.histogram),
        quantiles=quantiles(evidence),
        promoted=[_effect(effect, vocabulary) for effect in evidence.promoted],
        suppressed=[_effect(effect, vocabulary) for effect in evidence.suppressed],
        nearest=_nearest(entry),
        explanations=explanations,
        contexts=contexts(evidence.contexts, vocabulary),
    )


def evidence_answer(run: RunRow) -> schemas.EvidenceAnswer:
    return schemas.EvidenceAnswer(id=run.digest, tokens=run.tokens, corpus=run.corpus, identity=run.identity, created_at=run.created_at)


def statistics(found: Statistics) -> schemas.StatisticsAnswer:
    explain, test = (schemas.SplitStatistics(windows_seen=found.windows_seen[split], windows_active=found.windows_active[split]) for split in Split)
    return schemas.StatisticsAnswer(
        tokens_seen=found.tokens_seen,
        tokens_active=found.tokens_active,
        density=found.density,
        max_activation=found.max_activation,
        mean_active=found.mean_active,
        firing_level=exact(found.firing_level),
        explain=explain,
        test=test,
    )


def histogram(counts: NDArray[np.int64]) -> schemas.HistogramAnswer:
    """`counts` int64 [HISTOGRAM_BINS]; what is left spans the first to the last bin that holds a token."""
    filled = np.flatnonzero(counts)
    if len(filled) == 0:
        return schemas.HistogramAnswer(edges=[], counts=[])
    first, last = int(filled[0]), int(filled[-1])
    edges = [exact(edge) for edge in HISTOGRAM_EDGES[first : last + 2]]
    return schemas.HistogramAnswer(edges=edges, counts=counts[first : last + 1].tolist())


def quantiles(evidence: FeatureEvidence) -> list[schemas.QuantileAnswer]:
    """The usual shares; nothing for a dead feature."""
    found = ((share, evidence.quantile(share)) for share in QUANTILES)
    return [schemas.QuantileAnswer(share=share, activation=exact(value)) for share, value in found if value is not None]


def contexts(found: Contexts, vocabulary: Vocabulary) -> list[schemas.ContextAnswer]:
    """Grouped by kind, then split, each group by falling maximum."""
    maxima = found.maxima()
    identities = found.identities()
    order = np.lexsort((-maxima, found.splits, found.kinds))
    answers = []
    for row in order.tolist():
        length = int(found.lengths[row])
        answers.append(
            schemas.ContextAnswer(
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


def _effect(effect: TokenEffect, vocabulary: Vocabulary) -> schemas.TokenEffectAnswer:
    return schemas.TokenEffectAnswer(token=vocabulary.text(effect.token), token_id=effect.token, logit=_short(effect.logit))


def _nearest(entry: FeatureDetailRow) -> list[schemas.NeighbourAnswer]:
    answers = []
    for neighbour in entry.evidence.nearest:
        label, value = entry.labels.get(neighbour.feature, (None, None))
        answers.append(schemas.NeighbourAnswer(index=neighbour.feature, cosine=_short(neighbour.cosine), label=label, score=value))
    return answers


def exact(value: float | np.float32) -> float:
    """The shortest decimal that is this activation again as float32, however small: a token that fires above its level does so in an answer, too."""
    return float(str(np.float32(value))) if value else 0.0  # most activations are 0


def _short(value: float) -> float:
    """Four significant digits, for cosines and logits: nothing is held against them."""
    return float(f"{value:.4g}") if value else value
