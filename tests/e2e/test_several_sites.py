"""Jobs of dictionaries at several hook points: their evidence is that of the activations, computed from the model's own hidden states."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sqlalchemy import select
from transformers import AutoModelForCausalLM

from benches.tiny import LAYERS, WIDTH
from interp.config.settings import Settings
from interp.corpus.tokenized import TokenizedCorpus, open_corpus
from interp.domain.spec import DictionarySpec, JobSpec
from interp.files.evidence_codec import decode_evidence
from interp.store.db.engine import snapshot
from interp.store.db.tables import DictionaryRow, EvidenceRow, RunRow
from tests import databases
from tests.dictionary.files import randn, written
from tests.workers.test_pipeline import complete
from workers import artifact_paths
from workers.runtime import Runtime

FEATURES = 12
POINTS = "+".join(f"blocks.{layer}.hook_resid_post" for layer in range(LAYERS))


def crosscoder(folder: Path) -> dict[str, torch.Tensor]:
    t = {
        "encoder.weight": randn(LAYERS, WIDTH, FEATURES) / WIDTH**0.5,
        "encoder.bias": torch.full((FEATURES,), -1.0),
        "decoder.weight": randn(LAYERS, FEATURES, WIDTH),
        "decoder.bias": torch.zeros(LAYERS, WIDTH),
    }
    written(folder, "config.json", {"activation_dim": WIDTH, "dict_size": FEATURES, "num_layers": LAYERS}, "ae.pt", t)
    return t


def rows(corpus: TokenizedCorpus, row_tokens: int) -> Iterator[np.ndarray[Any, Any]]:
    for start, stop in zip(corpus.offsets, corpus.offsets[1:], strict=False):
        for first in range(start, stop, row_tokens - 1):
            yield corpus.tokens[first : min(first + row_tokens - 1, stop)].astype(np.int64)


def test_a_crosscoder_is_collected_at_all_its_hook_points(tiny_job: JobSpec, tmp_path: Path) -> None:
    t = crosscoder(tmp_path / "crosscoder")
    dictionary = DictionarySpec(source=str(tmp_path / "crosscoder"), hook_point=POINTS, name="tiny@crosscoder")
    spec = tiny_job.model_copy(update={"dictionary": dictionary, "scorers": ()})
    runtime = runtime_at(tmp_path / "home")
    found = complete(runtime, spec)
    assert found.status == "completed", found.error
    with snapshot(runtime.engine) as session:
        (stored,) = session.scalars(select(DictionaryRow)).all()
        evidence = [decode_evidence(blob) for blob in session.scalars(select(EvidenceRow.blob).order_by(EvidenceRow.feature))]
        digest = session.scalars(select(RunRow.corpus)).one()["tokens_digest"]
    assert (stored.hook_point, stored.d_in) == (POINTS, LAYERS * WIDTH)

    corpus = open_corpus(artifact_paths.store_of(runtime.settings), digest)
    model = AutoModelForCausalLM.from_pretrained(spec.subject.model, dtype=torch.float32).eval()
    seen: dict[int, torch.Tensor] = {}
    for at, layer in enumerate(model.model.layers):
        layer.register_forward_hook(lambda *given, at=at: seen.__setitem__(at, given[2][0] if isinstance(given[2], tuple) else given[2]))
    active, total, largest = torch.zeros(FEATURES), 0, torch.zeros(FEATURES)
    with torch.inference_mode():
        for row in rows(corpus, spec.collection.row_tokens):
            model(torch.tensor([[0, *row]]))
            x = torch.stack([seen[at].reshape(len(row) + 1, WIDTH) for at in range(LAYERS)], dim=1)[1:]
            f = torch.relu(torch.einsum("bld,ldf->bf", x, t["encoder.weight"]) + t["encoder.bias"])
            active += (f > 0).sum(dim=0)
            largest = torch.maximum(largest, f.max(dim=0).values)
            total += len(row)
    assert [item.statistics.tokens_seen for item in evidence] == [total] * FEATURES
    assert [item.statistics.tokens_active for item in evidence] == pytest.approx(active.tolist(), abs=2)
    assert [item.statistics.max_activation for item in evidence] == pytest.approx(largest.tolist(), rel=1e-4)
    assert active.min() > 0


def test_a_cross_layer_transcoder_reads_one_layer_and_promotes_by_all_that_it_writes(tiny_job: JobSpec, tmp_path: Path) -> None:
    folder = tmp_path / "clt"
    folder.mkdir()
    for layer in range(LAYERS):
        encoder = {f"W_enc_{layer}": randn(FEATURES, WIDTH), f"b_enc_{layer}": torch.zeros(FEATURES), f"b_dec_{layer}": torch.zeros(WIDTH)}
        save_file(encoder, folder / f"W_enc_{layer}.safetensors")
        save_file({f"W_dec_{layer}": randn(FEATURES, LAYERS - layer, WIDTH)}, folder / f"W_dec_{layer}.safetensors")
    dictionary = DictionarySpec(source=str(folder), hook_point="blocks.0.hook_resid_mid", name="tiny@clt")
    runtime = runtime_at(tmp_path / "home")
    found = complete(runtime, tiny_job.model_copy(update={"dictionary": dictionary, "scorers": (), "features": "0-3"}))
    assert found.status == "completed", found.error
    with snapshot(runtime.engine) as session:
        evidence = [decode_evidence(blob) for blob in session.scalars(select(EvidenceRow.blob).order_by(EvidenceRow.feature))]
    model = AutoModelForCausalLM.from_pretrained(tiny_job.subject.model, dtype=torch.float32)
    unembedding = (model.model.norm.weight[:, None] * model.lm_head.weight.T).detach()
    logits = randn(FEATURES, LAYERS, WIDTH).sum(dim=1)[:4] @ unembedding
    for item, values in zip(evidence, logits, strict=True):
        best = values.topk(3)
        assert [effect.token for effect in item.promoted] == best.indices.tolist()
        assert [effect.logit for effect in item.promoted] == pytest.approx(best.values.tolist(), rel=1e-3)


def runtime_at(home: Path) -> Runtime:
    settings = Settings(home=home)
    databases.upgrade(settings.database_url)
    return Runtime.of(settings)
