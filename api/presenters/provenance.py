"""Where everything said of one feature comes from: prompts, replies, contexts, items, verdicts, seeds, costs. Reads the store, stores nothing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.presenters import names, resources
from api.presenters.ranking import ranked
from api.schemas import (
    CallProvenance,
    ContextAnswer,
    ExplanationProvenance,
    NullExclusion,
    NullProvenance,
    ProvenanceAnswer,
    ScoreProvenance,
    SpendAnswer,
)
from interp.domain import explanation as domain
from interp.domain.explanation import ExplanationFamily
from interp.domain.score import Item
from interp.domain.vocabulary import Vocabulary
from interp.explain.pattern.sentence import whole_text
from interp.score.items.codec import decode_items
from interp.store.db.engine import Session
from interp.store.db.tables import DictionaryRow, ExplanationRow, FeatureRow, LlmCallRow, RunRow, ScoreRow
from interp.store.db.text import unpack
from interp.store.listings import feature_detail, queries
from interp.store.llm import calls, reply_cache
from interp.store.llm.reply_cache import Exchange
from interp.store.results import explanations

Asked = tuple[str, str]  # (purpose, key of the call)


@dataclass(frozen=True, slots=True)
class FeatureCalls:
    """The calls behind one feature: answers by key, and every recorded asking by key, oldest first."""

    answers: Mapping[str, Exchange]
    askings: Mapping[str, Sequence[LlmCallRow]]


def provenance(session: Session, vocabulary: Vocabulary, dictionary: DictionaryRow, run: RunRow, index: int) -> ProvenanceAnswer:
    """Everything behind one feature's explanations and scores in a run. Raises NotFound and BlobCorrupt."""
    found = feature_detail.entry(session, dictionary, run, index)
    rows = feature_detail.explanations_of(session, run, index)
    scores = queries.scores_of(session, [row.id for row in rows])
    packed = feature_detail.items_of(session, [score for group in scores.values() for score in group])
    items = {score: decode_items(blob) for score, blob in packed.items()}
    asked = [pair for row in rows for pair in (*_asked(row.provenance), *(pair for score in scores.get(row.id, ()) for pair in _asked_of(score)))]
    kept = _book(session, [key for _, key in asked])
    best = {found.row.explanation_id or 0}
    windows = {shown.id: shown for shown in resources.contexts(found.evidence.contexts, vocabulary)}
    told = [
        _explanation(session, dictionary, run, row, scores.get(row.id, ()), items, kept, windows, found.row, vocabulary)
        for row in ranked(rows, scores, best)
    ]
    spoken = {item.context for own in items.values() for item in own}
    return ProvenanceAnswer(
        dictionary=dictionary.name,
        index=index,
        name=f"{dictionary.name}:{index}",
        run=names.run_name(run, dictionary),
        corpus=names.corpus_name(run),
        state=found.row.state,
        evidence=resources.evidence_answer(run),
        explanations=told,
        contexts=[shown for name, shown in windows.items() if name in spoken],
        spend=_spend([call for one in told for call in (*one.calls, *(call for score in one.scores for call in score.calls))]),
    )


def _explanation(
    session: Session,
    dictionary: DictionaryRow,
    run: RunRow,
    row: ExplanationRow,
    scores: Sequence[ScoreRow],
    items: Mapping[int, Sequence[Item]],
    kept: FeatureCalls,
    windows: Mapping[str, ContextAnswer],
    listed: FeatureRow,
    vocabulary: Vocabulary,
) -> ExplanationProvenance:
    made = row.provenance
    own = [_call(purpose or row.explainer, key, kept, row.job_id) for purpose, key in _asked(made)]
    return ExplanationProvenance(
        explanation=resources.explanation(row, run, dictionary, listed, ()),
        whole_text=None if row.text is None else whole_text(domain.Explanation(row.feature, row.explainer, row.text, rule=row.rule), vocabulary),
        template=made.get("template"),
        prompt_digest=made.get("prompt_digest") or made.get("digest"),
        model=made.get("model"),
        seed=made.get("seed"),
        contexts=[windows[name] for name in _names(made.get("contexts")) if name in windows],
        calls=own,
        spend=_spend(own),
        scores=[_score(session, row, score, items.get(score.id, ()), kept) for score in scores],
    )


def _score(session: Session, explained: ExplanationRow, row: ScoreRow, items: Sequence[Item], kept: FeatureCalls) -> ScoreProvenance:
    own = [_call(purpose or row.scorer, key, kept, row.job_id) for purpose, key in _asked_of(row)]
    return ScoreProvenance(
        score=resources.score(row, items), nulls=_nulls(session, explained, row), null_exclusion=_null_exclusion(row), calls=own, spend=_spend(own)
    )


def _null_exclusion(row: ScoreRow) -> NullExclusion | None:
    stored = (row.details.get("provenance") or {}).get("nulls")
    return None if stored is None else NullExclusion(min_cosine=stored["twin_cosine"], indices=stored["twins"], seed=stored["seed"])


def _nulls(session: Session, explained: ExplanationRow, row: ScoreRow) -> list[NullProvenance]:
    """Whose explanations were borrowed, in the order in which they answered."""
    features: list[int] = row.details.get("null_features") or []
    family = ExplanationFamily(explained.run_id, explained.explainer, explained.settings_digest)
    borrowed = explanations.load(session, family, [(feature, feature + 1) for feature in sorted(features)]) if features else {}
    values = [*(row.null_values or []), *([None] * len(features))]
    return [
        NullProvenance(index=feature, text=borrowed[feature][1].text if feature in borrowed else None, value=value)
        for feature, value in zip(features, values, strict=False)
    ]


def _book(session: Session, keys: Sequence[str]) -> FeatureCalls:
    askings: dict[str, list[LlmCallRow]] = {}
    for row in calls.by_key(session, list(dict.fromkeys(keys))):
        askings.setdefault(row.key, []).append(row)
    return FeatureCalls(reply_cache.load(session, keys), askings)


def _call(purpose: str, key: str, kept: FeatureCalls, job_id: str | None) -> CallProvenance:
    """One question: how it was asked from the record, what was said from the answers kept. The asking of the same job is shown where there is one."""
    answer = kept.answers.get(key)
    askings = kept.askings.get(key, ())
    asking = next((row for row in askings if row.job_id == job_id), askings[0] if askings else None)
    prompt, raw = (answer.prompt, answer.raw) if answer else _unanswered(asking)
    known = asking or answer
    usage = answer.usage if answer else None
    return CallProvenance(
        key=key,
        purpose=purpose,
        job=asking.job_id if asking else None,
        model=known.model if known else None,
        base_url=known.base_url if known else None,
        template=asking.template if asking else None,
        status=asking.status if asking else "answered" if answer else None,
        attempts=asking.attempts if asking else None,
        prompt_tokens=asking.prompt_tokens if asking else usage.prompt_tokens if usage else None,
        completion_tokens=asking.completion_tokens if asking else usage.completion_tokens if usage else None,
        usage_known=asking.usage_known if asking else usage.is_known if usage else None,
        cost_usd=known.cost_usd if known else None,
        seconds=asking.seconds if asking else None,
        error=asking.error if asking else None,
        prompt=_json(prompt),
        reply=_json(raw),
    )


def _unanswered(asking: LlmCallRow | None) -> tuple[str | None, str | None]:
    if asking is None:
        return None, None
    return (unpack(asking.prompt) if asking.prompt else None, unpack(asking.raw) if asking.raw else None)


def _json(text: str | None) -> Any:
    """What the text says, where it is JSON: a reply that was cut off is kept as it came."""
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


def _asked_of(row: ScoreRow) -> Iterator[Asked]:
    return _asked(row.details.get("provenance") or {})


def _asked(made: Mapping[str, Any]) -> Iterator[Asked]:
    """(purpose, key) of every call that a provenance lists: by purpose, or as one list."""
    listed = made.get("calls") or {}
    for purpose, keys in listed.items() if isinstance(listed, dict) else [("", listed)]:
        for key in keys:
            yield purpose, key


def _names(value: Any) -> list[str]:
    """Ids of contexts; a provenance that says only how many there were names none."""
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def _spend(made: Sequence[CallProvenance]) -> SpendAnswer:
    """What the distinct calls took when they were made."""
    distinct = list({call.key: call for call in made}.values())
    costs = [call.cost_usd for call in distinct]
    return SpendAnswer(
        calls=len(distinct),
        prompt_tokens=sum(call.prompt_tokens or 0 for call in distinct),
        completion_tokens=sum(call.completion_tokens or 0 for call in distinct),
        cost_usd=None if any(cost is None for cost in costs) else sum(cost for cost in costs if cost is not None),
    )
