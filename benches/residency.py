"""Measure the time saved by models that stay loaded between chunks of a gpu worker.

    python -m benches.residency --json

Collect chunks of one job, each of `--tokens` tokens, run with models loaded and with none: a random Llama of `--layers` layers and d_model
`--width`, and a random dictionary of `--features` features, written to a temporary folder first. Files are in the system's cache, so a cold chunk
pays for reading, converting and checking them, not for a slow disk. Both kinds alternate; figures are medians of `--repeats`.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benches import tiny
from interp.collect.run import collect
from interp.config.settings import Settings
from interp.corpus.tokenized import TokenizedCorpus, tokenize_corpus
from interp.domain.spec import CollectionSpec, JobSpec
from workers import artifact_paths
from workers.runtime import Runtime
from workers.tasks.model_cache import all_models_of, model_cache_of


def job(folder: Path, layers: int, width: int, features: int) -> JobSpec:
    """A job on models of these sizes, with its files."""
    base = tiny.build(folder)
    tiny.write_subject(folder / "subject", tiny.some_texts(), width, layers)
    tiny.write_dictionary(folder / "dictionary", width, features)
    return base.model_copy(update={"collection": CollectionSpec(row_tokens=64, window=16)})


def chunk(runtime: Runtime, spec: JobSpec, corpus: TokenizedCorpus, documents: tuple[int, int]) -> tuple[float, float]:
    """Seconds until the models are open, and of the collection."""
    start = time.perf_counter()
    models = all_models_of(runtime, spec, [0])[0]
    opened = time.perf_counter()
    features = np.arange(models.dictionary.n_features)
    collect(models.subject, models.dictionary, corpus, documents, spec.collection, spec.seed, features, lambda _: None)
    return opened - start, time.perf_counter() - opened


def measure(spec: JobSpec, settings: Settings, tokens: int, repeats: int) -> dict[str, Any]:
    runtime = Runtime.of(settings)
    models = all_models_of(runtime, spec, [0])[0]
    corpus = tokenize_corpus(spec.corpus, models.subject, artifact_paths.store_of(settings), lambda _: None)
    documents = corpus.shards(tokens)[0]
    sizes = {"models_mb": round(models.nbytes / 1e6), "tokens": int(corpus.offsets[documents[1]])}
    del models
    chunk(runtime, spec, corpus, documents)
    warm: list[tuple[float, float]] = []
    cold: list[tuple[float, float]] = []
    for _ in range(repeats):
        model_cache_of.cache_clear()
        cold.append(chunk(runtime, spec, corpus, documents))
        warm.append(chunk(runtime, spec, corpus, documents))
    opening, working = median(item[0] for item in cold), median(item[1] for item in warm)
    return sizes | {
        "open_s": round(opening, 3),
        "still_open_s": round(median(item[0] for item in warm), 4),
        "collect_s": round(working, 3),
        "cold_chunk_s": round(median(sum(item) for item in cold), 3),
        "warm_chunk_s": round(median(sum(item) for item in warm), 3),
        "saved": round(1 - median(sum(item) for item in warm) / median(sum(item) for item in cold), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--features", type=int, default=4_096)
    parser.add_argument("--tokens", type=int, default=8_192)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spec = job(Path(folder), options.layers, options.width, options.features)
        found = measure(spec, Settings(home=Path(folder) / "home"), options.tokens, options.repeats)
    line = {"bench": "residency", "features": options.features} | found
    print(json.dumps(line) if options.json else "  ".join(f"{name} {value}" for name, value in line.items()), flush=True)


if __name__ == "__main__":
    main()
