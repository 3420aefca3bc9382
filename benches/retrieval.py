"""Measure what search finds: paraphrases of labels, and topics of the example's labels.

    python -m benches.retrieval --database sqlite:////path/to/glossator.db --json

The database holds a finished job, as `glossator demo` leaves it. Each paraphrase of `benches.retrieval_pairs` is searched among the labels of all
pairs and of the database: `recall@10` is the share whose own label is among the first ten. A topic's `precision@10` is the share of the first ten
that look like it. `codes` compares the search by codes with a scan of all vectors: the share of the scan's first ten that it keeps.
"""

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy import select

from benches.retrieval_pairs import PAIRS, TOPICS
from interp.search import codes, embedder
from interp.search.fusion import fused
from interp.search.words import matches, parse, words_of
from interp.store.db.engine import make_engine, snapshot
from interp.store.db.tables import ExplanationRow
from interp.store.listings.search import DEPTH

FIRST = 10
Search = Callable[[str], Sequence[int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", required=True)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for line in lines(options.database):
        print(json.dumps(line) if options.json else ", ".join(f"{name} {value}" for name, value in line.items() if name != "bench"), flush=True)


def lines(url: str) -> Iterator[dict[str, Any]]:
    engine = make_engine(url)
    with snapshot(engine) as session:
        stored = [text for text in session.scalars(select(ExplanationRow.text).where(ExplanationRow.text.is_not(None)).distinct()) if text]
    engine.dispose()
    labels = [*(label for label, _ in PAIRS), *sorted(stored)]
    began = time.perf_counter()
    vectors = embedder.embed(labels)
    yield {"bench": "retrieval", "case": "labels", "labels": len(labels), "labels_per_s": round(len(labels) / (time.perf_counter() - began))}
    searches = searches_of(labels, vectors)
    for mode, search in searches.items():
        ranks = [_rank(search(said), place) for place, (_, said) in enumerate(PAIRS)]
        found = {
            f"recall@{FIRST}": _share(rank is not None and rank <= FIRST for rank in ranks),
            "mrr": round(float(np.mean([1 / r if r else 0 for r in ranks])), 3),
        }
        yield {"bench": "retrieval", "case": f"paraphrases, {mode}", "queries": len(PAIRS)} | found
    for mode, search in searches.items():
        shares = [_topic(labels, search(topic), like) for topic, like in TOPICS]
        kept = [share for share in shares if share is not None]
        yield {"bench": "retrieval", "case": f"topics, {mode}", "queries": len(kept), f"precision@{FIRST}": round(float(np.mean(kept)), 3)}
    yield {"bench": "retrieval", "case": "codes"} | _codes(vectors)


def searches_of(labels: Sequence[str], vectors: codes.Vectors) -> dict[str, Search]:
    """The three ways of searching, as `interp.store.listings.search` ranks, over labels in memory."""
    length = [len(words_of(label).words) for label in labels]

    def by_words(query: str) -> Sequence[int]:
        terms = parse(query)
        return sorted((place for place, label in enumerate(labels) if matches(terms, label)), key=lambda place: (length[place], place))[:DEPTH]

    def by_meaning(query: str) -> Sequence[int]:
        found: list[int] = np.argsort(-(vectors @ embedder.embed([query])[0]), kind="stable")[:DEPTH].tolist()
        return found

    return {"text": by_words, "meaning": by_meaning, "hybrid": lambda query: [hit.key for hit in fused(by_words(query), by_meaning(query))]}


def _rank(found: Sequence[int], place: int) -> int | None:
    return list(found).index(place) + 1 if place in found else None


def _share(values: Iterator[bool]) -> float:
    return round(float(np.mean(list(values))), 3)


def _topic(labels: Sequence[str], found: Sequence[int], like: str) -> float | None:
    pattern = re.compile(like)
    relevant = sum(bool(pattern.search(label)) for label in labels)
    return sum(bool(pattern.search(labels[place])) for place in found[:FIRST]) / min(FIRST, relevant) if relevant else None


def _codes(vectors: codes.Vectors) -> dict[str, float]:
    """Shares of the scan's first ten that are among the nearest by code."""
    packed = codes.codes_from([codes.code_of(vector) for vector in vectors])
    queries = embedder.embed([said for _, said in PAIRS] + [topic for topic, _ in TOPICS])
    first = [set(np.argsort(-(vectors @ query))[:FIRST].tolist()) for query in queries]
    found = {}
    for count in (100, DEPTH):
        near = [set(codes.nearest(packed, codes.code_of(query), count).tolist()) for query in queries]
        found[f"of {count}"] = round(float(np.mean([len(a & b) / FIRST for a, b in zip(first, near, strict=True)])), 3)
    return found


if __name__ == "__main__":
    main()
