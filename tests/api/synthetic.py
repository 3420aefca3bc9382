"""Write what a finished job leaves behind through the real repositories, without running one."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy import Engine

from interp.domain.evidence import HISTOGRAM_BINS, ContextKind, Contexts, FeatureEvidence, Neighbour, Split, Statistics, TokenEffect
from interp.domain.explanation import Explanation, ExplanationFamily
from interp.domain.score import Interval, Item, NullResult, Score
from interp.domain.vocabulary import Vocabulary
from interp.files.evidence_codec import encode_evidence
from interp.score.items.codec import encode_items
from interp.store.db.engine import transaction
from interp.store.db.tables import FeatureRow
from interp.store.results import dictionaries, dictionary_scores, evidence, explanations, runs, scores
from interp.store.results.dictionary_scores import AdjustedScore, BestExplanation

FEATURES = 12
DEAD = 11
# The features that have a firing level above 0.
LEVELS = {9: 0.0375}
NAME = "toy@1-res"
RUN = "e" * 64
WINDOW = 8
# "é" is split over two tokens, and one token would clear a terminal.
VOCABULARY = Vocabulary((b"<s>", b"self", b".", b"\n", b"\t", b"caf", b"\xc3", b"\xa9", b"\x1b[2J", b" [red]x"), frozenset({0}))
TEXT = "self.\n\tcafé\x1b[2J"
TOKENS = (1, 2, 3, 4, 5, 6, 7, 8)


def fill(engine: Engine) -> None:
    """Write twelve features, whose scores rise with the index.

    Feature 11 is dead; feature 10's label could not be had.
    """
    with transaction(engine) as session:
        dictionaries.save_subject(session, "s" * 64, "toy", {"layers": 2}, VOCABULARY)
        dictionary_id = dictionaries.save_dictionary(
            session,
            "s" * 64,
            name=NAME,
            digest="d" * 64,
            hook_point="blocks.1.hook_resid_post",
            architecture="jumprelu",
            d_in=16,
            n_features=FEATURES + 4,
            config={"format": "saelens"},
        )
        run_id = runs.save(session, RUN, dictionary_id, {"seed": 0}, {"documents": 3}, 1000)
        family = ExplanationFamily(run_id, "pattern", "p" * 64)
        gathered = [feature_evidence(index) for index in range(FEATURES)]
        evidence.save(session, run_id, [evidence.Gathered(item.feature, item.statistics, encode_evidence(item)) for item in gathered])
        explanations.save(session, family, [explanation(index) for index in range(FEATURES)], job_id="j")
        ids = {index: row_id for index, (row_id, _) in explanations.load(session, family, [(0, FEATURES)]).items()}
        scored = [scores.Scored(ids[index], score(index), encode_items(score(index).items)) for index in range(10)]
        scores.save(session, run_id, "x" * 64, scored, job_id="j")
        written = [row for rows in dictionary_scores.scores_of(session, run_id, "detection", "x" * 64) for row in rows]
        dictionary_scores.save_adjusted(session, [AdjustedScore(row.id, row.p_value, row.p_method, 0.01, None, row.null_reason) for row in written])
        shown = [
            BestExplanation(
                row.feature,
                row.explanation_id,
                explanation(row.feature).text,
                *(("detection", row.value, row.lift, 0.01, None, row.p_value) if row.value is not None else ()),
            )
            for row in written
        ]
        labels = [BestExplanation(index, ids[index], explanation(index).text) for index in (10, DEAD)]
        dictionary_scores.show_best(session, run_id, shown + labels)
        runs.complete(session, run_id)


def feature_evidence(index: int) -> FeatureEvidence:
    if index == DEAD:
        empty = Contexts(
            tokens=np.zeros((0, WINDOW), np.uint32),
            activations=np.zeros((0, WINDOW), np.float16),
            lengths=np.zeros(0, np.uint16),
            kinds=np.zeros(0, np.uint8),
            splits=np.zeros(0, np.uint8),
            documents=np.zeros(0, np.uint64),
            starts=np.zeros(0, np.uint32),
            positions=np.zeros(0, np.uint16),
        )
        return FeatureEvidence(index, Statistics(1000, 0, (10, 10), (0, 0), 0.0, 0.0), np.zeros(HISTOGRAM_BINS, np.int64), empty, (), (), ())
    activations = np.zeros((3, WINDOW), np.float16)
    activations[0, 0], activations[1, 6:8] = 4.0 + index, (1.0, 2.0)
    kept = Contexts(
        tokens=np.array([TOKENS] * 3, np.uint32),
        activations=activations,
        lengths=np.array([WINDOW] * 3, np.uint16),
        kinds=np.array([ContextKind.TOP, ContextKind.UNIFORM, ContextKind.INACTIVE], np.uint8),
        splits=np.array([Split.EXPLAIN, Split.TEST, Split.TEST], np.uint8),
        documents=np.array([1, 2**64 - 1, 3], np.uint64),
        starts=np.array([0, 32, 64], np.uint32),
        positions=np.array([0, 0, 0], np.uint16),
    )
    histogram = np.zeros(HISTOGRAM_BINS, np.int64)
    histogram[[44, 48]] = (30, 10)
    statistics = Statistics(1000, 40 + index, (50, 50), (20, 20), 4.0 + index, 1.5, LEVELS.get(index, 0.0))
    return FeatureEvidence(
        index, statistics, histogram, kept, (TokenEffect(2, 1.25),), (TokenEffect(5, -1.5),), (Neighbour(0, 0.75), Neighbour(15, 0.5))
    )


def explanation(index: int) -> Explanation:
    if index in (10, DEAD):
        return Explanation(index, "pattern", None, failure="no context fires")
    return Explanation(index, "pattern", f"100%_self [{index}]", rule={"version": 1}, provenance={"seed": 0})


def score(index: int) -> Score:
    value = index / 10
    items: tuple[Item, ...] = (Item("a:0", "top", 1.0, 1.0), Item("b:32", "inactive", 0.0, None, failure="timeout"))
    null = NullResult(0.5, value - 0.5, Interval(value - 0.6, value - 0.4, 0.95, "bootstrap"), 0.001, (0, 1))
    defined = index > 0
    return Score(
        feature=index,
        explainer="pattern",
        scorer="detection",
        metric="balanced_accuracy",
        value=value if defined else None,
        interval=Interval(value - 0.1, value + 0.1, 0.95, "wilson") if defined else None,
        reason=None if defined else "only positives",
        answered=99,
        failed=1,
        abstained=0,
        null=null if defined else None,
        metrics={"f1": value},
        items=items,
    )


def feature_row(run_id: int, feature: int, **columns: Any) -> dict[str, Any]:
    """A row of `features` for tests of listings."""
    defaults = {
        "state": "active",
        "density": 0.01,
        "tokens_active": 10,
        "max_activation": 1.0,
        "mean_active": 0.5,
        "label": None,
        "score": None,
        "lift": None,
        "p_value": None,
        "q_value": None,
    }
    return {"run_id": run_id, "feature": feature} | defaults | columns


def as_it_may_be(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `features` that was drawn: what never fires has no figures."""
    figures = ("score", "lift", "shrunken_score", "p_value", "q_value")
    return row | {name: None for name in figures if name in row} if row.get("state") == "dead" else row


def empty_run(engine: Engine, name: str) -> int:
    """The id of a completed run of a new dictionary, without features."""
    moment = datetime.now(UTC)
    with transaction(engine) as session:
        dictionaries.save_subject(session, "s" * 64, "toy", {}, VOCABULARY)
        kinds = {"hook_point": f"blocks.0.{name}", "architecture": "jumprelu", "d_in": 16, "n_features": 100, "config": {"made": str(moment)}}
        dictionary_id = dictionaries.save_dictionary(session, "s" * 64, name=name, digest=name[:64], **kinds)
        run_id = runs.save(session, f"{dictionary_id:064x}", dictionary_id, {}, {}, 1)
        runs.complete(session, run_id)
    return run_id


def add_features(engine: Engine, rows: list[dict[str, Any]]) -> None:
    with transaction(engine) as session:
        session.bulk_insert_mappings(FeatureRow.__mapper__, rows)
