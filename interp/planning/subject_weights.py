"""Headers of a subject's weights, compared with its config.json before a worker opens them."""

from collections.abc import Mapping
from pathlib import Path

from interp.dictionary.torchfile import read_torch, tensors_of
from interp.dictionary.weights import StoredTensor, check_expansion, read_safetensors
from interp.domain.errors import FileMissingError, SubjectError
from interp.domain.spec import SubjectSpec
from interp.security import allowed_files
from interp.security.bounded_json import MODEL_HEADER
from interp.subject.location import is_folder
from interp.subject.shape import ModelShape

# A config may describe this many times the numbers in the files (packed and shared weights), and any small model.
MOST_DESCRIBED = 8
SMALL = 1 << 26


def read_headers(spec: SubjectSpec) -> dict[Path, dict[str, StoredTensor]]:
    """Read the tensors of weights files; raises FileMissingError, DictionaryError and PickleRefusedError.

    There are none for a name of the Hub, or for files of torch before 1.6.
    """
    if not is_folder(spec):
        return {}
    names = [name for name in allowed_files.names_in(spec.model) if not name.startswith(".")]
    if not any(name.endswith((".safetensors", ".bin")) for name in names):
        raise FileMissingError(
            f"{spec.model} holds no weights.", why="No .safetensors or .bin file is there.", cure="Save the model with `save_pretrained`."
        )
    folder = Path(spec.model)
    safe = [folder / name for name in names if name.endswith(".safetensors")]
    if safe:
        return {path: read_safetensors(path, MODEL_HEADER) for path in safe}
    pickled = [folder / name for name in names if name.startswith("pytorch_model") and name.endswith(".bin")]
    return {path: _pickled(path) for path in pickled if _is_zip(path)}


def check_described(shape: ModelShape, weights: Mapping[Path, Mapping[str, StoredTensor]]) -> None:
    """Raise SubjectError for files with far less than config.json describes: the rest would be random."""
    held = sum(tensor.size for tensors in weights.values() for tensor in tensors.values())
    described = shape.vocabulary * shape.d_model + shape.layers * shape.d_model**2
    if weights and described > MOST_DESCRIBED * held + SMALL:
        raise SubjectError(
            "config.json describes a larger model than the weights hold.",
            why=f"Embedding and attention alone have some {described} numbers, the files have {held}.",
            cure="Put the config.json beside the weights that was saved with them.",
        )


def _pickled(path: Path) -> dict[str, StoredTensor]:
    tensors = tensors_of(read_torch(path))
    check_expansion(tensors.values(), [path], path)
    return tensors


def _is_zip(path: Path) -> bool:
    with allowed_files.open_file(path) as handle:
        return handle.read(2) == b"PK"
