"""Both backends read the same numbers at every site that TransformerLens names and a dictionary can read, or say that it is not there."""

import json
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
    assert served.backend_for("auto", config) == "huggingface"
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
        served.check_served(hooks.parse(f"blocks.1.{site}", shape), config)
    assert f"blocks.1.{near}" in refused.value.cure
    assert site not in served.lacking({"model_type": "of nobody"})
    assert served.backend_for("auto", {"model_type": "of nobody"}) == "bridge"


def test_a_serial_block_of_neox_has_a_middle() -> None:
    assert "hook_resid_mid" not in served.lacking({"model_type": "gpt_neox", "use_parallel_residual": False})
