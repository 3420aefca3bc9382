"""Dense dictionaries fire above a level of their own, found once and the same for any cut of the work."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sqlalchemy import select

from interp.collect.memory import collection_bytes
from interp.config.settings import Settings
from interp.dictionary.formats import header_of
from interp.domain.evidence import ACTIVE_KINDS, FeatureEvidence
from interp.domain.lifecycle import Stage
from interp.domain.spec import DictionarySpec, JobSpec
from interp.files.evidence_codec import decode_evidence
from interp.store.db.engine import snapshot
from interp.store.db.tables import EvidenceRow, FeatureRow, RunRow
from tests import databases
from tests.dictionary import files
from tests.workers.test_pipeline import complete
from workers import artifact_paths
from workers.leases import HeldLease
from workers.runtime import Runtime
from workers.tasks import firing_levels
from workers.tasks.model_cache import USABLE, all_models_of
from workers.tasks.prepare import TOKENISED

pytestmark = pytest.mark.timeout(300)

RATE = 0.05


@pytest.fixture
def neurons(tiny_job: JobSpec) -> JobSpec:
    """The MLP neurons of the tiny subject: above 0 at a third of all tokens."""
    dictionary = DictionarySpec(source=tiny_job.subject.model, format="neurons", hook_point="blocks.1.mlp.hook_post", name="tiny@neurons")
    collection = tiny_job.collection.model_copy(update={"firing_rate": RATE, "firing_level": "auto"})
    return tiny_job.model_copy(update={"dictionary": dictionary, "collection": collection, "features": "0-11", "scorers": ()})


def collected(spec: JobSpec, home: Path, memory: int | None = None) -> tuple[list[FeatureEvidence], dict[str, object]]:
    settings = Settings(home=home, gpu_worker_memory_bytes=memory)
    databases.upgrade(settings.database_url)
    runtime = Runtime.of(settings)
    found = complete(runtime, spec)
    assert found.status == "completed", found.error
    with snapshot(runtime.engine) as session:
        facts = session.scalars(select(RunRow.corpus)).one()
        blobs = session.scalars(select(EvidenceRow.blob).order_by(EvidenceRow.feature)).all()
        listed = session.scalars(select(FeatureRow.firing_level).order_by(FeatureRow.feature)).all()
    gathered = [decode_evidence(blob) for blob in blobs]
    assert listed == [item.statistics.firing_level for item in gathered]
    return gathered, facts


def test_neurons_fire_at_the_rate_that_was_asked_for(neurons: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence, facts = collected(neurons, tmp_path / "one")
    assert facts[firing_levels.FACT] == "quantile"
    assert np.mean([item.statistics.density for item in evidence]) == pytest.approx(RATE, rel=0.3)
    for item in evidence:
        contexts = item.contexts
        assert item.statistics.firing_level > 0
        np.testing.assert_array_equal(contexts.fires(), np.isin(contexts.kinds, ACTIVE_KINDS))
    silent = np.concatenate([item.contexts.maxima()[~item.contexts.fires()] for item in evidence])
    assert (silent > 0).any(), "silent windows keep their activations"

    # In groups of features, and with the levels cleared away after they were found: the same.
    models = all_models_of(Runtime.of(Settings(home=tmp_path / "one")), neurons, [0])[0]
    extent = models.extent
    room = models.nbytes + collection_bytes(6, type(extent)(extent.n_features, extent.d_in, extent.topk, dense=True), neurons.collection)
    monkeypatch.setattr(
        firing_levels, "save", lambda work, levels: artifact_paths.store_of(work.runtime.settings).delete(artifact_paths.levels(work.lease.job_id))
    )
    again, _ = collected(neurons, tmp_path / "two", int(room / USABLE) + 1)
    for one, other in zip(evidence, again, strict=True):
        assert one.statistics == other.statistics
        for name in ("tokens", "activations", "kinds", "starts", "documents", "left", "levels"):
            np.testing.assert_array_equal(getattr(one.contexts, name), getattr(other.contexts, name))


def test_sparse_dictionaries_fire_above_zero(tiny_job: JobSpec, tmp_path: Path) -> None:
    spec = tiny_job.model_copy(
        update={"collection": tiny_job.collection.model_copy(update={"firing_level": "zero"}), "features": "0-5", "scorers": ()}
    )
    evidence, facts = collected(spec, tmp_path)
    assert facts[firing_levels.FACT] == "zero"
    assert {item.statistics.firing_level for item in evidence} == {0.0}


def test_prepare_tells_how_far_calibration_is(neurons: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    renewed = HeldLease.progress

    def noted(hold: HeldLease, units: int) -> None:
        if hold.lease.stage == Stage.PREPARE:
            told.append(units)
        renewed(hold, units)

    monkeypatch.setattr(HeldLease, "progress", noted)
    settings = Settings(home=tmp_path)
    databases.upgrade(settings.database_url)
    prepared = complete(Runtime.of(settings), neurons).stages[0]
    assert (prepared.unit, prepared.done, prepared.total) == ("percent", 100, 100)
    assert told == sorted(told)
    assert len({units for units in told if units > 100 * TOKENISED}) > 1, "while it calibrates"
    assert told[-1] == 100


def test_a_batch_topk_dictionary_fires_above_the_threshold_that_its_run_records(tiny_job: JobSpec, tmp_path: Path) -> None:
    """Bussmann's files hold no threshold: the corpus gives one, and it stands with the run's facts."""
    header = header_of(tiny_job.dictionary)
    generator = torch.Generator().manual_seed(0)
    encoder = torch.randn(header.d_in, 64, generator=generator)
    tensors = {"W_enc": encoder, "W_dec": encoder.T.contiguous(), "b_enc": torch.zeros(64), "b_dec": torch.zeros(header.d_in)}
    config = {"sae_type": "batchtopk", "top_k": 4, "hook_point": header.hook_point, "input_unit_norm": True}
    source = files.written(tmp_path / "sae", "config.json", config, "sae.pt", tensors)
    dictionary = DictionarySpec(source=str(source), name="tiny@batch")
    collection = tiny_job.collection.model_copy(update={"firing_level": "zero"})
    job = tiny_job.model_copy(update={"dictionary": dictionary, "features": "0-63", "collection": collection, "scorers": ()})
    evidence, facts = collected(job, tmp_path / "home")
    threshold = facts[firing_levels.THRESHOLD]
    assert isinstance(threshold, float)
    assert threshold > 0
    assert facts[firing_levels.FACT] == "zero"
    assert sum(item.statistics.density for item in evidence) == pytest.approx(4, rel=0.1), "features that fire a token, on average"
    for item in evidence:
        values = item.contexts.activations
        assert not ((values > 0) & (values < np.float16(threshold))).any()
