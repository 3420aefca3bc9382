"""Files of weights made byte by byte, as attackers make them; no torch."""

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

WIDTH, FEATURES = 6, 10
HOOK_POINT = "blocks.1.hook_resid_post"


def draw(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A file of this header, which may be any JSON or its bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensors(**arrays: Any) -> bytes:
    """A whole and good file of safetensors."""
    header, data = {}, b""
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array, dtype="<f4").tobytes()
        header[name.replace("__", ".")] = {"dtype": "F32", "shape": list(np.shape(array)), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    return safetensors(header, data)


def standard() -> dict[str, Any]:
    return {"W_enc": draw(WIDTH, FEATURES), "b_enc": draw(FEATURES), "W_dec": draw(FEATURES, WIDTH), "b_dec": draw(WIDTH)}


def saelens(folder: Path, arrays: dict[str, Any] | None = None, **config: Any) -> Path:
    """A folder of SAELens' form; a config whose value is `...` lacks it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sae_weights.safetensors").write_bytes(tensors(**(standard() | (arrays or {}))))
    metadata = {"model_name": "tiny", "hook_name": HOOK_POINT}
    content = {"architecture": "standard", "normalize_activations": "none", "metadata": metadata} | config
    (folder / "cfg.json").write_text(json.dumps({name: value for name, value in content.items() if value is not ...}), encoding="utf-8")
    return folder


# Operations of a pickle, as torch.save writes them.
def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def name(module: str, what: str) -> bytes:
    return f"c{module}\n{what}\n".encode()


def tuple_of(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def dict_of(**values: bytes) -> bytes:
    return b"}(" + b"".join(text(key.replace("__", ".")) + value for key, value in values.items()) + b"u"


def tensor(key: str, size: tuple[int, ...], stride: tuple[int, ...] | None = None, offset: int = 0, kind: str = "FloatStorage") -> bytes:
    """A tensor over the storage `key`, contiguous where no strides are given."""
    steps = stride if stride is not None else tuple(int(np.prod(size[place + 1 :])) for place in range(len(size)))
    storage = tuple_of(text("storage"), name("torch", kind), text(key), text("cpu"), number(1)) + b"Q"
    hooks = name("collections", "OrderedDict") + b")R"
    parts = (storage, number(offset), tuple_of(*map(number, size)), tuple_of(*map(number, steps)), b"\x89", hooks)
    return name("torch._utils", "_rebuild_tensor_v2") + tuple_of(*parts) + b"R"


def torch_file(path: Path, operations: bytes, storages: dict[str, Any] | None = None, compression: int = zipfile.ZIP_STORED) -> Path:
    """A .pt whose pickle is made of these operations, and whose storages are float32."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + operations + b".")
        for key, array in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", np.asarray(array, dtype="<f4").tobytes())
    return path


def openai(path: Path, beside: bytes = b"", **changes: bytes) -> Path:
    """OpenAI's form: a state dict in one .pt. `beside` are further pairs of keys and values; `changes` replace tensors."""
    parts = {
        "pre_bias": tensor("0", (WIDTH,)),
        "latent_bias": tensor("1", (FEATURES,)),
        "encoder__weight": tensor("2", (FEATURES, WIDTH)),
        "decoder__weight": tensor("3", (WIDTH, FEATURES)),
    } | changes
    storages = {"0": draw(WIDTH), "1": draw(FEATURES), "2": draw(FEATURES, WIDTH), "3": draw(WIDTH, FEATURES)}
    return torch_file(path, dict_of(**parts)[:-1] + beside + b"u", storages)


def sparse(path: Path, start: bytes, size: int, end: bytes = b"") -> Path:
    """A file of many zeros that takes no disk."""
    with path.open("wb") as handle:
        handle.write(start)
        handle.truncate(size)
        handle.seek(size)
        handle.write(end)
    return path
