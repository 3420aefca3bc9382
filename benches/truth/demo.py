"""Experiments on the example's dictionary: labels on an untrained subject, and stopping early."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from api.demo.fake_llm.readers import NoisyReader
from benches.truth.corpus import definitions
from benches.truth.judges import InProcess, PlantedReader, judge
from interp.collect.finish import finish
from interp.collect.run import collect
from interp.corpus.tokenized import tokenize_corpus
from interp.dictionary.module import open_dictionary
from interp.domain.evidence import FeatureEvidence, Split
from interp.domain.explanation import Explanation
from interp.domain.score import Score
from interp.domain.spec import CollectionSpec, DictionarySpec, ScorerSpec, SubjectSpec
from interp.domain.vocabulary import Vocabulary
from interp.explain.base import ExplainerInput
from interp.explain.pattern.fit import Pattern
from interp.explain.pattern.rule import Rule
from interp.files.artifact_store import Store
from interp.llm.prompt_text import plain
from interp.score import registry
from interp.score.base import ScorerInput
from interp.score.items.nulls import choose_nulls
from interp.score.scorers.binary_metrics import BANDS
from interp.stats.intervals import t_quantile
from interp.subject.base import open_subject

EXAMPLE = Path(__file__).parents[2] / "examples" / "pystdlib"
Line = dict[str, Any]
NULLS = 20


@dataclass(frozen=True)
class Demo:
    """Evidence of some features of the example's dictionary, and their pattern explanations."""

    vocabulary: Vocabulary
    evidence: tuple[FeatureEvidence, ...]
    explanations: tuple[Explanation, ...]


def demo(folder: Path, features: int, max_tokens: int, weights: str = "trained") -> Demo:
    """As `make demo` collects and explains, of fewer features and less text. `weights="random"`: the same dictionary on a subject that has learned
    nothing."""
    spec = SubjectSpec(model=str(EXAMPLE / "subject"), device="cpu", backend="huggingface", weights=weights)
    dictionary = open_dictionary(DictionarySpec(source=str(EXAMPLE / "dictionary"), name="pystdlib@1-res"))
    subject = open_subject(spec, dictionary.hook_point)
    corpus = tokenize_corpus(definitions(folder, max_tokens), subject, Store.in_folder(folder / weights), lambda _tokens: None)
    chosen = np.linspace(0, dictionary.n_features - 1, features).astype(np.int64)
    collection = CollectionSpec(output_tokens=0)
    part = collect(subject, dictionary, corpus, (0, len(corpus)), collection, 0, chosen, lambda _tokens: None)
    evidence = tuple(finish(part, subject, dictionary, corpus, collection))
    vocabulary = subject.vocabulary
    return Demo(vocabulary, evidence, tuple(Pattern().explain([ExplainerInput.of(found, vocabulary) for found in evidence], vocabulary, 0)))


def once(folder: Path, weights: str, features: int = 160, max_tokens: int = 300_000) -> Callable[[], Demo]:
    """The demo when it is asked for, and the same one afterwards."""
    return cache(lambda: demo(folder, features, max_tokens, weights))


def untrained(trained: Demo, random: Demo) -> Iterator[Line]:
    """Detection of labels on the subject that they were made for, on one that has learned nothing, and of labels made afresh for that one."""
    cases = {
        "trained subject, its own labels": (trained.evidence, trained.explanations),
        "random subject, the trained one's labels": (random.evidence, trained.explanations),
        "random subject, explained afresh": (random.evidence, random.explanations),
    }
    for name, (evidence, explanations) in cases.items():
        scores = registry.get(ScorerSpec(name="detection")).score(_inputs(evidence, explanations), trained.vocabulary, 0)
        lifts = np.array([score.null.lift for score in scores if score.null is not None and score.null.lift is not None])
        half = t_quantile(0.95, max(len(lifts) - 1, 1)) * float(lifts.std(ddof=1)) / np.sqrt(len(lifts))
        yield {
            "bench": "random_weights",
            "case": name,
            "balanced_accuracy": np.mean([score.value for score in scores if score.value is not None]),
            "null": np.mean([score.null.value for score in scores if score.null is not None and score.null.value is not None]),
            "lift": lifts.mean(),
            "lift_low": lifts.mean() - half,
            "lift_high": lifts.mean() + half,
            "active": sum(found.statistics.state == "active" for found in evidence),
            "runs": len(lifts),
        }


def _inputs(evidence: Sequence[FeatureEvidence], explanations: Sequence[Explanation]) -> list[ScorerInput]:
    usable = [(found, own) for found, own in zip(evidence, explanations, strict=True) if own.text is not None]
    by_feature = {own.feature: own for _, own in usable}
    densities = np.array([found.statistics.density for found, _ in usable])
    lengths = np.array([len(own.text or "") for _, own in usable])
    others = choose_nulls(list(by_feature), densities, lengths, NULLS, 0)
    return [
        ScorerInput.of(found, own, [by_feature[other] for other in borrowed])
        for (found, own), borrowed in zip(usable, others, strict=True)
        if found.statistics.windows_active[Split.TEST]
    ]


def by_strength(trained: Demo) -> Line:
    """Recall of the rules by the window's peak relative to its feature's maximum, over all positives; and of all firing windows."""
    scores = registry.get(ScorerSpec(name="detection")).score(_inputs(trained.evidence, trained.explanations), trained.vocabulary, 0)
    scores = [score for score in scores if score.metrics.get("recall_of_windows") is not None]
    positives = np.array([sum(item.truth > 0 and item.kind != "top" for item in score.items) for score in scores])
    line: Line = {"bench": "recall_by_strength"}
    for band in BANDS:
        shares, recalls = (np.array([score.metrics[f"{name}_{band}"] or 0.0 for score in scores]) for name in ("share", "recall"))
        line |= {
            f"recall_{band}": float(positives * shares @ recalls / (positives @ shares)),
            f"share_{band}": float(positives @ shares / positives.sum()),
        }
    for name in ("balanced_accuracy", "recall", "recall_uniform", "recall_of_windows", "recall_of_strength"):
        line[name] = float(np.mean([score.metrics[name] for score in scores]))
    return line | {"positives": int(positives.sum()), "runs": len(scores)}


def rule_reader(found: FeatureEvidence, own: Explanation, vocabulary: Vocabulary) -> PlantedReader:
    """A judge that runs the label's rule: it says of each window what the executable judge would, and is asked in words."""
    contexts = found.contexts.of(Split.TEST)
    rule = Rule.from_json(own.rule or {})
    fires = (rule.predict(contexts.tokens, contexts.lengths, contexts.positions, vocabulary) > 0).any(axis=1)
    said = {plain(contexts, row, vocabulary): bool(fires[row]) for row in range(len(contexts))}
    return PlantedReader({own.text or "": lambda text: said.get(text, False)})


def savings(trained: Demo, thresholds: Sequence[float], windows: int = 40, rates: tuple[float, float] | None = None) -> Iterator[Line]:
    """Tokens of the judge with `stop: sequential` against asking everything, and how often both decide alike on which side a feature stands."""
    fixed, cost = _judged(trained, ScorerSpec(name="detection", judge="llm", positives=windows, negatives=windows), rates)
    for threshold in thresholds:
        spec = ScorerSpec(name="detection", judge="llm", positives=windows, negatives=windows, stop="sequential", threshold=threshold)
        early, spent = _judged(trained, spec, rates)
        pairs = [(a, b) for a, b in zip(fixed, early, strict=True) if a.value is not None and b.value is not None]
        stops = [b.provenance["items"]["stopped"] for _, b in pairs]
        alike = [stop not in ("above", "below") or (stop == "above") == (a.value > threshold) for (a, _), stop in zip(pairs, stops, strict=True)]
        yield {
            "bench": "sequential_saving",
            "threshold": threshold,
            "judge": "reads without error" if rates is None else f"yes {rates[0]:.0%} of what is so, {rates[1]:.0%} of what is not",
            "sequential_tokens_saved": 1 - spent / cost,
            "equal_decisions": np.mean(alike),
            "stopped_early": np.mean([stop in ("above", "below") for stop in stops]),
            "above": np.mean([a.value > threshold for a, _ in pairs]),
            "windows": 2 * windows,
            "runs": len(pairs),
        }


def _judged(trained: Demo, spec: ScorerSpec, rates: tuple[float, float] | None) -> tuple[list[Score], int]:
    """Scores of all features that have a label, and the tokens that the judge read and wrote."""
    scores, spent = list[Score](), list[int]()
    for found, own in zip(trained.evidence, trained.explanations, strict=True):
        if own.text is None or found.statistics.state != "active":
            continue
        reader = rule_reader(found, own, trained.vocabulary)
        model = InProcess(reader if rates is None else NoisyReader(reader, *rates), spent=spent)
        scores += judge(model, spec, [ScorerInput.of(found, replace(own, rule=None), [])], trained.vocabulary)
    return scores, sum(spent)
