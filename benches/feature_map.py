"""Time the map of a dictionary: its layout, and the answer of the API with all points.

    python -m benches.feature_map --features 100000 --width 64 --json

The directions are clusters of 50 around random centres. The answer is that of a run with as many listed features on SQLite, asked in the process
itself; `mb` is its size. The layout is left out with `--only answer`.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sqlalchemy import insert, select

from api.app import create_app
from benches.in_process import InProcess
from glossator import Client
from interp.config.settings import Settings
from interp.domain.vocabulary import Vocabulary
from interp.health.layout import layout
from interp.store import migrate
from interp.store.db.engine import make_engine, transaction
from interp.store.db.tables import FeatureRow, RunRow
from interp.store.results import dictionaries, feature_maps, runs

NAME = "made@0-res"
PORTION = 10_000
CLUSTER, SPREAD = 50, 0.7


def main() -> None:
    options = _options()
    line = {"bench": "feature_map", "features": options.features, "width": options.width, "threads": torch.get_num_threads()}
    if options.only != "answer":
        line |= _layout(options.features, options.width)
    if options.only != "layout":
        line |= _answer(options.features)
    line["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(line) if options.json else "  ".join(f"{name} {value}" for name, value in line.items()))


def _layout(features: int, width: int) -> dict[str, object]:
    draw = torch.Generator().manual_seed(0)
    centres = torch.randn(max(features // CLUSTER, 1), width, generator=draw)
    directions = centres[torch.arange(features) % len(centres)] + SPREAD * torch.randn(features, width, generator=draw)
    began, used, searched = time.perf_counter(), time.process_time(), 0.0

    def progress(share: float) -> None:
        nonlocal searched
        if share <= 0.5:
            searched = time.perf_counter() - began

    found = layout(directions, progress=progress).quality
    seconds, used = time.perf_counter() - began, time.process_time() - used
    shares = {name: round(getattr(found, name) or 0, 4) for name in ("layout", "components", "random")}
    return {"neighbours_s": round(searched, 1), "layout_s": round(seconds, 1), "layout_cpu_s": round(used, 1), **shares}


def _answer(features: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder))
        migrate.upgrade(settings.database_url)
        _fill(settings, features)
        with Client("http://bench", InProcess(create_app(settings))) as client:
            took, used = [], time.process_time()
            for _ in range(5):
                began = time.perf_counter()
                found = client.get_dictionary_map(NAME)
                took.append(time.perf_counter() - began)
            used = (time.process_time() - used) / len(took)
    assert found["points"] is not None
    return {"answer_s": round(sorted(took)[2], 3), "answer_cpu_s": round(used, 3), "mb": round(len(json.dumps(found)) / 1e6, 2)}


def _fill(settings: Settings, features: int) -> None:
    engine, draw = make_engine(settings.database_url), np.random.default_rng(0)
    scores = draw.random(features).tolist()
    with transaction(engine) as session:
        dictionaries.save_subject(session, "s" * 64, "made", {"layers": 1}, Vocabulary((b"a",), frozenset()))
        dictionary_id = dictionaries.save_dictionary(
            session,
            "s" * 64,
            name=NAME,
            digest="d" * 64,
            hook_point="blocks.0.hook_resid_post",
            architecture="relu",
            d_in=16,
            n_features=features,
            config={},
        )
        run_id = runs.save(session, "e" * 64, dictionary_id, {"seed": 0}, {"documents": 1}, 1000)
        columns = {"run_id": run_id, "state": "active", "density": 0.01, "tokens_active": 10, "max_activation": 1.0, "mean_active": 0.5}
        rows = [columns | {"feature": feature, "score": score} for feature, score in enumerate(scores)]
        for start in range(0, features, PORTION):
            session.execute(insert(FeatureRow), rows[start : start + PORTION])
        quality = dict.fromkeys(("layout", "components", "random"), None) | {"sampled": 0}
        feature_maps.save(session, dictionary_id, "j", 0, draw.random((features, 2)).astype(np.float32), quality)
        runs.complete(session, session.execute(select(RunRow.id)).scalar_one())
    engine.dispose()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time the map of a dictionary.")
    parser.add_argument("--features", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--only", choices=["layout", "answer"])
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
