"""Where a Gemma Scope dictionary reads: told by its own repository's name and the folders below it, and by nothing above or behind a link."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from api.jobs.paths import found
from interp.dictionary import formats
from interp.domain.errors import DictionaryError
from interp.domain.spec import DictionarySpec

ARRAYS = {
    "W_enc": np.zeros((4, 8), "f4"),
    "W_dec": np.zeros((8, 4), "f4"),
    "b_enc": np.zeros(8, "f4"),
    "b_dec": np.zeros(4, "f4"),
    "threshold": np.ones(8, "f4"),
}


def hook_point(source: Path | str) -> str:
    return formats.header_of(DictionarySpec(source=str(source))).hook_point


def first_edition(folder: Path) -> Path:
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **ARRAYS)  # type: ignore[arg-type]
    return folder


def second_edition(folder: Path, config: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True)
    save_file({name.lower(): array for name, array in ARRAYS.items()}, folder / "params.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize("above", ["google", "transcoders", "mlp-study", "att", "layer_3", "layer_3/gemma-scope-2b-pt-att"])
@pytest.mark.parametrize(
    ("repository", "site"), [("res", "hook_resid_post"), ("att", "attn.hook_z"), ("mlp", "hook_mlp_out"), ("transcoders", "ln2.hook_normalized")]
)
def test_folders_above_the_repository_tell_nothing(tmp_path: Path, above: str, repository: str, site: str) -> None:
    folder = first_edition(tmp_path / above / f"gemma-scope-2b-pt-{repository}" / "layer_20" / "width_16k" / "average_l0_71")
    assert hook_point(folder) == f"blocks.20.{site}"


def test_a_repository_without_a_name_has_to_be_told(tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match="does not say which hook point") as refused:
        hook_point(first_edition(tmp_path / "res-study" / "layer_20" / "width_16k"))
    assert "hook_point" in refused.value.cure


@pytest.mark.parametrize("given", ["folder", "file"])
def test_the_hub_cache_keeps_files_as_links(tmp_path: Path, given: str) -> None:
    repository = tmp_path / "layer_1" / "models--google--gemma-scope-2b-pt-res"
    blob = repository / "blobs" / ("a" * 64)
    first_edition(blob.parent)
    (blob.parent / "params.npz").rename(blob)
    folder = repository / "snapshots" / ("b" * 40) / "layer_20" / "width_16k" / "average_l0_71"
    folder.mkdir(parents=True)
    (folder / "params.npz").symlink_to(os.path.relpath(blob, folder))
    source = folder if given == "folder" else folder / "params.npz"
    assert hook_point(found(str(source.relative_to(tmp_path)), tmp_path)) == "blocks.20.hook_resid_post"


@pytest.mark.parametrize(
    ("folder", "site"),
    [
        ("resid_post", "hook_resid_post"),
        ("resid_post_all", "hook_resid_post"),
        ("attn_out", "attn.hook_z"),
        ("mlp_out", "hook_mlp_out"),
        ("transcoder_all", "mlp.hook_in"),
    ],
)
def test_folders_of_the_second_edition(tmp_path: Path, folder: str, site: str) -> None:
    place = tmp_path / "att" / "gemma-scope-2-1b-pt" / folder / "layer_13_width_16k_l0_medium"
    assert hook_point(second_edition(place)) == f"blocks.13.{site}"


@pytest.mark.parametrize(
    ("module", "site"),
    [
        ("model.layers.9.output", "hook_resid_post"),
        ("model.layers.9.self_attn.o_proj.input", "attn.hook_z"),
        ("model.language_model.layers.9.post_feedforward_layernorm.output", "hook_mlp_out"),
        ("model.layers.9.pre_feedforward_layernorm.output", "mlp.hook_in"),
    ],
)
def test_the_second_edition_says_it_in_a_config(tmp_path: Path, module: str, site: str) -> None:
    assert hook_point(second_edition(tmp_path / "any" / "folder", {"hf_hook_point_in": module})) == f"blocks.9.{site}"


@pytest.mark.parametrize(
    ("repository", "model"),
    [
        ("gemma-scope-2b-pt-res", "gemma-2-2b"),
        ("gemma-scope-9b-it-res", "gemma-2-9b-it"),
        ("models--google--gemma-scope-27b-pt-res", "gemma-2-27b"),
        ("gemma-scope-2-270m-it", "gemma-3-270m-it"),
        ("gemma-scope-2-1b-pt", "gemma-3-1b-pt"),
        ("mine-res", None),
    ],
)
def test_the_repository_names_the_subject(tmp_path: Path, repository: str, model: str | None) -> None:
    folder = first_edition(tmp_path / repository / "layer_20" / "width_16k" / "average_l0_71")
    header = formats.header_of(DictionarySpec(source=str(folder), hook_point="blocks.20.hook_resid_post"))
    assert header.model == model
