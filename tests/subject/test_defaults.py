"""What a config.json leaves out is what transformers takes for it; the table of defaults is that of the installed library."""

import json

from interp.subject import defaults
from interp.subject.shape import ModelShape
from tests.subject.generate_defaults import generate

# text_config as google/gemma-3-4b-pt has it.
GEMMA_3 = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text",
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "sliding_window": 1024,
    },
}


def test_a_sparse_text_config() -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    text = CONFIG_MAPPING["gemma3"](text_config=GEMMA_3["text_config"]).text_config
    shape = ModelShape.from_config(GEMMA_3)
    assert (shape.layers, shape.d_model, shape.d_mlp) == (34, 2560, 10240)
    assert shape.d_heads == text.num_attention_heads * text.head_dim == 2048
    assert (shape.vocabulary, shape.context) == (text.vocab_size, text.max_position_embeddings)
    unnamed = json.loads(json.dumps(GEMMA_3))
    del unnamed["text_config"]["model_type"]
    assert ModelShape.from_config(unnamed) == shape


def test_a_size_of_heads_that_is_no_share_of_the_width() -> None:
    """Gemma 3 12B names 16 heads and leaves their size, 256, to its class."""
    text = {"hidden_size": 3840, "num_attention_heads": 16, "num_hidden_layers": 48, "intermediate_size": 15360}
    assert ModelShape.from_config({"model_type": "gemma3", "text_config": text}).d_heads == 16 * 256


def test_sizes_that_follow_from_others_are_no_defaults() -> None:
    """Llama's class gives a head size too: the width over the heads."""
    shape = ModelShape.from_config({"model_type": "llama", "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24})
    assert (shape.d_heads, shape.d_mlp, shape.layers) == (16, 24, 32)
    assert ModelShape.from_config({"model_type": "gpt2", "n_embd": 24}).d_mlp == 96


def test_the_table_is_that_of_the_installed_transformers() -> None:
    """Else run `python -m tests.subject.generate_defaults`."""
    assert json.loads(json.dumps(generate())) == json.loads(defaults.FILE.read_text(encoding="utf-8"))
