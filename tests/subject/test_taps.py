"""Both backends read the same numbers at every site that TransformerLens names and a dictionary can read, or say that it is not there."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from interp.domain.errors import HookPointUnknownError
from interp.domain.spec import SubjectSpec
from interp.subject import hooks, served
from interp.subject.base import open_subject
from interp.subject.shape import ModelShape
from interp.subject.taps import record, taps_of
from tests.subject import models
from tests.subject.models import CONTEXT

LAYER = 1


def bridged(folder: Path, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every site of a block that the Bridge names and comes to."""
    opened: Any = open_subject(SubjectSpec(model=str(folder), device="cpu", backend="bridge"), f"blocks.{LAYER}.hook_resid_pre")
    assert opened.config["backend"] == "bridge"
    found: dict[str, torch.Tensor] = {}
    for site in hooks.SITES:
        point = opened._bridge.hook_dict.get(f"blocks.{LAYER}.{site}")
        if point is not None:
            point.add_hook(lambda tensor, hook, site=site: found.update({site: tensor.flatten(2).clone()}))
    with torch.inference_mode():
        opened._bridge(tokens, return_type=None)
    return found


@pytest.mark.parametrize("family", [*models.FAMILIES, *models.MORE])
def test_the_backends_agree_at_every_site(family: str, tmp_path: Path) -> None:
    folder = models.build(family, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    shape = ModelShape.from_config(config)
    tokens = torch.randint(1, 250, (2, CONTEXT), generator=torch.Generator().manual_seed(1))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    plain = record(model, taps_of(model, LAYER, shape, torch.device("cpu")), tokens)
    assert set(plain) == set(hooks.SITES) - served.lacking(config)
    assert {site: tensor.shape[-1] for site, tensor in plain.items()} == {site: hooks.SITES[site](shape) for site in plain}
    assert served.backend_for(SubjectSpec(model="x"), config) == "huggingface"
    if config["model_type"] in served.BRIDGE_DIFFERS:
        return
    lens = bridged(folder, tokens)
    assert set(lens) - served.lacking(config) == set(plain)
    for site, tensor in plain.items():
        assert float((tensor - lens[site]).norm()) < 1e-5 * float(tensor.norm()), site


@pytest.mark.parametrize(
    ("config", "site", "near"),
    [
        ({"model_type": "gpt_neox"}, "hook_resid_mid", "hook_resid_post"),
        ({"model_type": "phi"}, "ln2.hook_normalized", "ln1.hook_normalized"),
        ({"model_type": "gpt2"}, "mlp.hook_pre_linear", "mlp.hook_pre"),
    ],
)
def test_a_site_that_the_architecture_lacks_is_refused_by_its_config(config: dict[str, Any], site: str, near: str) -> None:
    shape = ModelShape.from_config(config)
    with pytest.raises(HookPointUnknownError) as refused:
        served.check_served(hooks.parse(f"blocks.1.{site}", shape), config, "auto")
    assert f"blocks.1.{near}" in refused.value.cure
    assert site not in served.lacking({"model_type": "of nobody"})
    assert served.backend_for(SubjectSpec(model="x"), {"model_type": "of nobody"}) == "bridge"


def test_a_serial_block_of_neox_has_a_middle() -> None:
    assert "hook_resid_mid" not in served.lacking({"model_type": "gpt_neox", "use_parallel_residual": False})


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.build("llama", tmp_path_factory.mktemp("llama"))


def opened(folder: Path, hook_point: str, **settings: Any) -> Any:
    return open_subject(SubjectSpec(model=str(folder), device="cpu", **settings), hook_point)


@pytest.mark.parametrize(
    ("path", "same"),
    [
        ("model.layers.1.mlp.down_proj:in", "blocks.1.mlp.hook_post"),
        ("model.layers.1:out", "blocks.1.hook_resid_post"),
        ("model.layers.1.self_attn.k_proj:out", "blocks.1.attn.hook_k"),
    ],
)
def test_a_module_path_is_a_hook_point(llama: Path, path: str, same: str) -> None:
    """Its width is found by a short row; effects on logits are known where it is as wide as the stream."""
    tokens = torch.randint(1, 250, (2, CONTEXT), generator=torch.Generator().manual_seed(1))
    by_path, by_name = opened(llama, path), opened(llama, same)
    assert (by_path.hook_point, by_path.d_in, by_path.config["backend"]) == (path, by_name.d_in, "huggingface")
    assert torch.equal(by_path.activations(tokens), by_name.activations(tokens))
    both = opened(llama, f"{path}+blocks.0.hook_resid_post").activations(tokens)
    assert torch.equal(both[..., : by_path.d_in], by_path.activations(tokens))
    effects = by_path.output_directions(path)
    assert effects.shape == (by_path.d_in, len(by_path.vocabulary) if by_path.d_in == models.WIDTH else 0)


def test_module_paths_that_are_not_there(llama: Path) -> None:
    for path, cure in (("model.layers.1.mlp.down_prj:in", r"model\.layers\.1\.mlp\.down_proj"), ("model.layers.9.mlp:in", "model.layers.")):
        with pytest.raises(HookPointUnknownError) as refused:
            opened(llama, path)
        assert re.search(cure, refused.value.cure)
    with pytest.raises(HookPointUnknownError, match="no tensor of one vector a token"):
        opened(llama, "model.rotary_emb:out")
    with pytest.raises(HookPointUnknownError, match="`bridge` reads no module path"):
        opened(llama, "model.layers.1.mlp:in", backend="bridge")


def test_module_paths_are_checked_against_the_names_of_the_weights() -> None:
    names = ["model.layers.0.mlp.down_proj.weight", "model.layers.0.input_layernorm.weight"]
    for path in ("model.layers.0.mlp.down_proj:in", "model.layers.0.mlp.act_fn:out", "model.layers.0:out", "transformer.model.layers.0.mlp:in"):
        served.check_served(hooks.module_of(path), {}, "auto", names)  # type: ignore[arg-type]
    with pytest.raises(HookPointUnknownError, match="no module of this subject"):
        served.check_served(hooks.ModulePoint("model.layers.7.mlp.down_proj", True), {}, "auto", names)
    with pytest.raises(HookPointUnknownError, match="`bridge`"):
        served.check_served(hooks.ModulePoint("model.layers.0.mlp", True), {}, "bridge", names)


@pytest.mark.parametrize("backend", ["bridge", "huggingface"])
def test_what_reaches_the_stream_through_no_matrix_has_no_effects_on_logits(llama: Path, backend: Any) -> None:
    for site in hooks.INDIRECT:
        subject = opened(llama, f"blocks.1.{site}", backend=backend)
        assert subject.output_directions(subject.hook_point).shape == (subject.d_in, 0), site
