"""Headers of a subject's weights, compared with its config.json before a worker opens them."""

from collections.abc import Mapping
from pathlib import Path

from interp.dictionary.torchfile import read_torch, tensors_of
from interp.dictionary.weights import StoredTensor, check_expansion, read_safetensors
from interp.domain.errors import FileMissingError
from interp.domain.spec import SubjectSpec
from interp.security import allowed_files
from interp.security.bounded_json import MODEL_HEADER
from interp.subject import shape as shapes
from interp.subject.location import reading
from interp.subject.shape import ModelShape


def read_headers(spec: SubjectSpec) -> dict[Path, dict[str, StoredTensor]]:
    """Read the tensors of weights files; raises FileMissingError, DictionaryError and PickleRefusedError.

    There are none for a name of the Hub, or for files of torch before 1.6.
    """
    with reading(spec) as folder:
        return {} if folder is None else _headers_in(folder)


def _headers_in(folder: Path) -> dict[Path, dict[str, StoredTensor]]:
    names = [name for name in allowed_files.names_in(folder) if not name.startswith(".")]
    if not any(name.endswith((".safetensors", ".bin")) for name in names):
        raise FileMissingError(
            f"{folder} holds no weights.", why="No .safetensors or .bin file is there.", cure="Save the model with `save_pretrained`."
        )
    safe = [folder / name for name in names if name.endswith(".safetensors")]
    if safe:
        return {path: read_safetensors(path, MODEL_HEADER) for path in safe}
    pickled = [folder / name for name in names if name.startswith("pytorch_model") and name.endswith(".bin")]
    return {path: _pickled(path) for path in pickled if _is_zip(path)}


def check_described(shape: ModelShape, weights: Mapping[Path, Mapping[str, StoredTensor]]) -> None:
    """Raise SubjectError for files with far less than config.json describes: the rest would be random."""
    if weights:
        shapes.check_described(shape, sum(tensor.size for tensors in weights.values() for tensor in tensors.values()))


def _pickled(path: Path) -> dict[str, StoredTensor]:
    tensors = tensors_of(read_torch(path))
    check_expansion(tensors.values(), [path], path)
    return tensors


def _is_zip(path: Path) -> bool:
    with allowed_files.open_file(path) as handle:
        return handle.read(2) == b"PK"
