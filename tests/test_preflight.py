"""A job that cannot work is refused before any work starts: one error that says what, why, and what to do; and torch is not needed for it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from interp.domain.errors import (
    CorpusEmptyError,
    CorpusTooSmallError,
    DictionaryFormatUnknownError,
    FeatureOutOfRangeError,
    FileMissingError,
    GlossatorError,
    HookPointUnknownError,
    InputError,
    PickleRefusedError,
    SubjectError,
    TextUndecodableError,
    TokenizerMismatchError,
    WeightsNotFiniteError,
    WidthMismatchError,
)
from interp.domain.spec import CollectionSpec, CorpusSpec, DictionarySpec, JobSpec, SubjectSpec
from interp.planning import preflight
from interp.planning.fingerprint import evidence_id
from interp.subject import served
from tests.subject import tokenizers_of

WIDTH, FEATURES = 16, 20


def write_dictionary(folder: Path, **changes: Any) -> Path:
    tensors = {
        "W_enc": np.ones((WIDTH, FEATURES), dtype=np.float32),
        "b_enc": np.ones(FEATURES, dtype=np.float32),
        "W_dec": np.ones((FEATURES, WIDTH), dtype=np.float32),
        "b_dec": np.ones(WIDTH, dtype=np.float32),
    } | changes
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "sae_weights.safetensors")
    metadata = {"model_name": "tiny", "hook_name": "blocks.1.hook_resid_post"}
    (folder / "cfg.json").write_text(json.dumps({"architecture": "standard", "metadata": metadata}), encoding="utf-8")
    return folder


@pytest.fixture
def job(tmp_path: Path) -> JobSpec:
    """A job whose files are all there, of a subject whose weights are a token."""
    subject = tokenizers_of.saved(tokenizers_of.byte_level(), tmp_path / "pystdlib" / "subject", {"bos_token": "<|bos|>"})
    save_file({"model.norm.weight": np.ones(WIDTH, dtype=np.float32)}, subject / "model.safetensors")
    text = tmp_path / "text"
    text.mkdir()
    for number in range(20):
        (text / f"{number}.txt").write_text(f"document {number}", encoding="utf-8")
    return JobSpec(
        subject=SubjectSpec(model=str(subject), device="cpu"),
        dictionary=DictionarySpec(source=str(write_dictionary(tmp_path / "dictionary"))),
        corpus=CorpusSpec(path=str(text)),
        collection=CollectionSpec(row_tokens=64, window=16),
    )


def changed(job: JobSpec, part: str, **settings: Any) -> JobSpec:
    return job.model_copy(update={part: getattr(job, part).model_copy(update=settings)})


def test_a_good_job(job: JobSpec) -> None:
    found = preflight.check(job)
    assert (found.n_features, found.dictionaries[0].identity["hook_point"]) == (FEATURES, "blocks.1.hook_resid_post")
    assert (found.dictionaries[0].name, found.documents) == ("tiny@1-res", 20)
    assert found.dictionaries[0].wanted == ((0, FEATURES),)
    assert (found.dictionaries[0].evidence_id, found.dictionaries[0].identity) == evidence_id(job)
    assert preflight.check(job.model_copy(update={"features": "0-3,7"})).dictionaries[0].wanted == ((0, 4), (7, 8))


def refused(job: JobSpec, error: type[GlossatorError], says: str) -> GlossatorError:
    """The error is of the class, says what is wrong, and what to do about it."""
    with pytest.raises(error, match=says) as info:
        preflight.check(job)
    assert type(info.value) is error
    assert info.value.what and info.value.cure
    assert info.value.status == 422
    return info.value


def test_unknown_hook_point(job: JobSpec) -> None:
    error = refused(changed(job, "dictionary", hook_point="blocks.1.hook_resid_pots"), HookPointUnknownError, "hook_resid_pots")
    assert "blocks.1.hook_resid_post" in error.details["near"]
    refused(changed(job, "dictionary", hook_point="blocks.2.hook_resid_post"), HookPointUnknownError, r"2 blocks, blocks\.0 to blocks\.1")


def test_a_site_that_the_architecture_lacks(job: JobSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(served.LACKS, "llama", {"hook_resid_mid"})
    refused(changed(job, "dictionary", hook_point="blocks.1.hook_resid_mid"), HookPointUnknownError, "no such tensor")


def test_module_paths(job: JobSpec) -> None:
    """Submission knows whether the module is there, not how wide its tensors are."""
    assert preflight.check(changed(job, "dictionary", hook_point="model.norm:in")).dictionaries[0].identity["hook_point"] == "model.norm:in"
    refused(changed(job, "dictionary", hook_point="model.layers.7.mlp.down_proj:in"), HookPointUnknownError, "no module of this subject")
    on_bridge = changed(changed(job, "dictionary", hook_point="model.norm:in"), "subject", backend="bridge")
    refused(on_bridge, HookPointUnknownError, "`bridge` reads no module path")


def test_width_of_another_model(job: JobSpec) -> None:
    refused(changed(job, "dictionary", hook_point="blocks.1.mlp.hook_post"), WidthMismatchError, "reads 16 numbers, the subject has 24")


@pytest.mark.parametrize("features", ["0-20", (3, 20), "5,400"])
def test_feature_out_of_range(job: JobSpec, features: Any) -> None:
    refused(job.model_copy(update={"features": features}), FeatureOutOfRangeError, "the dictionary has 20")


def test_missing_files(job: JobSpec, tmp_path: Path) -> None:
    refused(changed(job, "subject", model=str(tmp_path / "none")), FileMissingError, "is no folder")
    refused(changed(job, "dictionary", source=str(tmp_path / "none")), FileMissingError, "does not exist")
    refused(changed(job, "corpus", path=str(tmp_path / "none")), FileMissingError, "does not exist")
    (Path(job.subject.model) / "model.safetensors").unlink()
    refused(job, FileMissingError, "holds no weights")


def test_unknown_format(job: JobSpec, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    refused(changed(job, "dictionary", source=str(tmp_path / "other")), DictionaryFormatUnknownError, "no known family")


def test_a_pickle_that_needs_code(job: JobSpec, tmp_path: Path) -> None:
    import pickle

    (tmp_path / "8.pt").write_bytes(pickle.dumps(SubjectSpec))
    refused(changed(job, "dictionary", source=str(tmp_path / "8.pt")), PickleRefusedError, r"8\.pt")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(job: JobSpec, value: float) -> None:
    bad = np.ones((FEATURES, WIDTH), dtype=np.float32)
    bad[2, 3] = value
    write_dictionary(Path(job.dictionary.source), W_dec=bad)
    refused(job, WeightsNotFiniteError, r"W_dec holds NaN or infinity\. 1 of 320 numbers, the first at \[2, 3\]")


def test_subject_weights_that_are_not_finite(job: JobSpec) -> None:
    save_file({"model.norm.weight": np.full(WIDTH, np.nan, dtype=np.float32)}, Path(job.subject.model) / "model.safetensors")
    refused(job, WeightsNotFiniteError, r"model\.norm\.weight")


def test_empty_corpus_and_one_too_small(job: JobSpec, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(changed(job, "corpus", path=str(tmp_path / "empty")), CorpusEmptyError, "holds no text")
    (tmp_path / "empty" / "one.txt").write_text("one", encoding="utf-8")
    refused(changed(job, "corpus", path=str(tmp_path / "empty")), CorpusTooSmallError, "Each split needs one")


def test_unreadable_encoding(job: JobSpec) -> None:
    (Path(job.corpus.path) / "latin.txt").write_bytes(b"caf\xe9")
    refused(job, TextUndecodableError, r"latin\.txt is not UTF-8")
    assert preflight.check(changed(job, "corpus", undecodable="skip")).documents == 20


def test_a_tokenizer_that_does_not_fit(job: JobSpec) -> None:
    config = Path(job.subject.model) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"vocab_size": 50}), encoding="utf-8")
    refused(job, TokenizerMismatchError, "the subject embeds 50")


def test_an_unreadable_config(job: JobSpec) -> None:
    (Path(job.subject.model) / "config.json").write_text("{", encoding="utf-8")
    refused(job, SubjectError, r"config\.json cannot be read as JSON")


def test_rows_longer_than_the_context(job: JobSpec) -> None:
    refused(changed(job, "collection", row_tokens=128), InputError, "context of 64")


def test_torch_is_not_loaded(job: JobSpec) -> None:
    program = "import sys; from interp.domain.spec import JobSpec; from interp.planning import preflight\n"
    program += "preflight.check(JobSpec.model_validate_json(sys.stdin.read()))\n"
    program += "print([name for name in ('torch', 'transformers', 'transformer_lens') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], input=job.model_dump_json(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
