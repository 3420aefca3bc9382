"""Planted faults of a dictionary are named with their cure, and right dictionaries are left alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from interp.collect.measure import figures
from interp.collect.measure.alternatives import _scaled
from interp.collect.measure.diagnosis import diagnose, of_figures, of_metadata
from interp.collect.measure.sample import TokenSample
from interp.dictionary.canonical import Positions
from interp.dictionary.module import Dictionary, open_dictionary
from interp.domain.check_report import CheckFigures, Figure, Finding
from interp.domain.spec import DictionarySpec, SubjectSpec
from interp.subject.base import open_subject
from interp.subject.loaded import OpenedSubject
from tests.subject.tokenizers_of import byte_level

EXAMPLE = Path(__file__).parents[2] / "examples" / "pystdlib"
WIDTH, TOKENS = 32, 64


@dataclass(frozen=True)
class Fit:
    """A subject, a dictionary that fits it, and samples with BOS and without."""

    subject: OpenedSubject
    dictionary: Dictionary
    sample: TokenSample
    flipped: TokenSample


def sample_of(ids: Tensor) -> TokenSample:
    """Rows of content tokens `[R, T]` without BOS."""
    counted = torch.ones_like(ids, dtype=torch.bool)
    return TokenSample(ids, counted, counted[:, 1:])


def with_bos(ids: Tensor, bos: int = 0) -> TokenSample:
    found = sample_of(torch.cat([torch.full_like(ids[:, :1], bos), ids], dim=1))
    found.counted[:, 0] = False
    return TokenSample(found.tokens, found.counted, found.counted[:, :-1] & found.counted[:, 1:])


def opened(folder: Path, hook_point: str, **settings: str) -> OpenedSubject:
    found = open_subject(SubjectSpec(model=str(folder), backend="huggingface", device="cpu", **settings), hook_point)
    assert isinstance(found, OpenedSubject)
    return found


def named(given: Fit, dictionary: Dictionary, subject: OpenedSubject | None = None, sample: TokenSample | None = None) -> list[Finding]:
    """What a check says of a dictionary on the sample."""
    subject, sample = subject or given.subject, sample or given.sample
    flipped = given.flipped if sample is given.sample else given.sample
    found, _ = diagnose(subject, dictionary, sample, flipped, lambda _: None)
    measured = figures.measure(subject, dictionary, sample, lambda _: None)
    return [*found, *of_figures(measured, subject.name, "another", bool(found))]


@pytest.fixture(scope="session")
def example() -> Fit:
    """The example's trained dictionary, on some of the repository's own source."""
    subject = opened(EXAMPLE / "subject", "blocks.1.hook_resid_post")
    texts = [path.read_text() for path in sorted((EXAMPLE.parents[1] / "interp" / "domain").glob("*.py"))]
    rows = [row[:32].astype(np.int64) for row in subject.encode_texts(texts) if len(row) >= 32][:8]
    ids = torch.from_numpy(np.stack(rows))
    return Fit(subject, open_dictionary(DictionarySpec(source=str(EXAMPLE / "dictionary"))), with_bos(ids), sample_of(ids))


@pytest.fixture(scope="session")
def random_subject() -> OpenedSubject:
    return opened(EXAMPLE / "subject", "blocks.1.hook_resid_post", weights="random")


def test_the_right_dictionary_of_the_example_has_its_figures_and_no_finding(example: Fit) -> None:
    found = figures.measure(example.subject, example.dictionary, example.sample, lambda _: None)
    assert named(example, example.dictionary) == []
    x, _, _ = figures.ends(example.subject, example.dictionary, example.sample.tokens)
    x = x[example.sample.counted]
    codes = example.dictionary.encode(x)
    error = (x - example.dictionary.decode(codes)).square().sum() / (x - x.mean(0)).square().sum()
    assert found.fvu.value == pytest.approx(float(error), rel=1e-4)
    assert found.l0.value == pytest.approx(float((codes > 0).sum(1).float().mean()), rel=1e-6)
    assert found.dead_share.value == pytest.approx(float((codes > 0).sum(0).eq(0).float().mean()), rel=1e-6)
    assert found.ce_recovered.value is not None and found.ce_recovered.value > 0.9
    assert found.fvu.standard_error is not None and 0 < found.fvu.standard_error < 0.05


UNFOLDED = "expected_average_only_in that was not folded"
WRONG_IN_EXAMPLE: dict[str, tuple[Callable[[Dictionary, Tensor], Dictionary], str, str]] = {
    "a later layer": (lambda right, _: replace(right, hook_point="blocks.2.hook_resid_post"), "hook-point", "blocks.1.hook_resid_post"),
    "resid_pre for resid_post": (lambda right, _: replace(right, hook_point="blocks.1.hook_resid_pre"), "hook-point", "blocks.1.hook_resid_post"),
    "what the MLP writes": (lambda right, _: replace(right, hook_point="blocks.1.hook_mlp_out"), "hook-point", "blocks.1.hook_resid_post"),
    "LayerNorm that it never had": (lambda right, _: replace(right, input_norm="layer_norm"), "input-norm", "reads as none"),
    "constant_norm_rescale that it never had": (lambda right, _: replace(right, input_norm="unit_scale"), "input-norm", "reads as none"),
    "no bias before the encoder": (lambda right, _: replace(right, pre_bias=None), "pre-bias", "apply_b_dec_to_input"),
    UNFOLDED: (lambda right, x: _scaled(right, float(x.norm(dim=1).mean()) / right.d_in**0.5), "input-scale", "fold_activation_norm_scaling_factor"),
}


@pytest.mark.parametrize("fault", WRONG_IN_EXAMPLE)
def test_a_fault_planted_on_the_example_is_named(example: Fit, fault: str) -> None:
    change, code, cure = WRONG_IN_EXAMPLE[fault]
    x, _, _ = figures.ends(example.subject, example.dictionary, example.sample.tokens[:4])
    (found, *_) = named(example, change(example.dictionary, x[example.sample.counted[:4]]))
    assert (found.code, cure in found.cure) == (code, True), found


def test_another_model_of_the_same_width_is_named(example: Fit, random_subject: OpenedSubject) -> None:
    (found,) = named(example, example.dictionary, random_subject)
    assert (found.code, found.severity) == ("model", "fault")
    assert random_subject.name in found.cure and "another" in found.cure


def save(model: torch.nn.Module, folder: Path) -> Path:
    PreTrainedTokenizerFast(tokenizer_object=byte_level(), bos_token="<|bos|>").save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def centred_codes() -> Tensor:
    """Vectors `[TOKENS, WIDTH]` of equal norm without mean, and 0 on the two axes of the BOS."""
    drawn = torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(0))
    drawn[:, :2] = 0
    drawn[:, 2:] -= drawn[:, 2:].mean(1, keepdim=True)
    return drawn / drawn.norm(dim=1, keepdim=True) * WIDTH**0.5


# Tokens whose embeddings have the same norm, and such of different norms. The BOS is 0.
ALIKE, UNALIKE = range(1, 32), range(32, TOKENS)


@pytest.fixture(scope="session")
def layer_norm_subject(tmp_path_factory: pytest.TempPathFactory) -> OpenedSubject:
    """A GPT-2 whose embeddings have a mean, and whose first block adds what the BOS holds to each token."""
    torch.manual_seed(0)
    vocabulary = byte_level().get_vocab_size()
    model = GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, n_embd=WIDTH, n_layer=2, n_head=2, n_positions=TOKENS, bos_token_id=0))
    scales = torch.ones(TOKENS, 1)
    scales[UNALIKE] = torch.exp(torch.linspace(-1.5, 1.5, len(UNALIKE)))[torch.randperm(len(UNALIKE))][:, None]
    with torch.no_grad():
        model.transformer.wte.weight[:TOKENS] = scales * centred_codes() + 1
        model.transformer.wte.weight[0] = 0
        model.transformer.wte.weight[0, :2] = torch.tensor([10.0, -10.0])
        model.transformer.wpe.weight.zero_()
        attention = model.transformer.h[0].attn
        attention.c_attn.weight.zero_()
        # Queries are constant, and keys and values read the two axes of the BOS alone.
        attention.c_attn.bias[[0, WIDTH // 2]] = 20.0
        value = torch.randn(WIDTH)
        for axis, sign in ((0, 1.0), (1, -1.0)):
            attention.c_attn.weight[axis, [WIDTH, WIDTH + WIDTH // 2]] = sign
            attention.c_attn.weight[axis, 2 * WIDTH :] = sign * value
        attention.c_proj.weight.copy_(torch.eye(WIDTH))
    return opened(save(model, tmp_path_factory.mktemp("gpt2")), "blocks.0.hook_resid_pre")


def tokens_of(ids: range) -> tuple[TokenSample, TokenSample]:
    drawn = torch.randint(ids.start, ids.stop, (8, 32), generator=torch.Generator().manual_seed(1))
    return with_bos(drawn), sample_of(drawn)


def lookup(inputs: Tensor, outputs: Tensor, hook_point: str, **settings: object) -> Dictionary:
    """A JumpReLU dictionary with one feature for each input `[N, D]`, which writes the output `[N, D_out]`."""
    encoder = (inputs / inputs.square().sum(1, keepdim=True)).T.contiguous()
    zeros = torch.zeros(len(inputs))
    made = Dictionary("tiny@0", hook_point, "jumprelu", "", {}, encoder, zeros, outputs, torch.zeros(outputs.shape[1]), "jumprelu", zeros + 0.8)
    return replace(made, **settings)


def test_a_layer_norm_that_is_missing_is_named(layer_norm_subject: OpenedSubject) -> None:
    sample, flipped = tokens_of(UNALIKE)
    inputs = centred_codes()[UNALIKE]
    inputs = inputs / inputs.std(1, keepdim=True)
    right = lookup(inputs, inputs, "blocks.0.hook_resid_pre", input_norm="layer_norm")
    fit = Fit(layer_norm_subject, right, sample, flipped)
    assert named(fit, right) == []
    (found, *_) = named(fit, replace(right, input_norm="none"))
    assert (found.code, "reads as layer_norm" in found.cure) == ("input-norm", True), found


def test_centring_that_is_missing_is_named(layer_norm_subject: OpenedSubject) -> None:
    codes = centred_codes()[ALIKE]
    right = lookup(codes, codes, "blocks.0.hook_resid_pre", input_norm="centre")
    fit = Fit(layer_norm_subject, right, *tokens_of(ALIKE))
    assert named(fit, right) == []
    (found, *_) = named(fit, replace(right, input_norm="none"))
    assert (found.code, "reads as centre" in found.cure) == ("input-norm", True), found


def test_decoder_norms_that_are_not_folded_are_named(layer_norm_subject: OpenedSubject) -> None:
    codes = centred_codes()[ALIKE]
    right = replace(lookup(codes, codes, "blocks.0.hook_resid_pre", input_norm="centre"), activation="topk", k=1, threshold=None)
    fit = Fit(layer_norm_subject, right, *tokens_of(ALIKE))
    assert named(fit, right) == []
    norms = torch.exp(torch.linspace(-2, 2, len(codes)))
    (found, *_) = named(fit, replace(right, W_enc=right.W_enc / norms, W_dec=right.W_dec * norms[:, None]))
    assert (found.code, "rescale_acts_by_decoder_norm" in found.cure) == ("decoder-norms", True), found


def test_a_wrong_bos_is_named(layer_norm_subject: OpenedSubject) -> None:
    sample, flipped = tokens_of(ALIKE)
    x, _, _ = figures.ends(layer_norm_subject, lookup(torch.eye(WIDTH), torch.eye(WIDTH), "blocks.0.hook_resid_mid"), sample.tokens)
    codes = centred_codes()[ALIKE]
    bias = (x[0, 1:] - centred_codes()[sample.tokens[0, 1:]]).mean(0)
    right = lookup(codes, codes, "blocks.0.hook_resid_mid", pre_bias=bias, b_dec=bias)
    fit = Fit(layer_norm_subject, right, sample, flipped)
    assert named(fit, right) == []
    (found, *_) = named(fit, replace(right, positions=Positions(prepend_bos=False)), sample=flipped)
    assert (found.code, "prepend_bos" in found.cure, found.cure.endswith("true.")) == ("bos", True, True), found


@pytest.fixture(scope="session")
def gain_subject(tmp_path_factory: pytest.TempPathFactory) -> OpenedSubject:
    """A Llama whose norms have gains that are not 1, and whose attention adds little."""
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": TOKENS}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=byte_level().get_vocab_size(), bos_token_id=0, initializer_range=0.2, **sizes))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.mul_(0.05)
            layer.post_attention_layernorm.weight.copy_(torch.exp(torch.randn(WIDTH)))
    return opened(save(model, tmp_path_factory.mktemp("llama")), "blocks.0.ln2.hook_normalized")


def test_a_transcoder_that_is_read_after_the_gain_of_the_norm_is_named(gain_subject: OpenedSubject) -> None:
    names = ("blocks.0.ln2.hook_normalized", "blocks.0.hook_mlp_out")
    seen, _ = figures.activations(gain_subject, torch.arange(1, TOKENS)[None], names)
    inputs, outputs = (seen[name][0] for name in names)
    mean = outputs.mean(0)
    right = lookup(inputs, outputs - mean, names[0], b_dec=mean, output_point=names[1])
    fit = Fit(gain_subject, right, *tokens_of(range(1, TOKENS)))
    assert named(fit, right) == []
    (found, *_) = named(fit, replace(right, hook_point="blocks.0.mlp.hook_in"))
    assert (found.code, found.cure) == ("hook-point", f"Set dictionary.hook_point: {names[0]}"), found
    (found, *_) = named(fit, replace(right, output_point="blocks.1.hook_mlp_out"))
    assert (found.code, names[1] in found.cure) == ("output-point", True), found


def test_where_job_and_files_disagree_is_said(example: Fit) -> None:
    assert of_metadata(example.dictionary, example.dictionary.hook_point, 0) == []
    (differs,) = of_metadata(example.dictionary, "blocks.3.hook_resid_pre", 0)
    assert (differs.code, "blocks.3.hook_resid_pre" in differs.cure) == ("hook-point-stated", True)
    (missing,) = of_metadata(example.dictionary, "", None)
    assert missing.code == "bos-missing"


def test_a_dictionary_that_is_silent_and_one_that_does_not_serve_the_model_are_named() -> None:
    known = dict.fromkeys(CheckFigures.__slots__, Figure(0.1))
    (silent,) = of_figures(CheckFigures(**known | {"l0": Figure(0.0), "ce_recovered": Figure(None, why="")}), "here", None, False)
    assert silent.code == "silent"
    (harm,) = of_figures(CheckFigures(**known), "here", None, False)
    assert (harm.code, harm.severity) == ("loss-recovered", "warning")
