"""Names of hook points: one name a place, a head as a site of its own, and errors that name the cure."""

import pytest

from interp.domain.errors import HookPointUnknownError
from interp.subject import hooks
from interp.subject.hooks import HookPoint
from interp.subject.shape import ModelShape

SHAPE = ModelShape(architecture="x", layers=2, d_model=16, d_mlp=24, heads=2, kv_heads=1, d_heads=20, vocabulary=300, context=32)


def test_a_head_is_a_slice_of_the_concatenated_heads() -> None:
    point = hooks.parse("blocks.1.attn.hook_z[1]", SHAPE)
    assert point == HookPoint(1, "attn.hook_z", 1)
    assert (point.name, point.tensor, point.abbreviation) == ("blocks.1.attn.hook_z[1]", "blocks.1.attn.hook_z", "1-att-h1")
    assert (point.d_in(SHAPE), point.columns(SHAPE)) == (10, slice(10, 20))
    whole = hooks.parse("blocks.1.attn.hook_z", SHAPE)
    assert (whole.d_in(SHAPE), whole.columns(SHAPE)) == (20, slice(None))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("blocks.1.attn.hook_z[2]", "has 2 heads"),
        ("blocks.1.hook_resid_post[0]", "has no heads"),
        ("blocks.2.attn.hook_z[0]", "blocks.0 to blocks.1"),
        ("blocks.1.attn.hook_z[-1]", "blocks.0 to blocks.1"),
        ("blocks.1.attn.hook_z[]", "blocks.0 to blocks.1"),
        (f"blocks.{'9' * 5000}.hook_resid_post", "blocks.0 to blocks.1"),
    ],
)
def test_heads_and_blocks_that_are_not_there(name: str, why: str) -> None:
    with pytest.raises(HookPointUnknownError) as refused:
        hooks.parse(name, SHAPE)
    assert why in refused.value.why
    assert "blocks." in refused.value.cure


def test_names_of_one_place_have_one_canonical_form() -> None:
    assert hooks.canonical("blocks.01.hook_out") == "blocks.1.hook_resid_post"
    assert hooks.canonical("blocks.1.attn.hook_z[03]") == "blocks.1.attn.hook_z[3]"
    assert hooks.canonical("any other text") == "any other text"


def test_several_hook_points_are_joined_by_a_plus() -> None:
    names = "blocks.0.hook_in+blocks.01.hook_mlp_out"
    assert hooks.canonical(names) == "blocks.0.hook_resid_pre+blocks.1.hook_mlp_out"
    assert hooks.parse_all(names, SHAPE) == (HookPoint(0, "hook_resid_pre"), HookPoint(1, "hook_mlp_out"))
    assert [hooks.is_added(name) for name in hooks.points_of(hooks.canonical(names))] == [False, True]
    with pytest.raises(HookPointUnknownError, match=r"'blocks\.2\.hook_resid_pre'"):
        hooks.parse_all("blocks.0.hook_in+blocks.2.hook_resid_pre", SHAPE)
