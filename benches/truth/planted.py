"""Experiments on the planted dictionary: scores are compared with the truth. Each line of figures gives its number of runs."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from api.demo.fake_llm.readers import CoinReader, ConstantReader, NoisyReader, QuotedReader
from api.demo.fake_llm.texts import draw
from benches.truth.judges import InProcess, judge, oracle
from benches.truth.world import Meaning, World
from interp.domain.evidence import ContextKind, Contexts, FeatureEvidence, Split
from interp.domain.score import Score
from interp.domain.spec import TEST_COUNTS, ScorerSpec
from interp.score import registry
from interp.score.base import ScorerInput
from interp.score.items.nulls import choose_nulls
from interp.stats.misclassification import ErrorRate, corrected_balanced_accuracy
from interp.stats.multiplicity import benjamini_hochberg
from interp.stats.pooled import pooled_p, strata_of
from interp.stats.shrinkage import expected_overlap, shrink

NAMED = ("token", "union", "conditional")
# Rates of the noisy judges: how often they say yes where it is so, and where it is not.
JUDGES = ((0.95, 0.05), (0.9, 0.1), (0.8, 0.3))
DETECTION = ScorerSpec(name="detection", judge="llm")
Line = dict[str, Any]


def named(world: World) -> list[int]:
    """Features that have one right label in words."""
    return [number for number, meaning in enumerate(world.meanings) if meaning.kind in NAMED]


def narrow_of(world: World, feature: int) -> Meaning:
    """A union's label with the second half left out."""
    tokens = world.meanings[feature].tokens
    return Meaning("narrow", f"only {world.vocabulary.text(tokens[0])!r}", tokens[:1])


def broad_of(world: World, feature: int) -> Meaning:
    """A token's label with its neighbour's token added, which is about as frequent."""
    singles = [number for number in named(world) if world.meanings[number].kind == "token"]
    place = singles.index(feature)
    other = world.meanings[singles[place + 1 if place % 2 == 0 else place - 1]].tokens[0]
    token = world.meanings[feature].tokens[0]
    return Meaning("broad", f"either {world.vocabulary.text(token)!r} or {world.vocabulary.text(other)!r}", (token, other))


def of_kind(world: World, kind: str) -> list[int]:
    found = [number for number, meaning in enumerate(world.meanings) if meaning.kind == kind]
    return found[: len(found) // 2 * 2]


def rates(reader: QuotedReader, world: World, feature: int, label: Meaning) -> tuple[float, float]:
    """Recall and specificity of a label as an oracle or a noisy judge reads it, on **all** test windows: what a score estimates."""
    rows = world.test_windows()
    firing = world.fires(world.meanings[feature]).any(axis=1)[rows]
    said = world.fires(label).any(axis=1)[rows]
    if isinstance(reader, NoisyReader):
        said = noisy_verdicts(reader, label.label, [world.texts[row] for row in rows], said)
    return float(said[firing].mean()), float((~said)[~firing].mean())


def noisy_verdicts(reader: NoisyReader, label: str, texts: Sequence[str], so: np.ndarray) -> np.ndarray:
    """bool [n]: what `reader.says_yes` gives where what is so is known already, which saves finding it out once more."""
    limits = np.where(so, reader.true_positive_rate, reader.false_positive_rate)
    return np.array([draw(reader.seed, label, text) for text in texts]) < limits


def thinned(evidence: FeatureEvidence, seed: int) -> Contexts:
    """As many test contexts as a job keeps, drawn anew from the many that the planted dictionary has."""
    random, contexts = np.random.default_rng((seed, evidence.feature)), evidence.contexts.of(Split.TEST)
    keep = [
        random.permutation(np.flatnonzero(contexts.kinds == kind))[: getattr(TEST_COUNTS, kind.name.lower())]
        for kind in ContextKind
        if kind is not ContextKind.TOP
    ]
    return contexts.select(np.sort(np.concatenate(keep)))


def item(world: World, feature: int, label: Meaning, nulls: Sequence[int] = (), seed: int | None = None) -> ScorerInput:
    evidence = world.evidence[feature]
    contexts = evidence.contexts.of(Split.TEST) if seed is None else thinned(evidence, seed)
    return ScorerInput(feature, contexts, evidence.statistics, label.explanation(feature), tuple(world.meanings[o].explanation(o) for o in nulls))


def matched(world: World, features: Sequence[int], count: int, seed: int) -> dict[int, tuple[int, ...]]:
    """Whose labels stand in for whose, as a job chooses them."""
    densities = np.array([world.evidence[feature].statistics.density for feature in features])
    lengths = np.array([len(world.meanings[feature].label) for feature in features])
    return dict(zip(features, choose_nulls(features, densities, lengths, count, seed), strict=True))


def coverage(world: World, seeds: int, judges: Sequence[tuple[float, float]] = JUDGES) -> tuple[Line, Line]:
    """Does the interval of a score hold the figure that the same judge reaches on the whole test corpus? Right labels, and unions half named.

    The second line is of the estimates across the dictionary: shrunken figures against raw ones, and what they say of themselves.
    """
    labels = [(feature, world.meanings[feature]) for feature in named(world)]
    labels += [(feature, narrow_of(world, feature)) for feature in of_kind(world, "union")]
    inside, below, shrunken = [], 0, []
    for number, (yes, alarm) in enumerate(judges):
        reader = NoisyReader(oracle(world, *(label for _, label in labels)), yes, alarm, seed=number)
        true = np.array([np.mean(rates(reader, world, feature, label)) for feature, label in labels])
        for seed in range(seeds):
            scores = judge(InProcess(reader), DETECTION, [item(world, feature, label) for feature, label in labels], world.vocabulary, seed)
            low, high = np.array([(score.interval.low, score.interval.high) for score in scores if score.interval]).T
            inside += ((low <= true) & (true <= high)).tolist()
            below += int((high < true).sum())
            shrunken.append(_shrunken(scores, true, seed))
    runs = len(inside)
    columns = {name: float(np.mean([line[name] for line in shrunken])) for name in shrunken[0]}
    return (
        {"bench": "interval_coverage", "scorer": "detection", "interval_coverage": np.mean(inside), "too_low": below / runs, "runs": runs},
        {"bench": "shrinkage", **columns, "runs": len(shrunken), "features": len(labels)},
    )


def _shrunken(scores: Sequence[Score], true: np.ndarray, seed: int) -> Line:
    values = np.array([score.value for score in scores])
    errors = np.array([(score.interval.high - score.interval.low) / 3.92 for score in scores if score.interval])
    found, k = shrink(values, errors), len(values) // 10
    worst = set(np.argsort(true)[:k].tolist())
    return {
        "raw_error": float(np.sqrt(np.mean((values - true) ** 2))),
        "shrunken_error": float(np.sqrt(np.mean((found.means - true) ** 2))),
        "reliability": found.reliability,
        "true_reliability": float(np.corrcoef(values, true)[0, 1] ** 2),
        "expected_overlap": expected_overlap(found.means, found.deviations, k, seed=seed),
        "true_overlap": len(set(np.argsort(found.means)[:k].tolist()) & worst) / k,
    }


def swaps_executable(world: World, swaps: int) -> Iterator[Line]:
    """Explanations of other features, 20 nulls each, the executable judge: how often does p call one significant?"""
    features = [feature for feature in named(world) if world.meanings[feature].rule is not None]
    items = []
    for swap in range(swaps):
        for feature, others in matched(world, features, 21, swap).items():
            borrowed = np.random.default_rng((swap, feature)).permutation(others).tolist()
            items.append(item(world, feature, world.meanings[borrowed[0]], borrowed[1:], seed=swap))
    for name in ("detection", "simulation"):
        scores = registry.get(ScorerSpec(name=name)).score(items, world.vocabulary, 0)
        p = np.array([score.null.p_value for score in scores if score.null is not None and score.null.p_value is not None])
        yield _calibration(f"executable {name}, 20 nulls", p, len(items))


def swaps_judged(world: World, swaps: int, yes: float = 0.9, alarm: float = 0.1) -> Iterator[Line]:
    """The same with a noisy judge in words and two nulls a feature, p from the nulls of all features; then half of the labels are right."""
    features, swapped, raw, mixed = named(world), [], [], []
    for swap in range(swaps):
        reader = NoisyReader(oracle(world), yes, alarm, seed=swap)
        items = []
        for number, (feature, others) in enumerate(matched(world, features, 3, swap).items()):
            items.append(item(world, feature, world.meanings[others[0]], others[1:]))
            if number % 2:
                items.append(item(world, feature, world.meanings[feature], others[1:]))
        scores = judge(InProcess(reader), DETECTION, items, world.vocabulary, swap)
        is_right = np.array([found.explanation.text == world.meanings[found.feature].label for found in items])
        wrong = [score for score, right in zip(scores, is_right, strict=True) if not right]
        swapped.append(_pooled(world, wrong))
        raw.append(_pooled(world, wrong, paired=False))
        by_feature = {score.feature: (score, right) for score, right in zip(scores, is_right, strict=True)}
        chosen = list(by_feature.values())
        q = benjamini_hochberg(_pooled(world, [score for score, _ in chosen]))
        mixed.append((q <= 0.05, np.array([right for _, right in chosen])))
    p = np.concatenate(swapped)
    yield _calibration("judged detection, 2 nulls, pooled, raw figures", np.concatenate(raw), len(p))
    line = _calibration("judged detection, 2 nulls, pooled, in pairs", p, len(p))
    false = [float((called & ~right).sum() / max(called.sum(), 1)) for called, right in mixed]
    found = [float(called[right].mean()) for called, right in mixed]
    any_called = float(np.mean([(benjamini_hochberg(row) <= 0.05).any() for row in swapped]))
    yield line | {"dictionaries_with_q_at_most_0.05": any_called, "dictionaries": len(swapped)}
    yield {
        "bench": "false_discovery_rate",
        "q": 0.05,
        "false_discovery_rate": np.mean(false),
        "right_labels_found": np.mean(found),
        "runs": len(mixed),
    }


def _pooled(world: World, scores: Sequence[Score], paired: bool = True) -> np.ndarray:
    own = np.array([np.nan if score.value is None else score.value for score in scores])
    nulls = np.array([[np.nan if value is None else value for value in score.null.values] for score in scores if score.null])
    return pooled_p(own, nulls, strata_of(np.array([world.evidence[score.feature].statistics.density for score in scores]), 3), paired)


def _calibration(case: str, p: np.ndarray, asked: int) -> Line:
    q = benjamini_hochberg(p)
    return {
        "bench": "null_false_positive_rate",
        "case": case,
        "null_false_positive_rate": np.mean(p <= 0.05),
        "p_at_most_0.01": np.mean(p <= 0.01),
        "q_at_most_0.05": np.mean(q <= 0.05),
        "undefined": asked - len(p),
        "runs": len(p),
    }


def correction(world: World, seeds: int, judges: Sequence[tuple[float, float]] = JUDGES[1:], gold_items: int = 20, every: int = 1) -> Iterator[Line]:
    """A judge of given rates, corrected by what it says of questions of known answer, against what is so: the oracle's figure on all test windows."""
    labels = [(feature, narrow_of(world, feature)) for feature in of_kind(world, "union")]
    tokens = of_kind(world, "token")
    labels += [(feature, world.meanings[other]) for feature, other in zip(tokens[::2], [*tokens[3::2], tokens[1]], strict=True)]
    labels += [(feature, world.meanings[feature]) for feature in named(world)]
    labels = labels[::every]
    knowing = oracle(world, *(label for _, label in labels))
    true = np.array([np.mean(rates(knowing, world, feature, label)) for feature, label in labels])
    for yes, alarm in judges:
        rows: list[tuple[float, float, float, bool, bool]] = []
        for seed in range(seeds):
            reader = NoisyReader(knowing, yes, alarm, seed=seed)
            items = [item(world, feature, label) for feature, label in labels]
            scores = judge(InProcess(reader), DETECTION, items, world.vocabulary, seed, controls=frozenset({"gold"}), gold_items=gold_items)
            rows += _corrected(scores, true)
        raw, corrected, so, alone, together = np.array(rows, dtype=np.float64).T
        partial = so < 0.99
        yield {
            "bench": "rogan_gladen",
            "judge": f"yes {yes:.0%} of what is so, {alarm:.0%} of what is not",
            "rogan_gladen_coverage": float(together[partial].mean()),
            "coverage_own_gold": float(alone[partial].mean()),
            "coverage_true_figure_1": float(together[~partial].mean()),
            "raw_of_true_1": float(raw[~partial].mean()),
            "corrected_of_true_1": float(corrected[~partial].mean()),
            "bias_raw": float((raw - so)[partial].mean()),
            "bias_corrected": float((corrected - so)[partial].mean()),
            "runs": int(partial.sum()),
        }


def _corrected(scores: Sequence[Score], true: np.ndarray) -> list[tuple[float, float, float, bool, bool]]:
    """Raw figure, corrected figure, true one, and whether the interval holds it: with the feature's own gold questions, and with those of all."""
    counts = np.array([[score.controls[0].details[name] for name in ("tp", "fn", "tn", "fp")] for score in scores])
    rows = []
    for score, own, so in zip(scores, counts, true, strict=True):
        firing = np.array([entry.prediction for entry in score.items if entry.truth > 0]) > 0.5
        silent = np.array([entry.prediction for entry in score.items if entry.truth == 0]) > 0.5
        seen = ErrorRate.of(firing), ErrorRate.of(silent)
        found = [corrected_balanced_accuracy(*seen, *_known(known)) for known in (own, counts.sum(axis=0))]
        inside = [each.bounds is not None and each.bounds[0] <= so <= each.bounds[1] for each in found]
        rows.append((score.value or 0.0, found[1].value or 0.0, float(so), inside[0], inside[1]))
    return rows


def _known(counts: np.ndarray) -> tuple[ErrorRate, ErrorRate]:
    """Sensitivity and specificity from true and false positives and negatives."""
    hits, misses, silent, alarms = counts.tolist()
    return ErrorRate.of(np.arange(hits + misses) < hits), ErrorRate.of(np.arange(silent + alarms) < silent)


def breadth(world: World) -> Iterator[Line]:
    """Right labels, labels twice too broad and labels half too narrow, read by the oracle: which figures move?"""
    tokens, unions = of_kind(world, "token"), of_kind(world, "union")
    cases = {
        "right": [(feature, world.meanings[feature]) for feature in (*tokens, *unions)],
        "twice too broad": [(feature, broad_of(world, feature)) for feature in tokens],
        "half too narrow": [(feature, narrow_of(world, feature)) for feature in unions],
    }
    reader = oracle(world, *(label for found in cases.values() for _, label in found))
    spec = ScorerSpec(name="detection", judge="llm", positives=40, negatives=40)
    for case, labels in cases.items():
        scores = judge(InProcess(reader), spec, [item(world, feature, label) for feature, label in labels], world.vocabulary)
        columns = {
            name: np.array([np.nan if score.metrics[name] is None else score.metrics[name] for score in scores], dtype=np.float64)
            for name in ("balanced_accuracy", "recall", "precision_at_rate", "specificity_near_miss")
        }
        yield {
            "bench": "breadth",
            "label": case,
            **{name: np.nanmean(column) for name, column in columns.items()},
            "flagged_broad": np.mean((columns["precision_at_rate"] < 0.75) | (columns["specificity_near_miss"] < 0.75)),
            "flagged_narrow": np.mean(columns["recall"] < 0.8),
            "runs": len(scores),
        }


def constants(world: World) -> Iterator[Line]:
    """Judges who know nothing: a constant yes, a constant no, a coin. Their figures, and their lift over nulls."""
    features = named(world)
    items = [item(world, feature, world.meanings[feature], others) for feature, others in matched(world, features, 2, 0).items()]
    for name, reader in {"yes": ConstantReader(), "no": ConstantReader(False), "coin": CoinReader()}.items():
        scores = judge(InProcess(reader), DETECTION, items, world.vocabulary)
        lifts = np.array([score.null.lift for score in scores if score.null is not None and score.null.lift is not None])
        covers = [score.interval.low <= 0.5 <= score.interval.high for score in scores if score.interval is not None]
        yield {
            "bench": "know_nothing",
            "judge": name,
            "balanced_accuracy": np.mean([score.value for score in scores]),
            "interval_holds_half": np.mean(covers),
            "lift": np.mean(lifts),
            "p_at_most_0.05": np.mean(_pooled(world, scores) <= 0.05),
            "runs": len(scores),
        }


def leaks(world: World) -> Line:
    """Documents and windows that stand in what an explainer sees and in what a scorer asks about."""
    documents = windows = 0
    for evidence in world.evidence:
        explain, test = evidence.contexts.of(Split.EXPLAIN), evidence.contexts.of(Split.TEST)
        documents += len(np.intersect1d(explain.documents, test.documents))
        windows += len(set(explain.identities()) & set(test.identities()))
    contexts = sum(len(evidence.contexts) for evidence in world.evidence)
    return {"bench": "leak", "documents_in_both": documents, "windows_in_both": windows, "contexts": contexts, "runs": len(world.evidence)}
