"""A feature that fires on the word `cat`, its test contexts by hand, and a function that scores it."""

import asyncio

import numpy as np

from interp.domain.evidence import ContextKind, Contexts, Split, Statistics
from interp.domain.explanation import Explanation
from interp.domain.spec import ScorerSpec
from interp.domain.vocabulary import Vocabulary
from interp.score import registry
from interp.score.base import ScoreContext, ScorerInput

FILLER = ("the", "old", "man", "went", "home", "and", "sat", "down", "near", "fire")
WORDS = ("<bos>", " cat", " dog", *(f" {word}" for word in FILLER))
VOCABULARY = Vocabulary(tuple(word.encode() for word in WORDS), frozenset({0}))
CAT, DOG = 1, 2
WIDTH = 12
STATISTICS = Statistics(10_000, 100, (1000, 1000), (100, 100), 10.0, 5.0)


def contexts_of(counts, seed=0, per_document=1):
    """`counts` windows of each kind: firing ones have a cat or two at random places, near misses a dog, each with an activation of its own."""
    random = np.random.default_rng(seed)
    rows = []
    for kind, count in counts.items():
        for _ in range(count):
            tokens, activations = random.integers(3, len(WORDS), WIDTH), np.zeros(WIDTH)
            if kind in (ContextKind.TOP, ContextKind.UNIFORM, ContextKind.WEIGHTED):
                places = random.choice(WIDTH, random.integers(1, 3), replace=False)
                tokens[places], activations[places] = CAT, random.uniform(5, 10, len(places))
            elif kind == ContextKind.NEAR_MISS:
                tokens[random.integers(WIDTH)] = DOG
            rows.append((tokens, activations, kind))
    total = len(rows)
    return Contexts(
        tokens=np.array([tokens for tokens, _, _ in rows], dtype=np.uint32).reshape(total, WIDTH),
        activations=np.array([activations for _, activations, _ in rows], dtype=np.float16).reshape(total, WIDTH),
        lengths=np.full(total, WIDTH, dtype=np.uint16),
        kinds=np.array([kind for _, _, kind in rows], dtype=np.uint8),
        splits=np.full(total, Split.TEST, dtype=np.uint8),
        documents=(np.arange(total, dtype=np.uint64) // per_document + 1),
        starts=np.arange(total, dtype=np.uint32) * WIDTH,
        positions=np.full(total, WIDTH, dtype=np.uint16),
    )


FULL = {ContextKind.TOP: 5, ContextKind.UNIFORM: 20, ContextKind.WEIGHTED: 20, ContextKind.INACTIVE: 40, ContextKind.NEAR_MISS: 10}


def explanation(text="cats", feature=0):
    return Explanation(feature, "contexts", text, failure=None if text else "The model refused.")


def item_of(contexts=None, own="cats", nulls=("dogs", "men"), baseline=None, feature=0, distractors=()):
    contexts = contexts_of(FULL, feature) if contexts is None else contexts
    borrowed = tuple(explanation(text, 100 + number) for number, text in enumerate(nulls))
    return ScorerInput(
        feature, contexts, STATISTICS, explanation(own, feature), borrowed, explanation(baseline, feature) if baseline else None, distractors
    )


def score(name, model, item=None, controls=(), second=None, seed=0, share=0.1, gold_items=6, **options):
    context = ScoreContext(VOCABULARY, seed, model, second, None, frozenset(controls), share, gold_items)
    scorer = registry.judged(ScorerSpec(name=name, **options))
    return asyncio.run(scorer.score(item_of() if item is None else item, context))
