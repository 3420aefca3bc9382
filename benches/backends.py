"""Speed of the backends of a subject: tokens a second up to one hook point, of a Llama of the given size.

    python -m benches.backends [--layers 12 --width 576 --rows 8 --tokens 256 --repeats 5]

The backends take turns, and each one's fastest pass counts, so that other work of the machine counts least.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from interp.domain.spec import SubjectSpec
from interp.subject.base import BACKENDS, open_subject


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("layers", 12), ("width", 576), ("rows", 8), ("tokens", 256), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _save(Path(folder), options)
        hook_point = f"blocks.{options.layers // 2}.hook_resid_post"
        subjects: dict[str, Any] = {
            name: open_subject(SubjectSpec(model=folder, backend=name), hook_point)  # type: ignore[arg-type]
            for name in BACKENDS
        }
    tokens = torch.randint(1, 290, (options.rows, options.tokens), generator=torch.Generator().manual_seed(0))
    best = dict.fromkeys(subjects, float("inf"))
    for _ in range(options.repeats):
        for name, subject in subjects.items():
            began = time.perf_counter()
            subject.activations(tokens)
            best[name] = min(best[name], time.perf_counter() - began)
    for name, seconds in best.items():
        print(f"{name:12} {tokens.numel() / seconds:10,.0f} tokens/s at {hook_point} on {subjects[name].device}")


def _save(folder: Path, options: argparse.Namespace) -> None:
    tokenizer, heads = Tokenizer(models.WordLevel({f"token {number}": number for number in range(300)}, "token 0")), max(1, options.width // 64)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="token 0").save_pretrained(folder)
    sizes = {"hidden_size": options.width, "intermediate_size": 8 * options.width // 3, "num_hidden_layers": options.layers}
    LlamaForCausalLM(
        LlamaConfig(vocab_size=tokenizer.get_vocab_size(), num_attention_heads=heads, max_position_embeddings=options.tokens, **sizes)
    ).save_pretrained(folder)


if __name__ == "__main__":
    main()
