"""Generator of `interp/subject/defaults.json` from the installed transformers: `python -m tests.subject.generate_defaults`."""

import inspect
import json
from typing import Any

from interp.subject.defaults import FILE, SIZES


def generate() -> dict[str, Any]:
    """Reads the defaults off the installed transformers; takes seconds."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers.models.auto import tokenization_auto as auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    sizes: dict[str, Any] = {}
    text_types: dict[str, Any] = {}
    for kind in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        try:
            text = CONFIG_MAPPING[kind]().get_text_config()
            sizes.setdefault(text.model_type, _sizes(text))
        except (ValueError, RuntimeError, StrictDataclassError):
            # It has no defaults: several parts could be its text model (ValueError), sizes differ by layer (AmbiguousGlobalPerLayerAttributeError, a
            # RuntimeError), or it cannot be made without arguments (StrictDataclassError).
            continue
        if text.model_type != kind:
            text_types[kind] = text.model_type
    causal = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    tokenizers = {kind: name.removesuffix("Fast") for kind, name in sorted(auto.TOKENIZER_MAPPING_NAMES.items()) if name and kind in causal}
    classes = set(tokenizers.values()) | {"LlamaTokenizer", "CodeLlamaTokenizer"}
    bos = {name: token for name in sorted(classes) if (token := _class_bos(auto, name))}
    misnamed = sorted(causal & auto.MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS)
    return {"sizes": sizes, "text_types": text_types, "tokenizers": tokenizers, "bos": bos, "misnamed": misnamed}


def _sizes(text: Any) -> list[int | None]:
    """The sizes in the order of `SIZES`. One that follows from others is left out: it changes with the width."""
    from huggingface_hub.errors import StrictDataclassError

    values = {name: getattr(text, name, None) for name in SIZES}
    try:
        wider = type(text)(hidden_size=2 * text.hidden_size, num_attention_heads=text.num_attention_heads)
    except (AttributeError, StrictDataclassError):
        # It has no width or heads by these names (state-space models), or refuses this width (XLNet, whose heads' size is given): nothing is derived.
        wider = text
    try:
        headed = type(text)(num_attention_heads=2 * text.num_attention_heads)
    except (AttributeError, ValueError, StrictDataclassError):
        headed = text
    derived = {name for name in ("head_dim", "intermediate_size") if getattr(wider, name, None) != values[name]}
    derived |= {name for name in ("num_key_value_heads",) if getattr(headed, name, None) != values[name]}
    return [None if name in derived or not isinstance(values[name], int) else values[name] for name in SIZES]


def _class_bos(auto: Any, name: str) -> str | None:
    found = auto.tokenizer_class_from_name(name)
    parameter = None if found is None else inspect.signature(found.__init__).parameters.get("bos_token")
    return parameter.default if parameter is not None and isinstance(parameter.default, str) else None


def main() -> None:
    """Writes `defaults.json`, one row a line."""
    parts = []
    for part, content in generate().items():
        if isinstance(content, list):
            parts.append(f" {json.dumps(part)}: {json.dumps(content)}")
            continue
        rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in content.items())
        parts.append(f" {json.dumps(part)}: {{\n{rows}\n }}")
    FILE.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
