"""Cases of libraries' own files: the folder to open in each, and the comparison with what the library computes."""

from pathlib import Path

import numpy as np
import torch

from tests.dictionary import files

EXACT = 1e-5
# The file in a case's folder that is opened, where it is not the folder: a file, or the folder whose name says the site.
SOURCES = {
    "gemma-scope-2-affine": "transcoder_all/layer_13_width_16k_l0_small_affine",
    "gemma-scope-2-res": "resid_post/layer_13_width_16k_l0_small",
    "gemma-scope-2-transcoder": "transcoder_all/layer_13_width_16k_l0_small",
    "gemma-scope-2b-pt-res": "layer_20/width_16k/average_l0_71",
    "gemma-scope-2b-pt-transcoders": "layer_20/width_16k/average_l0_71",
    "goodfire": "Llama-3.1-8B-Instruct-SAE-l19.pth",
    "llama-scope": "Llama3_1-8B-Base-L15R-8x",
    "sparsify-groupmax": "layers.3",
    "sparsify-skip-transcoder": "layers.3.mlp",
    "sparsify-topk": "layers.3",
}
HOOK_POINTS = {
    "circuit_tracer": "blocks.2.mlp.hook_in",
    "dictionary_learning": "blocks.1.hook_resid_post",
    "gemma-scope-2-affine": "blocks.13.mlp.hook_in",
    "gemma-scope-2-res": "blocks.13.hook_resid_post",
    "gemma-scope-2-transcoder": "blocks.13.mlp.hook_in",
    "gemma-scope-2b-pt-res": "blocks.20.hook_resid_post",
    "gemma-scope-2b-pt-transcoders": "blocks.20.ln2.hook_normalized",
    "goodfire": "blocks.19.hook_resid_post",
    "llama-scope": "blocks.15.hook_resid_post",
    "saelens-5": "blocks.2.hook_resid_post",
    "saelens": "blocks.1.hook_resid_post",
    "sparsify-skip-transcoder": "blocks.3.mlp.hook_in",
    "sparsify": "blocks.3.hook_resid_post",
}


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def check(folder: Path) -> None:
    """Fail unless the public way of opening gives the library's site, active features, features and reconstruction."""
    expected = {name: torch.from_numpy(array) for name, array in np.load(folder / "expected.npz").items()}
    dictionary = files.opened(folder / SOURCES.get(folder.name, ""))
    name = max((prefix for prefix in HOOK_POINTS if folder.name.startswith(prefix)), key=len)
    assert dictionary.hook_point == HOOK_POINTS[name]
    features = dictionary.encode(expected["x"])
    assert 0 < (expected["features"] > 0).float().mean() < 0.8, "the case has active and silent features"
    assert torch.equal(features > 0, expected["features"] > 0)
    assert relative_error(features, expected["features"]) < EXACT
    assert relative_error(dictionary.decode(features, expected["x"]), expected["reconstruction"]) < EXACT
