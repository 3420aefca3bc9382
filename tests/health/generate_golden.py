"""Writes tests/health/golden/saelens.json: figures that SAELens' own evals give for the example's dictionary.

    python -m venv V
    V/bin/pip install torch==2.13.0 sae-lens==6.54.12
    V/bin/python -m tests.health.generate_golden

Two dictionaries of the same weights: the JumpReLU one as it is, and a standard one without its thresholds.
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

EXAMPLE = Path(__file__).parents[2] / "examples" / "pystdlib"
GOLDEN = Path(__file__).parent / "golden" / "saelens.json"
HOOK_POINT = "blocks.1.hook_resid_post"


def evaluated(sae: Any, model: Any, tokens: torch.Tensor) -> dict[str, float]:
    """All of SAELens' figures on one batch, without a BOS and with no token left out."""
    from sae_lens.evals import get_eval_everything_config, run_evals
    from sae_lens.training.activation_scaler import ActivationScaler

    rows, length = tokens.shape
    store = SimpleNamespace(context_size=length, store_batch_size_prompts=rows, get_batch_tokens=lambda _: tokens, reset_input_dataset=lambda: None)
    config = get_eval_everything_config(batch_size_prompts=rows, n_eval_reconstruction_batches=1, n_eval_sparsity_variance_batches=1)
    sae.cfg.metadata.hook_name, sae.cfg.metadata.hook_head_index = HOOK_POINT, None
    found, _ = run_evals(sae, store, model, ActivationScaler(), config, exclude_special_tokens=False)
    return {name: value for group in found.values() for name, value in group.items()}


def main() -> None:
    from sae_lens import SAE
    from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoTokenizer

    text = Path(json.__file__).read_text()
    ids = AutoTokenizer.from_pretrained(EXAMPLE / "subject")(text)["input_ids"]
    tokens = torch.tensor(ids[: 6 * 32]).view(6, 32)
    model = TransformerBridge.boot_transformers(str(EXAMPLE / "subject"), device="cpu", dtype=torch.float32)
    jumprelu = SAE.load_from_disk(str(EXAMPLE / "dictionary"), device="cpu")
    standard = StandardSAE(StandardSAEConfig(d_in=jumprelu.cfg.d_in, d_sae=jumprelu.cfg.d_sae, apply_b_dec_to_input=True))
    standard.load_state_dict({name: tensor for name, tensor in jumprelu.state_dict().items() if name != "threshold"})
    figures = {name: evaluated(sae, model, tokens) for name, sae in {"jumprelu": jumprelu, "standard": standard}.items()}
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps({"tokens": tokens.tolist(), **figures}))


if __name__ == "__main__":
    main()
