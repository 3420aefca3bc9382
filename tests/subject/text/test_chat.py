"""Messages become the ids that transformers gives them; a hostile template is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from interp.domain.errors import TokenizerMismatchError
from interp.domain.spec import SubjectSpec
from interp.subject.text import chat_process
from interp.subject.text.chat import open_chat
from tests.subject.tokenizers_of import byte_level

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'nobody' %}{{ raise_exception('no such role') }}{% endif %}"
    "<|start|>{{ message['role'] }}\n{{ message['content'] | trim }}<|end|>\n{% endfor %}"
)
MESSAGES = [{"role": "user", "content": " Naïve café? ☃ <|end|> "}, {"role": "assistant", "content": "Yes, 漢字."}]


def write(folder: Path, template: str | None = TEMPLATE, **settings: Any) -> SubjectSpec:
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<|start|>", "<|end|>"])
    saved = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|bos|>", eos_token="<|end|>")
    saved.chat_template = template
    saved.save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32}
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": tokenizer.get_vocab_size(), **sizes}))
    if settings:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | settings))
        (folder / "chat_template.jinja").unlink(missing_ok=True)
    return SubjectSpec(model=str(folder))


def test_ids_are_those_of_transformers_without_the_bos(tmp_path: Path) -> None:
    chat = open_chat(write(tmp_path))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert chat.render(MESSAGES) == tokenizer.apply_chat_template(MESSAGES, tokenize=False)
    expected = tokenizer.apply_chat_template(MESSAGES, tokenize=True, return_dict=False)
    assert chat.encode(MESSAGES).tolist() == expected[1:]
    assert expected[0] == tokenizer.bos_token_id
    assert expected.count(tokenizer.convert_tokens_to_ids("<|end|>")) == 3


@pytest.mark.parametrize("stored", [TEMPLATE, [{"name": "tools", "template": "no"}, {"name": "default", "template": TEMPLATE}]])
def test_the_template_of_the_settings(tmp_path: Path, stored: Any) -> None:
    assert open_chat(write(tmp_path, chat_template=stored)).render(MESSAGES[1:]) == "<|bos|><|start|>assistant\nYes, 漢字.<|end|>\n"


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{% for i in range(10 ** 9) %}x{% endfor %}",
        "{{ 'x' * 10 ** 8 }}",
        "{{ 'x' * 10 ** 12 }}",
        "{% for message in messages %}{{ message.pop('role') }}{% endfor %}",
        "{{ 1 / 0 }}",
        "{% for %}",
    ],
)
def test_a_template_that_does_what_it_should_not_is_refused(tmp_path: Path, template: str) -> None:
    with pytest.raises(TokenizerMismatchError, match="cannot render"):
        open_chat(write(tmp_path, template)).render(MESSAGES)


@pytest.mark.parametrize("template", ["{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "{{ 9 ** (9 ** (9 ** 9)) }}"])
def test_a_template_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str) -> None:
    monkeypatch.setattr(chat_process, "RENDER_SECONDS", 0.5)
    with pytest.raises(TokenizerMismatchError, match=r"takes more than 0\.5 s") as refused:
        open_chat(write(tmp_path, template)).render(MESSAGES)
    assert "give the corpus as text" in refused.value.cure
    monkeypatch.undo()
    assert open_chat(write(tmp_path)).render(MESSAGES[1:]).startswith("<|bos|>"), "another process renders the next"


def test_messages_that_the_template_refuses_and_a_model_without_one(tmp_path: Path) -> None:
    with pytest.raises(TokenizerMismatchError, match="no such role"):
        open_chat(write(tmp_path)).encode([{"role": "nobody", "content": "x"}])
    with pytest.raises(TokenizerMismatchError, match="has no chat template"):
        open_chat(write(tmp_path, None, chat_template=None))
    with pytest.raises(TokenizerMismatchError, match="too long"):
        open_chat(write(tmp_path, "x" * 300_000))
