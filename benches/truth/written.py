"""Texts written from right, narrow, broad and wrong labels of planted features: what detection and generation together say of a label."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from api.demo.fake_llm.readers import QuotedReader
from benches.truth import shares
from benches.truth.judges import InProcess, judge, oracle
from benches.truth.planted import DETECTION, broad_of, item, matched, named, narrow_of, of_kind
from benches.truth.world import SPEC, Meaning, World
from interp.collect.texts import activations_of_texts
from interp.dictionary.module import open_dictionary
from interp.domain.score import Score
from interp.domain.spec import DictionarySpec, ScorerSpec, SubjectSpec
from interp.score.base import ProbedTexts, ScorerInput
from interp.score.scorers.generation import TEXTS
from interp.subject.base import open_subject
from workers.tasks.probe import median_level

GENERATION = ScorerSpec(name="generation", judge="llm")
# From this share on, a label finds the feature's windows, and its texts make the feature fire.
FINDS = 0.75
NULLS = 20
# Texts of a label whose share of firing ones counts as the label's true sensitivity.
MANY = 30
Line = dict[str, Any]


def name_of(recall: float, sensitivity: float) -> str:
    """A label by the pair: what it finds of the feature's windows, and what share of its texts make the feature fire."""
    if recall >= FINDS:
        return "right" if sensitivity >= FINDS else "broad"
    return "narrow" if sensitivity >= FINDS else "wrong"


def written(world: World, meaning: Meaning, seed: int, count: int = TEXTS) -> tuple[list[str], list[str]]:
    """What a writer who knows the label's words would write: windows of the corpus with them, and without."""
    random, fires = np.random.default_rng((seed, len(meaning.label), meaning.tokens[0])), world.fires(meaning).any(axis=1)
    return tuple([world.texts[row] for row in random.permutation(np.flatnonzero(fires == has))[:count]] for has in (True, False))  # type: ignore[return-value]


def maxima_of(world: World, texts: Sequence[str]) -> np.ndarray:
    """Return every feature's largest activation in each text, float32 [F, N], as a probe chunk finds it."""
    subject = open_subject(SubjectSpec(model=str(world.folder / "subject"), device="cpu", backend="huggingface"), "blocks.0.hook_resid_post")
    dictionary = open_dictionary(DictionarySpec(source=str(world.folder / "dictionary"), name="planted@0-res"))
    return activations_of_texts(subject, dictionary, texts, np.arange(len(world.meanings), dtype=np.int64), SPEC).maxima()


def cases_of(world: World) -> list[tuple[str, int, Meaning]]:
    """Features with a label of each kind: (what it is, feature, label)."""
    names = named(world)
    unions, singles = of_kind(world, "union"), of_kind(world, "token")
    found = [("right", feature, world.meanings[feature]) for feature in (*unions, *singles)]
    found += [("narrow", feature, narrow_of(world, feature)) for feature in unions]
    found += [("broad", feature, broad_of(world, feature)) for feature in singles]
    found += [("wrong", feature, world.meanings[names[(place + 7) % len(names)]]) for place, feature in enumerate(names)]
    return found


def probed(world: World, cases: Sequence[tuple[str, int, Meaning]], nulls: Mapping[int, Sequence[int]]) -> list[ProbedTexts]:
    """What the features do on the texts of the labels and of their nulls, as a probe chunk finds it, in one pass."""
    own = [written(world, label, 0) for _, _, label in cases]
    borrowed = {feature: written(world, world.meanings[feature], 1)[0] for feature in sorted(set().union(*nulls.values()))}
    texts = list(dict.fromkeys([text for pair in own for part in pair for text in part] + [text for part in borrowed.values() for text in part]))
    place = {text: number for number, text in enumerate(texts)}
    maxima = maxima_of(world, texts)

    def numbers(feature: int, part: Sequence[str]) -> tuple[float, ...]:
        return tuple(float(maxima[feature, place[text]]) for text in part)

    return [
        ProbedTexts(
            level=median_level(world.evidence[feature]),
            firing_level=0.0,
            fires=numbers(feature, fires),
            near=numbers(feature, near),
            others={other: numbers(feature, borrowed[other]) for other in nulls[feature]},
        )
        for (_, feature, _), (fires, near) in zip(cases, own, strict=True)
    ]


def scores_of(world: World) -> tuple[list[tuple[str, int, Meaning]], list[Score], list[Score]]:
    """The cases, with their scores by detection and by generation."""
    from dataclasses import replace

    cases, names = cases_of(world), named(world)
    nulls = matched(world, names, NULLS, 0)
    items: list[ScorerInput] = [item(world, feature, label, nulls[feature], seed=0) for _, feature, label in cases]
    reader: QuotedReader = oracle(world, *(label for *_, label in cases))
    detection = judge(InProcess(reader), DETECTION, [replace(one, nulls=()) for one in items], world.vocabulary)
    texts = probed(world, cases, nulls)
    generation = judge(InProcess(reader), GENERATION, [replace(one, probed=each) for one, each in zip(items, texts, strict=True)], world.vocabulary)
    return cases, detection, generation


def widths(world: World) -> Iterator[Line]:
    """How often is a label named what it is by its recall and its sensitivity, and how often by detection alone?"""
    cases, detection, generation = scores_of(world)
    for kind in ("right", "narrow", "broad", "wrong"):
        rows = [row for row, (own, *_) in enumerate(cases) if own == kind]
        recalls = np.array([detection[row].metrics["recall_of_windows"] or 0.0 for row in rows])
        shares = np.array([generation[row].value or 0.0 for row in rows])
        yield {
            "bench": "generation",
            "label": kind,
            "named": np.mean([name_of(recall, share) == kind for recall, share in zip(recalls, shares, strict=True)]),
            "balanced_accuracy": np.mean([detection[row].value for row in rows if detection[row].value is not None]),
            "recall": recalls.mean(),
            "sensitivity": shares.mean(),
            "better_than_null": np.mean([(null := generation[row].null) is not None and (null.p_value or 1.0) <= 0.05 for row in rows]),
            "runs": len(rows),
        }


def lines(world: World, swaps: int) -> Iterator[Line]:
    yield from widths(world)
    yield from calibration(world, swaps)


def calibration(world: World, swaps: int) -> Iterator[Line]:
    """How often is a swapped label better than its nulls, and how often does the interval hold the sensitivity of many texts of the label?

    A swapped label and its nulls are drawn alike, so that they are exchangeable. Intervals are of swapped and of broad labels whose sensitivity is
    neither 0 nor 1.
    """
    names, singles = named(world), of_kind(world, "token")
    labels = [world.meanings[feature] for feature in names] + [broad_of(world, feature) for feature in singles]
    texts = [written(world, label, 2, MANY)[0] for label in labels]
    levels = np.array([median_level(evidence) for evidence in world.evidence], dtype=np.float64)
    maxima = maxima_of(world, [text for own in texts for text in own]).reshape(len(levels), len(labels), MANY)
    reached = (maxima >= levels[:, None, None]) & (maxima > 0)
    place, random = {feature: row for row, feature in enumerate(names)}, np.random.default_rng(0)
    answers, true = [], [reached[feature, len(names) + row].mean() for row, feature in enumerate(singles)]
    for swap in range(swaps):
        for feature, others in matched(world, names, NULLS + 1, swap).items():
            rows = [place[other] for other in random.permutation(others).tolist()]
            answers.append(reached[feature, rows][:, random.permutation(MANY)[:TEXTS]])
            true.append(reached[feature, rows[0]].mean())
    yield shares.null_line("generation", f"swapped labels, {NULLS} nulls", answers, random)
    partial = np.array([share for share in true if 0 < share < 1])
    found = shares.coverage(TEXTS, partial)
    case = "intervals of swapped and broad labels"
    yield {"bench": "generation", "case": case, "interval_coverage": found.mean(), "worst": found.min(), "runs": len(partial)}
    yield shares.interval_line("generation", TEXTS)
