"""Read the provenance of a feature: prompts, replies, contexts, items, verdicts, seeds, costs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.reads.explanations import explanation, score
from api.reads.features import contexts, evidence_answer, ranked
from api.reads.names import corpus_name, run_name
from api.reads.usage import total_cost
from api.reads.vocabularies import Vocabularies
from api.schemas.features import ContextAnswer
from api.schemas.provenance import (
    CallProvenance,
    ExplanationProvenance,
    NullExclusion,
    NullProvenance,
    ProvenanceAnswer,
    ScoreProvenance,
    SpendAnswer,
)
from interp.domain.explanation import Explanation, ExplanationFamily
from interp.domain.score import Item
from interp.domain.vocabulary import Vocabulary
from interp.explain.pattern.sentence import whole_text
from interp.score.items.codec import decode_items
from interp.store.db.engine import Session
from interp.store.db.tables import DictionaryRow, ExplanationRow, FeatureRow, LlmCallRow, LlmReplyRow, RunRow, ScoreRow
from interp.store.db.text import unpack
from interp.store.listings import feature_detail, queries
from interp.store.llm import calls, reply_cache
from interp.store.results import explanations, runs

CallKey = tuple[str, str]  # (purpose, key of the call)


@dataclass(frozen=True, slots=True)
class FeatureRecords:
    """A feature's calls (oldest first) and replies by key, items by score, contexts by id."""

    session: Session
    dictionary: DictionaryRow
    run: RunRow
    listed: FeatureRow
    vocabulary: Vocabulary
    items: Mapping[int, Sequence[Item]]
    contexts: Mapping[str, ContextAnswer]
    replies: Mapping[str, LlmReplyRow]
    calls: Mapping[str, Sequence[LlmCallRow]]

    def explanation(self, row: ExplanationRow, scores: Sequence[ScoreRow]) -> ExplanationProvenance:
        made = row.provenance
        own = [self._call(purpose or row.explainer, key, row.job_id) for purpose, key in _keys(made)]
        # Some provenances hold only the number of contexts.
        listed = made.get("contexts")
        named = listed if isinstance(listed, list) else []
        whole = None if row.text is None else whole_text(Explanation(row.feature, row.explainer, row.text, rule=row.rule), self.vocabulary)
        return ExplanationProvenance(
            explanation=explanation(row, self.run, self.dictionary, self.listed, ()),
            whole_text=whole,
            template=made.get("template"),
            prompt_digest=made.get("prompt_digest") or made.get("digest"),
            model=made.get("model"),
            seed=made.get("seed"),
            contexts=[self.contexts[name] for name in named if isinstance(name, str) and name in self.contexts],
            calls=own,
            spend=_spend(own),
            scores=[self._score(row, each) for each in scores],
        )

    def _score(self, explained: ExplanationRow, row: ScoreRow) -> ScoreProvenance:
        own = [self._call(purpose or row.scorer, key, row.job_id) for purpose, key in _keys(_made(row))]
        bound = _made(row).get("nulls")
        return ScoreProvenance(
            score=score(row, self.items.get(row.id, ())),
            nulls=self._nulls(explained, row),
            null_exclusion=bound and NullExclusion(min_cosine=bound["twin_cosine"], indices=bound["twins"], seed=bound["seed"]),
            calls=own,
            spend=_spend(own),
        )

    def _nulls(self, explained: ExplanationRow, row: ScoreRow) -> list[NullProvenance]:
        """Return the borrowed explanations of the nulls, in the order of their answers."""
        features: list[int] = row.details.get("null_features") or []
        family = ExplanationFamily(explained.run_id, explained.explainer, explained.settings_digest)
        borrowed = explanations.load(self.session, family, [(feature, feature + 1) for feature in sorted(features)]) if features else {}
        values = [*(row.null_values or []), *([None] * len(features))]
        return [
            NullProvenance(
                index=feature,
                name=self.dictionary.feature_name(feature),
                text=borrowed[feature][1].text if feature in borrowed else None,
                value=value,
            )
            for feature, value in zip(features, values, strict=False)
        ]

    def _call(self, purpose: str, key: str, job_id: str | None) -> CallProvenance:
        """Return a call from its record, preferably of the same job, and the stored reply."""
        reply, records = self.replies.get(key), self.calls.get(key, ())
        record = next((row for row in records if row.job_id == job_id), records[0] if records else None)
        found: dict[str, Any] = dict.fromkeys(CallProvenance.model_fields)
        if reply is not None:
            found |= {name: getattr(reply, name) for name in found if hasattr(reply, name)} | {"status": "answered"}
        if record is not None:
            found |= {name: getattr(record, name) for name in found if hasattr(record, name)} | {"job": record.job_id}
        texts = reply or record
        if texts is not None:
            found |= {"prompt": texts.prompt and unpack(texts.prompt), "reply": texts.raw and unpack(texts.raw)}
        return CallProvenance(**found | {"key": key, "purpose": purpose, "prompt": _json(found["prompt"]), "reply": _json(found["reply"])})


def provenance(session: Session, vocabularies: Vocabularies, dictionary: str, written: str, run: str | None) -> ProvenanceAnswer:
    """Return the provenance of a feature; raises NotFoundError and BlobCorruptError."""
    of = queries.dictionary(session, dictionary)
    index = queries.feature_number(of, written)
    of_run, vocabulary = runs.shown(session, of, run), vocabularies.of(session, of.subject_id)
    found = feature_detail.read(session, of, of_run, index)
    rows = feature_detail.explanations_of(session, of_run, index)
    scores = queries.scores_of(session, [row.id for row in rows])
    all_scores = [score for group in scores.values() for score in group]
    items = {score: decode_items(blob) for score, blob in feature_detail.items_of(session, all_scores).items()}
    keys = [key for made in (*(row.provenance for row in rows), *map(_made, all_scores)) for _, key in _keys(made)]
    by_key: dict[str, list[LlmCallRow]] = {}
    for call in calls.by_key(session, list(dict.fromkeys(keys))):
        by_key.setdefault(call.key, []).append(call)
    windows = {shown.id: shown for shown in contexts(found.evidence.contexts, vocabulary)}
    records = FeatureRecords(session, of, of_run, found.row, vocabulary, items, windows, reply_cache.load(session, keys), by_key)
    explained = [records.explanation(row, scores.get(row.id, ())) for row in ranked(rows, scores, {found.row.explanation_id or 0})]
    named = {item.context for own in items.values() for item in own}
    return ProvenanceAnswer(
        dictionary=of.name,
        index=index,
        name=of.feature_name(index),
        run=run_name(of_run, of),
        corpus=corpus_name(of_run),
        state=found.row.state,
        evidence=evidence_answer(of_run),
        explanations=explained,
        contexts=[shown for name, shown in windows.items() if name in named],
        spend=_spend([call for one in explained for call in (*one.calls, *(call for score in one.scores for call in score.calls))]),
    )


def _json(text: str | None) -> Any:
    """Return the text parsed as JSON, or the text itself, as of a truncated reply."""
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


def _made(row: ScoreRow) -> Mapping[str, Any]:
    return row.details.get("provenance") or {}


def _keys(made: Mapping[str, Any]) -> Iterator[CallKey]:
    """Yield (purpose, key) of a provenance's calls, listed by purpose or in one list."""
    listed = made.get("calls") or {}
    for purpose, keys in listed.items() if isinstance(listed, dict) else [("", listed)]:
        for key in keys:
            yield purpose, key


def _spend(made: Sequence[CallProvenance]) -> SpendAnswer:
    """Return the tokens and cost of the distinct calls."""
    distinct = list({call.key: call for call in made}.values())
    return SpendAnswer(
        calls=len(distinct),
        prompt_tokens=sum(call.prompt_tokens or 0 for call in distinct),
        completion_tokens=sum(call.completion_tokens or 0 for call in distinct),
        cost_usd=total_cost(call.cost_usd for call in distinct),
    )
