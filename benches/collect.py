"""Compare the cost of complete evidence with that of running the subject and its dictionary.

    python -m benches.collect --features 4096 --tokens 1048576 --json

All variants are measured in one process, alternating over slices of the same batches, after a warm-up, so that other load affects all alike:

- floor        the subject up to the hook point and a plain dense encode, `relu(x @ W + b)`, of each batch under inference_mode, results discarded
               (for a TopK dictionary the encode with its top-k; JumpReLU's own encode costs more than ReLU's, and is not part of the floor);
- tight floor  the same, with the encode's buffer allocated once: page faults are a large part of the plain floor;
- ours         everything that `interp.collect` does with the same batches, from cutting rows to finished evidence, without tables of output tokens.

`ratio_to_floor` and `ratio_to_tight_floor` are medians over the repeats, each of all the tokens; `spread` is their lowest and highest. With
`--json` the standard output is one object per line and nothing else. `--memory` prints the peak memory of ours over increasing numbers of tokens.
`--dictionaries 4` compares four dictionaries in one pass of the subject with a pass for each, spread over the hook points (joined by +).
"""

import argparse
import itertools
import json
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benches.memory import peak_rss_mb, reset_peak
from interp.collect.finish import finish
from interp.collect.memory import Extent, collection_bytes
from interp.collect.run import SharedPass, Wanted, collect, collect_all
from interp.collect.stream import RowBatch
from interp.corpus.tokenized import TokenizedCorpus, tokenize_corpus
from interp.dictionary.module import Dictionary, open_dictionary
from interp.domain.spec import CollectionSpec, CorpusSpec, DictionarySpec, SubjectSpec
from interp.files.artifact_store import Store
from interp.subject.base import Subject, open_subject

EXAMPLE = Path(__file__).parents[1] / "examples" / "pystdlib"
HOOK_POINT = "blocks.1.hook_resid_post"
MEAN_ACTIVE = 40
SLICE_BATCHES = 8
MEMORY_TOKENS = (262_144, 1_048_576, 4_194_304)


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    subject: Subject
    dictionary: Dictionary
    corpus: TokenizedCorpus
    spec: CollectionSpec

    def collection(self) -> SharedPass:
        return SharedPass(self.subject, [Wanted(self.dictionary, np.arange(self.dictionary.n_features))], self.corpus, self.spec, 0)


@dataclass
class Clock:
    """Seconds of one repeat."""

    floor: float = 0.0
    tight: float = 0.0
    ours: float = 0.0
    tokens: int = field(default=0)


def main() -> None:
    options = _options()
    torch.manual_seed(0)
    setting = setting_of(options)
    if options.dictionaries > 1:
        show(_several(setting, options), options.json)
    elif options.memory:
        for line in _memory(setting):
            show(line, options.json)
    else:
        show(_speed(setting, options.repeats), options.json)


def _several(setting: Setting, options: argparse.Namespace) -> dict[str, Any]:
    """Several dictionaries in one pass, and one after another as separate jobs collect them, in turn."""
    points = setting.subject.hook_point.split("+")
    names = [points[number % len(points)] for number in range(options.dictionaries)]
    made = [_dictionary(setting.subject.at(name), setting.corpus, setting.spec, options, seed) for seed, name in enumerate(names)]
    wanted = [Wanted(dictionary, np.arange(dictionary.n_features)) for dictionary in made]
    documents = (0, len(setting.corpus))

    def apart() -> None:
        for name, one in zip(names, wanted, strict=True):
            subject, corpus, spec = setting.subject.at(name), setting.corpus, setting.spec
            collect(subject, one.dictionary, corpus, documents, spec, 0, one.features, lambda _: None, one.levels)

    def together() -> None:
        collect_all(setting.subject, wanted, setting.corpus, documents, setting.spec, 0, lambda _: None)

    ways: dict[str, list[float]] = {"apart": [], "together": []}
    for repeat in range(options.repeats):
        for name, way in (("apart", apart), ("together", together))[:: 1 if repeat % 2 else -1]:
            ways[name].append(seconds_of(setting, way))
    ratios = [one / other for one, other in zip(ways["together"], ways["apart"], strict=True)]
    return _sizes(setting) | {
        "dictionaries": options.dictionaries,
        "hook_points": len(points),
        "tokens": int(setting.corpus.offsets[-1]),
        "ratio_to_separate_jobs": round(statistics.median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "seconds_apart": round(statistics.median(ways["apart"]), 2),
        "seconds_together": round(statistics.median(ways["together"]), 2),
    }


def _speed(setting: Setting, repeats: int) -> dict[str, Any]:
    """Every repeat runs all the tokens three ways, slice by slice."""
    documents = (0, len(setting.corpus))
    with setting.collection() as collection:
        warm = Clock()
        _slice(setting, collection, list(itertools.islice(rows_of(collection, documents), SLICE_BATCHES)), Encode(setting), warm, 0)
    clocks = []
    for repeat in range(repeats):
        reset_peak()
        clocks.append(_repeat(setting, documents, repeat))
    return _summary(setting, clocks)


def _repeat(setting: Setting, documents: tuple[int, int], turn: int) -> Clock:
    clock, encode = Clock(), Encode(setting)
    begun = time.perf_counter()
    with setting.collection() as collection:
        clock.ours += time.perf_counter() - begun
        batches = rows_of(collection, documents)
        while True:
            begun = time.perf_counter()
            part = list(itertools.islice(batches, SLICE_BATCHES))
            clock.ours += time.perf_counter() - begun
            if not part:
                break
            _slice(setting, collection, part, encode, clock, turn)
            turn += 1
        clock.ours += seconds_of(setting, lambda: _complete(setting, collection))
    return clock


def rows_of(collection: SharedPass, documents: tuple[int, int]) -> Iterator[RowBatch]:
    return collection.stream.batches(collection.stream.layout.rows(*documents))


def _complete(setting: Setting, collection: SharedPass) -> None:
    """What is left after the last batch: sorting, reading token ids back, nearest features. Tables of output tokens are no part of the pass."""
    spec = setting.spec.model_copy(update={"output_tokens": 0})
    for _ in finish(collection.partials()[0], setting.subject, setting.dictionary, setting.corpus, spec):
        pass


def _slice(setting: Setting, collection: SharedPass, part: list[RowBatch], encode: "Encode", clock: Clock, turn: int) -> None:
    """The three ways in turn, another one first each time."""

    def floor() -> None:
        clock.floor += seconds_of(setting, lambda: [encode.plain(batch) for batch in part])

    def tight() -> None:
        clock.tight += seconds_of(setting, lambda: [encode.tight(batch) for batch in part])

    def ours() -> None:
        clock.ours += seconds_of(setting, lambda: [collection.stream.take(batch) for batch in part])

    ways = (floor, tight, ours)
    for index in range(3):
        ways[(index + turn) % 3]()
    clock.tokens += sum(batch.content for batch in part)


class Encode:
    """The dense encodes that ours is held against."""

    def __init__(self, setting: Setting) -> None:
        self._subject, self._dictionary = setting.subject, setting.dictionary.to(setting.subject.device)
        self._buffer = torch.empty(0)

    @torch.inference_mode()
    def plain(self, batch: RowBatch) -> None:
        x = self._inputs(batch)
        if self._dictionary.k is None:
            torch.addmm(self._dictionary.b_enc, x, self._dictionary.W_enc).relu()
        else:
            self._dictionary.sparse_codes(x)

    @torch.inference_mode()
    def tight(self, batch: RowBatch) -> None:
        x = self._inputs(batch)
        if len(self._buffer) < len(x):
            self._buffer = x.new_empty((len(x), self._dictionary.n_features))
        out = self._buffer[: len(x)]
        torch.addmm(self._dictionary.b_enc, x, self._dictionary.W_enc, out=out)
        if self._dictionary.k is None:
            out.relu_()
        else:
            out.topk(self._dictionary.k, dim=1, sorted=False)

    def _inputs(self, batch: RowBatch) -> Tensor:
        return self._dictionary.normalise(self._subject.activations(batch.tokens).flatten(0, 1))


def _memory(setting: Setting) -> Iterator[dict[str, Any]]:
    """Ours alone, over the first documents of the corpus."""
    for tokens in MEMORY_TOKENS:
        stop = int(np.searchsorted(setting.corpus.offsets, tokens, side="right")) - 1
        before = peak_rss_mb(now=True)
        reset_peak()
        begun, done = time.perf_counter(), 0
        with setting.collection() as collection:
            for batch in rows_of(collection, (0, stop)):
                collection.stream.take(batch)
                done += batch.content
            collection.partials()[0]
        seconds = time.perf_counter() - begun
        yield _sizes(setting) | {
            "tokens": done,
            "peak_rss_mb": round(peak_rss_mb(), 1),
            "rss_before_mb": round(before, 1),
            "tokens_per_s": round(done / seconds),
        }


def _summary(setting: Setting, clocks: list[Clock]) -> dict[str, Any]:
    to_floor, to_tight = [clock.ours / clock.floor for clock in clocks], [clock.ours / clock.tight for clock in clocks]
    tokens, ours = clocks[0].tokens, statistics.median(clock.ours for clock in clocks)
    return _sizes(setting) | {
        "tokens": tokens,
        "repeats": len(clocks),
        "ratio_to_floor": round(statistics.median(to_floor), 3),
        "spread_to_floor": [round(min(to_floor), 3), round(max(to_floor), 3)],
        "ratio_to_tight_floor": round(statistics.median(to_tight), 3),
        "spread_to_tight_floor": [round(min(to_tight), 3), round(max(to_tight), 3)],
        "seconds_floor": round(statistics.median(clock.floor for clock in clocks), 2),
        "seconds_tight_floor": round(statistics.median(clock.tight for clock in clocks), 2),
        "seconds_ours": round(ours, 2),
        "tokens_per_s": round(tokens / ours),
        "peak_rss_mb": round(peak_rss_mb(), 1),
    }


def _sizes(setting: Setting) -> dict[str, Any]:
    dictionary, spec = setting.dictionary, setting.spec
    return {
        "bench": "collect",
        "device": str(setting.subject.device),
        "threads": torch.get_num_threads(),
        "features": dictionary.n_features,
        "width": dictionary.d_in,
        "activation": dictionary.activation,
        "row_tokens": spec.row_tokens,
        "window": spec.window,
        "batch_tokens": spec.tokens_at_once,
        "encode_dtype": spec.encode_dtype,
        "formula_mb": round(collection_bytes(dictionary.n_features, Extent(dictionary.n_features, dictionary.d_in), spec) / 1e6, 1),
    }


def seconds_of(setting: Setting, work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    if setting.subject.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def setting_of(options: argparse.Namespace) -> Setting:
    subject = open_subject(SubjectSpec(model=str(options.subject), device=options.device, backend=options.backend), options.hook_point)
    tokens = MEMORY_TOKENS[-1] if options.memory else options.tokens
    text = CorpusSpec(path=sysconfig.get_paths()["stdlib"], include=("**/*.py",), undecodable="skip", max_tokens=tokens)
    with tempfile.TemporaryDirectory() as folder:
        corpus = tokenize_corpus(text, subject, Store.in_folder(Path(folder)), lambda _: None)
        spec = CollectionSpec(batch_tokens=options.batch_tokens, encode_dtype=options.encode_dtype)
        return Setting(subject, _dictionary(subject, corpus, spec, options), corpus, spec)


def _dictionary(subject: Subject, corpus: TokenizedCorpus, spec: CollectionSpec, options: argparse.Namespace, seed: int = 0) -> Dictionary:
    """The example's own where it has that many features; else random directions with thresholds that leave `MEAN_ACTIVE` features a token."""
    own = EXAMPLE / "dictionary"
    if own.is_dir() and not options.topk:
        dictionary = open_dictionary(DictionarySpec(source=str(own)))
        if dictionary.n_features == options.features and dictionary.hook_point == subject.hook_point:
            return dictionary
    rows = np.asarray(corpus.tokens[: 16 * (spec.row_tokens - 1)], dtype=np.int64).reshape(16, -1)
    if subject.bos is not None:
        rows = np.pad(rows, ((0, 0), (1, 0)), constant_values=subject.bos)
    x = subject.activations(torch.from_numpy(rows).to(subject.device))[:, 1:].flatten(0, 1).to("cpu", torch.float32)
    drawn = torch.randn(options.features, subject.d_in, generator=torch.Generator().manual_seed(seed))
    directions = torch.nn.functional.normalize(drawn, dim=1)
    mean = x.mean(0)
    thresholds = ((x - mean) @ directions.T).quantile(1 - MEAN_ACTIVE / options.features, dim=0).clamp(min=1e-3)
    return Dictionary(
        name="synthetic@bench",
        hook_point=subject.hook_point,
        architecture="synthetic",
        digest="synthetic",
        config={},
        W_enc=directions.T.contiguous(),
        b_enc=torch.zeros(options.features),
        W_dec=directions,
        b_dec=mean,
        activation="topk" if options.topk else "jumprelu",
        threshold=None if options.topk else thresholds,
        k=MEAN_ACTIVE if options.topk else None,
        pre_bias=mean,
    )


def show(line: dict[str, Any], as_json: bool) -> None:
    print(json.dumps(line) if as_json else "\n".join(f"{name:>24}  {value}" for name, value in line.items()) + "\n", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=4096)
    parser.add_argument("--tokens", type=int, default=1_048_576)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int, default=CollectionSpec().tokens_at_once)
    parser.add_argument("--encode-dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--subject", type=Path, default=EXAMPLE / "subject")
    parser.add_argument("--hook-point", default=HOOK_POINT)
    parser.add_argument("--backend", default="auto", choices=["auto", "bridge", "huggingface"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--dictionaries", type=int, default=1, help="compare so many dictionaries in one pass with one pass each, over the hook points"
    )
    parser.add_argument("--topk", action="store_true", help="a TopK dictionary, compared with a dense encode with top-k")
    parser.add_argument("--memory", action="store_true", help="measure the peak memory of ours over 0.25M, 1M and 4M tokens")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
