"""Both backends read the same numbers, those of the model's own forward pass; and nothing beyond the hook point is computed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from interp.domain.errors import FileMissingError, HookPointUnknownError, SubjectError, WeightsNotFiniteError
from interp.domain.spec import SubjectSpec
from interp.subject.base import Subject, open_subject
from tests.subject import models
from tests.subject.models import CONTEXT, LAYERS, WIDTH

BACKENDS = ["bridge", "huggingface"]
FAMILIES = list(models.FAMILIES)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    built: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in built:
            built[family] = models.build(family, tmp_path_factory.mktemp(family))
        return built[family]

    return folder


def subject(folder: Path, hook_point: str, backend: Any = "bridge", **settings: Any) -> Subject:
    return open_subject(SubjectSpec(model=str(folder), device="cpu", backend=backend, **settings), hook_point)


def tokens(rows: int = 3) -> torch.Tensor:
    return torch.randint(0, 250, (rows, CONTEXT), generator=torch.Generator().manual_seed(1))


def reference(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_residual_stream_is_that_of_the_forward_pass(folder_of: Callable[[str], Path], family: str, backend: str) -> None:
    folder = folder_of(family)
    with torch.inference_mode():
        states = reference(folder)(tokens(), output_hidden_states=True).hidden_states
    opened = subject(folder, "blocks.1.hook_resid_post", backend)
    assert (opened.d_in, opened.context, opened.bos) == (WIDTH, CONTEXT, 0)
    torch.testing.assert_close(opened.activations(tokens()), states[2], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(subject(folder, "blocks.1.hook_resid_pre", backend).activations(tokens()), states[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_backends_agree_at_every_site_that_both_have(folder_of: Callable[[str], Path], family: str) -> None:
    sites = {"attn.hook_z": 16, "hook_attn_out": WIDTH, "mlp.hook_in": WIDTH, "hook_mlp_out": WIDTH, "hook_resid_mid": WIDTH, "mlp.hook_post": None}
    if family == "neox":
        del sites["hook_resid_mid"]
    for site, width in sites.items():
        one, other = (subject(folder_of(family), f"blocks.1.{site}", backend) for backend in BACKENDS)
        assert one.d_in == other.d_in == (width or one.d_in)
        read = one.activations(tokens())
        assert read.shape == (3, CONTEXT, one.d_in), site
        torch.testing.assert_close(read, other.activations(tokens()), rtol=1e-3, atol=1e-4, msg=lambda text, site=site: f"{site}: {text}")
        torch.testing.assert_close(one.output_directions(one.hook_point), other.output_directions(other.hook_point), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_beyond_the_hook_point_is_computed(folder_of: Callable[[str], Path], backend: str) -> None:
    opened: Any = subject(folder_of("llama"), "blocks.1.hook_resid_mid", backend)
    model = opened._bridge.original_model if backend == "bridge" else opened._model
    ran: list[str] = []
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    opened.activations(tokens())
    assert any("layers.0" in name and "mlp" in name for name in ran)
    assert any("layers.1" in name and "attn" in name for name in ran)
    assert not [name for name in ran if "layers.2" in name or "lm_head" in name or ("layers.1" in name and "mlp" in name)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_several_hook_points_are_read_in_one_pass_that_stops_after_the_last(folder_of: Callable[[str], Path], backend: str) -> None:
    names = ("blocks.1.mlp.hook_post", "blocks.0.hook_resid_pre", "blocks.1.attn.hook_z[1]", "blocks.0.hook_mlp_out")
    opened: Any = subject(folder_of("llama"), "+".join(names), backend)
    model = opened._bridge.original_model if backend == "bridge" else opened._model
    ran: list[str] = []
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    read = opened.activations(tokens())
    alone = [subject(folder_of("llama"), name, backend).activations(tokens()) for name in names]
    assert opened.hook_point == "+".join(names)
    assert read.shape[2] == opened.d_in == sum(part.shape[2] for part in alone)
    assert torch.equal(read, torch.cat(alone, dim=2))
    assert {ran.count(name) for name in ran if "layers.0" in name} == {1}
    assert not [name for name in ran if "layers.2" in name or "lm_head" in name]


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_of_several_hook_points_that_is_unknown_is_named(folder_of: Callable[[str], Path], backend: str) -> None:
    with pytest.raises(HookPointUnknownError, match=r"'blocks\.1\.hook_rsid_post'"):
        subject(folder_of("llama"), "blocks.0.hook_resid_pre+blocks.1.hook_rsid_post", backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_padding_on_the_right_changes_nothing_before_it(folder_of: Callable[[str], Path], backend: str) -> None:
    opened = subject(folder_of("gpt2"), "blocks.2.hook_resid_post", backend)
    padded = tokens()
    padded[:, 20:] = 0
    torch.testing.assert_close(opened.activations(padded)[:, :20], opened.activations(tokens()[:, :20]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_output_directions_give_the_logits_of_the_last_residual_stream(folder_of: Callable[[str], Path], family: str, backend: str) -> None:
    """After the last block the direct path is the only one: logits are x / scale through the directions, plus what the norm's bias adds."""
    folder = folder_of(family)
    opened = subject(folder, f"blocks.{LAYERS - 1}.hook_resid_post", backend)
    x, directions = opened.activations(tokens()), opened.output_directions(opened.hook_point)
    assert directions.dtype == torch.float32
    assert directions.shape == (WIDTH, len(opened.vocabulary))
    model = reference(folder)
    with torch.inference_mode():
        logits = model(tokens()).logits
        norm = {"gpt2": "transformer.ln_f", "neox": "gpt_neox.final_layer_norm"}.get(family)
        bias = model.get_submodule(norm).bias if norm else None
        constant = 0 if bias is None else bias @ model.get_output_embeddings().weight.T
    centred = x if bias is None else x - x.mean(-1, keepdim=True)
    epsilon = {"llama": 1e-6, "gemma": 1e-6}.get(family, 1e-5)
    scale = (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()
    torch.testing.assert_close(x / scale @ directions + constant, logits, rtol=1e-3, atol=1e-3)


def test_output_directions_inside_an_mlp_go_through_its_output_matrix(folder_of: Callable[[str], Path]) -> None:
    folder = folder_of("llama")
    model = reference(folder)
    inside = subject(folder, "blocks.0.mlp.hook_post").output_directions("blocks.0.mlp.hook_post")
    expected = model.model.layers[0].mlp.down_proj.weight.T @ (model.model.norm.weight[:, None] * model.lm_head.weight.T)
    torch.testing.assert_close(inside, expected.detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_bfloat16_subject_gives_bfloat16(folder_of: Callable[[str], Path], backend: str) -> None:
    folder = folder_of("llama")
    exact = subject(folder, "blocks.1.hook_resid_post", backend).activations(tokens())
    opened = subject(folder, "blocks.1.hook_resid_post", backend, dtype="bfloat16")
    assert opened.activations(tokens()).dtype == torch.bfloat16
    assert (opened.activations(tokens()).float() - exact).norm() < 0.03 * exact.norm()
    rounded, directions = (found.output_directions(found.hook_point) for found in (opened, subject(folder, "blocks.1.hook_resid_post")))
    torch.testing.assert_close(rounded, directions, rtol=0.03, atol=0.03)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_head_reads_and_writes_its_part_of_all_heads(folder_of: Callable[[str], Path], backend: str) -> None:
    every = subject(folder_of("gpt2"), "blocks.1.attn.hook_z", backend)
    head = subject(folder_of("gpt2"), "blocks.1.attn.hook_z[1]", backend)
    assert (head.hook_point, head.d_in) == ("blocks.1.attn.hook_z[1]", WIDTH // 2)
    assert torch.equal(head.activations(tokens()), every.activations(tokens())[..., WIDTH // 2 :])
    assert torch.equal(head.output_directions(head.hook_point), every.output_directions(every.hook_point)[WIDTH // 2 :])


def test_one_point_by_two_names(folder_of: Callable[[str], Path]) -> None:
    assert subject(folder_of("llama"), "blocks.1.hook_out").hook_point == "blocks.1.hook_resid_post"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "near"),
    [("blocks.1.hook_rsid_post", "blocks.1.hook_resid_post"), ("blocks.7.mlp.hook_post", "blocks.2.mlp.hook_post"), ("layer 3", "blocks.0")],
)
def test_an_unknown_hook_point_lists_near_names(folder_of: Callable[[str], Path], backend: str, name: str, near: str) -> None:
    with pytest.raises(HookPointUnknownError, match=r"blocks\.0 to blocks\.2") as refused:
        subject(folder_of("llama"), name, backend)
    assert near in refused.value.cure


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_site_that_the_architecture_lacks(folder_of: Callable[[str], Path], backend: str) -> None:
    with pytest.raises(HookPointUnknownError, match="hook_resid_mid"):
        subject(folder_of("neox"), "blocks.1.hook_resid_mid", backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_damaged_folders(folder_of: Callable[[str], Path], tmp_path: Path, backend: str) -> None:
    from shutil import copytree

    from safetensors.torch import load_file, save_file

    broken = copytree(folder_of("llama"), tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.layers.2.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsNotFiniteError, match="up_proj"):
        subject(broken, "blocks.0.hook_resid_post", backend)
    (broken / "model.safetensors").unlink()
    with pytest.raises(FileMissingError, match="holds no weights"):
        subject(broken, "blocks.0.hook_resid_post", backend)
    (broken / "config.json").write_text('{"model_type": "of nobody"}', encoding="utf-8")
    with pytest.raises(SubjectError, match="gives no hidden_size"):
        subject(broken, "blocks.0.hook_resid_post", backend)
    with pytest.raises(FileMissingError, match="is no folder"):
        subject(tmp_path / "nowhere", "blocks.0.hook_resid_post", backend)


def test_an_unknown_device(folder_of: Callable[[str], Path]) -> None:
    with pytest.raises(SubjectError, match="'cuda:63' is not there"):
        open_subject(SubjectSpec(model=str(folder_of("llama")), device="cuda:63"), "blocks.0.hook_resid_post")


@pytest.mark.parametrize("family", FAMILIES)
def test_random_weights_forget_everything_but_the_scale_and_are_the_same_each_time_in_both_backends(
    folder_of: Callable[[str], Path], family: str
) -> None:
    folder = folder_of(family)
    trained = subject(folder, "blocks.1.hook_resid_post")
    first, again, other = (subject(folder, "blocks.1.hook_resid_post", backend, weights="random") for backend in ("bridge", "bridge", "huggingface"))
    torch.testing.assert_close(first.activations(tokens()), again.activations(tokens()), rtol=0, atol=0)
    torch.testing.assert_close(first.activations(tokens()), other.activations(tokens()), rtol=1e-3, atol=1e-4)
    pairs = torch.stack([first.activations(tokens()).flatten(), trained.activations(tokens()).flatten()])
    assert abs(float(torch.corrcoef(pairs)[0, 1])) < 0.5
    assert first.name == f"{trained.name}-random"
    assert first.digest == other.digest != trained.digest
