"""Delphi's cached latents: what becomes evidence, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from interp.corpus import record_forms
from interp.corpus.feature_records import FeatureRecords
from interp.domain.errors import GlossatorError
from interp.security.allowed_files import Roots, within
from tests.subject import tokenizers_of

MODULE, LENGTH, WIDTH = "layers.3.mlp", 48, 10
WORDS = "The quick brown fox; the lazy dog. naïve café ☃ 你好 " * 40
Splits = dict[str, NDArray[Any]]


def results(folder: Path, seed: int = 0) -> tuple[Path, NDArray[np.float32]]:
    """A folder as `LatentCache.save_splits` and `save_config` leave it, and the activations [row, place, latent]."""
    tokenizer = tokenizers_of.byte_level()
    ids = np.array(tokenizer.encode(WORDS).ids, np.int64)
    tokens = np.resize(ids, (len(ids) * 3 // LENGTH, LENGTH))
    # So that no two windows have one text.
    tokens[:, 0] = tokens[:, 32] = np.arange(len(tokens)) + 1
    random = np.random.default_rng(seed)
    dense = np.where(random.random((*tokens.shape, WIDTH)) < 0.02, random.integers(1, 200, (*tokens.shape, WIDTH)) / 8, 0).astype(np.float32)
    dense[..., 7] = 0
    module = folder / "latents" / MODULE
    module.mkdir(parents=True)
    at = np.argwhere(dense)
    for first, last in ((0, 4), (5, 9)):
        of_split = at[(at[:, 2] >= first) & (at[:, 2] <= last)]
        content = {
            "locations": (of_split - [0, 0, first]).astype(np.uint16),
            "activations": dense[tuple(of_split.T)].astype(np.float16),
            "tokens": tokens,
        }
        save_file(content, module / f"{first}_{last}.safetensors")
    config = {"dataset_repo": "some/corpus", "cache_ctx_len": LENGTH, "n_splits": 2, "model_name": "lab/tiny-70m"}
    (module / "config.json").write_text(json.dumps(config, indent=4))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder, dense


def read(folder: Path) -> FeatureRecords:
    with within(Roots((str(folder.resolve()),))):
        return record_forms.read(folder.resolve())


def test_latents_become_evidence(tmp_path: Path) -> None:
    folder, dense = results(tmp_path)
    found = read(folder)
    [dictionary] = found.dictionaries
    assert (found.model, dictionary.hook_point, dictionary.n_features) == ("tiny-70m", MODULE, WIDTH)
    assert [one.feature for one in dictionary.evidence] == [0, 1, 2, 3, 4, 5, 6, 8, 9], "a latent that never fires has no record"
    tokens = load_file(folder / "latents" / MODULE / "0_4.safetensors")["tokens"]
    of_windows = {
        (tuple(tokens[row, start : start + 32].tolist()), latent): dense[row, start : start + 32, latent]
        for row in range(len(tokens))
        for start in (0, 32)
        for latent in range(WIDTH)
    }
    for one in dictionary.evidence:
        contexts = one.contexts
        for row in range(len(contexts)):
            length = int(contexts.lengths[row])
            expected = of_windows[tuple(contexts.tokens[row, :length].tolist()), one.feature]
            assert np.array_equal(contexts.activations[row, :length], expected.astype(np.float16))
        whole = dense[..., one.feature]
        assert one.statistics.max_activation == whole.max(), "the strongest window is among them"
        assert one.statistics.tokens_seen == 0
    again = read(folder)
    assert again.digest == found.digest and again.vocabulary == found.vocabulary


def test_at_most_so_many_windows_evenly_over_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp.corpus.delphi_latents.FIRING", 5)
    monkeypatch.setattr("interp.corpus.delphi_latents.SILENT", 2)
    folder, dense = results(tmp_path)
    for one in read(folder).dictionaries[0].evidence:
        distinct = dict(zip(one.contexts.identities(), one.contexts.maxima().tolist(), strict=True))
        peaks = sorted((peak for peak in distinct.values() if peak), reverse=True)
        whole = dense[..., one.feature]
        all_peaks = sorted([peak for rows in (whole[:, :32], whole[:, 32:]) for peak in rows.max(axis=1).tolist() if peak], reverse=True)
        assert len(peaks) == 5 and len(distinct) == 7
        assert (peaks[0], peaks[-1]) == (all_peaks[0], all_peaks[-1])


def test_only_explained_latents_where_some_are(tmp_path: Path) -> None:
    folder, _ = results(tmp_path)
    (folder / "explanations").mkdir()
    for name in (f"{MODULE}_latent3.txt", f"{MODULE}_latent8.txt", "other_latent1.txt"):
        (folder / "explanations" / name).write_text('"a word"')
    assert [one.feature for one in read(folder).dictionaries[0].evidence] == [3, 8]


def changed(**arrays: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "latents" / MODULE / "5_9.safetensors"
        content = load_file(path)
        save_file(content | {name: np.ascontiguousarray(made(content[name])) for name, made in arrays.items()}, path)

    return change


def written(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(content) and None


@pytest.mark.parametrize(
    "change",
    [
        changed(locations=lambda found: found[:-1]),
        changed(locations=lambda found: found[:, :2]),
        changed(locations=lambda found: found + np.array([0, 0, 5], np.uint16)),
        changed(locations=lambda found: found + np.array([0, 60, 0], np.uint16)),
        changed(activations=lambda found: found * np.float16("nan")),
        changed(tokens=lambda found: found + 100_000),
        changed(tokens=lambda found: -found),
        changed(tokens=lambda found: found[:0]),
        changed(tokens=lambda found: found.reshape(-1)),
        written(f"latents/{MODULE}/5_9.safetensors", b"\xff" * 100),
        written(f"latents/{MODULE}/config.json", b"{}"),
        written("tokenizer.json", b"{"),
        lambda folder: (folder / "tokenizer.json").unlink(),
        lambda folder: (folder / "latents" / MODULE / "5_9.safetensors").rename(folder / "latents" / MODULE / "x.safetensors") and None,
        lambda folder: (folder / "latents" / MODULE / "a_b.safetensors").symlink_to("/etc/passwd"),
    ],
)
def test_what_delphi_does_not_write_is_refused(change: Callable[[Path], None], tmp_path: Path) -> None:
    folder, _ = results(tmp_path)
    change(folder)
    names = {path.name for path in (folder / "latents" / MODULE).iterdir()}
    if names & {"x.safetensors", "a_b.safetensors"}:
        # Files of other names are no splits.
        assert [one.feature for one in read(folder).dictionaries[0].evidence][:5] == [0, 1, 2, 3, 4]
        return
    with pytest.raises(GlossatorError) as refused:
        read(folder)
    assert refused.value.cure
