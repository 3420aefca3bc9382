"""Files of a subject, in a folder or in the Hugging Face Hub's cache."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import Field

from interp.domain.digests import IDENTITY_VERSION, digest_of
from interp.domain.errors import FileMissingError, InputError, SubjectError
from interp.domain.spec import SubjectSpec
from interp.security import allowed_files, uploads
from interp.security.allowed_files import Roots, file_digest
from interp.security.bounded_json import MODEL_CONFIG, MODEL_HEADER, TOKENIZER, JsonLimits, read_json
from interp.security.foreign_config import Foreign, typed
from interp.subject.gguf.folder import SUFFIX, VERSION, existing_folder_of, is_gguf
from interp.subject.gguf.folder import file_digest as gguf_digest

# Folder names that do not name the model; their parent's name does.
PLAIN_FOLDERS = frozenset({"subject", "model", "checkpoint", "final"})
LONGEST_NAME = 200
# The files of a subject's folder that decide its computation.
SUBJECT_SUFFIXES = frozenset({".safetensors", ".bin", ".model"})
REQUIRED_FILES = ("config.json", "tokenizer.json")
OPTIONAL_FILES = frozenset({"generation_config.json", "tokenizer_config.json", "special_tokens_map.json"})
SUBJECT_FILES = OPTIONAL_FILES | set(REQUIRED_FILES)


class ConfigNames(Foreign):
    """The model's names in config.json, from the user or `save_pretrained`."""

    given: str | None = Field(default=None, alias="glossator_name")
    path: str | None = Field(default=None, alias="_name_or_path")


def folder_of(spec: SubjectSpec) -> Path | None:
    """Return the subject's folder, None for a name of the Hub; raises FileMissingError.

    That of a GGUF file is the converted one, which is readable within `reading` alone.
    """
    if uploads.is_upload(spec.model):
        return _uploaded_folder(spec)
    if not looks_like_path(spec.model) and not allowed_files.current().permit_path(spec.model):
        return None
    kind = allowed_files.kind_of(spec.model)
    if kind == "folder":
        return Path(spec.model)
    if kind == "file" and is_gguf(spec.model):
        return existing_folder_of(spec.model)
    if looks_like_path(spec.model) or kind != "nothing":
        raise FileMissingError(
            f"{spec.model} is no folder.",
            why="A subject is a folder in Hugging Face form (config.json, weights, tokenizer), a GGUF file, or a model name of the Hub.",
            cure="Check the path; a relative one counts from where the service was started.",
        )
    return None


def _uploaded_folder(spec: SubjectSpec) -> Path:
    if is_gguf(spec.model):
        return existing_folder_of(spec.model)
    folder = uploads.local(spec.model)
    with allowed_files.within(uploads.roots_of(spec.model)):
        if not allowed_files.is_folder(folder):
            raise FileMissingError(
                f"{spec.model} is no folder.", why="A subject is a folder in Hugging Face form or a GGUF file.", cure="Upload one."
            )
    return folder


@contextmanager
def reading(spec: SubjectSpec) -> Iterator[Path | None]:
    """Yield the subject's folder (None: a name of the Hub), readable within the block."""
    folder = folder_of(spec)
    if folder is not None and not is_gguf(spec.model):
        with allowed_files.within(uploads.roots_of(spec.model) if uploads.is_upload(spec.model) else allowed_files.current()):
            yield folder
        return
    from huggingface_hub import constants

    # Links in the Hub's cache point to blobs in it.
    with allowed_files.within(Roots((os.path.realpath(folder or constants.HF_HUB_CACHE),), allowed_files.SYSTEM)):
        yield folder


def source_of(spec: SubjectSpec) -> str:
    """Return what libraries open: the subject's folder, or its name on the Hub."""
    return str(folder_of(spec) or spec.model)


def looks_like_path(model: str) -> bool:
    """Return whether the text can only be a path, not a Hub name (`organisation/name`)."""
    return model.startswith(("/", ".", "~")) or len(Path(model).parts) not in (1, 2)


def check_folder(spec: SubjectSpec) -> None:
    """Check that no file of a folder refers to another one; libraries open it afterwards.

    Raises PathRefusedError, NotRegularFileError, and SubjectError for shards in another folder or an adapter of another model.
    """
    with reading(spec) as folder:
        if folder is not None:
            _check_folder(spec, folder)
            return
        # The libraries prefer a folder of the working directory to a name of the Hub.
        if os.path.lexists(spec.model):
            raise allowed_files.refused(spec.model)
        from interp.subject import hub

        hub.guard_hub()


def _check_folder(spec: SubjectSpec, folder: Path) -> None:
    allowed_files.check_folder(folder)
    names = allowed_files.names_in(folder)
    if "adapter_config.json" in names:
        raise SubjectError(f"{spec.model} holds an adapter.", why="Its base model lies elsewhere.", cure="Merge it, and save the whole model.")
    for name in names:
        if name.endswith(".index.json"):
            shards = read_json(folder / name, limits=MODEL_HEADER).get("weight_map")
            listed = shards.values() if isinstance(shards, dict) else [""]
            if any(not isinstance(shard, str) or shard not in names for shard in listed):
                raise SubjectError(f"{folder / name} names shards that are not beside it.", cure="Save the model again with `save_pretrained`.")


def subject_file(spec: SubjectSpec, name: str) -> Path:
    """Return a file's path, fetched to the cache for the Hub; raises FileMissingError."""
    with reading(spec) as folder:
        return _file(spec, folder, name)


def _file(spec: SubjectSpec, folder: Path | None, name: str) -> Path:
    if folder is None:
        return _hub_file(spec, name)
    path = folder / name
    if allowed_files.is_file(path):
        return path
    ggufs = [file for file in allowed_files.names_in(folder) if file.endswith(SUFFIX)]
    raise FileMissingError(
        f"{path} does not exist.",
        why="The subject's folder is not complete.",
        cure=f"Name the file itself: {folder / ggufs[0]}" if ggufs else "Save model and tokenizer with `save_pretrained`.",
    )


def is_at_hand(spec: SubjectSpec) -> bool:
    """Return whether a subject's small files can be read without the network, if at all."""
    if uploads.is_upload(spec.model):
        return uploads.is_here(spec.model)
    if looks_like_path(spec.model):
        return True
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if constants.HF_HUB_OFFLINE or is_gguf(spec.model) or folder_of(spec) is not None:
        return True
    try:
        return all(isinstance(try_to_load_from_cache(spec.model, name, revision=spec.revision), str) for name in REQUIRED_FILES)
    except HFValidationError:
        return True  # no name of the Hub: reading it says so


def fetch_small_files(spec: SubjectSpec) -> None:
    """Fetch configs and tokenizer of a subject of the Hub; raises FileMissingError and SubjectError."""
    check_folder(spec)
    for name in REQUIRED_FILES:
        subject_file(spec, name)
    for name in sorted(OPTIONAL_FILES):
        with suppress(FileMissingError):
            subject_file(spec, name)


def hub_commit(spec: SubjectSpec) -> str:
    """Return the commit of a Hub name and revision."""
    return subject_file(spec, "config.json").parent.name


def read_config(spec: SubjectSpec) -> dict[str, Any]:
    return read_subject_json(spec, "config.json")


def read_subject_json(spec: SubjectSpec, name: str, error: type[InputError] = SubjectError, limits: JsonLimits = MODEL_CONFIG) -> dict[str, Any]:
    """Read one of the subject's JSON files; raises FileMissingError, or `error` for invalid content."""
    with reading(spec) as folder:
        return read_json(_file(spec, folder, name), error, limits)


def read_subject_bytes(spec: SubjectSpec, name: str) -> bytes:
    """Read a file of the subject that was read as JSON before; raises FileMissingError."""
    with reading(spec) as folder, allowed_files.open_file(_file(spec, folder, name)) as handle:
        return handle.read(TOKENIZER.nbytes)


def subject_digest(spec: SubjectSpec) -> str:
    """Return a digest of weights, config and tokenizer, or of a Hub model's commit."""
    if spec.weights == "random":
        trained = spec.model_copy(update={"weights": "trained"})
        return digest_of({"version": IDENTITY_VERSION, "random_weights_of": subject_digest(trained)})
    if is_gguf(spec.model):
        return digest_of({"version": IDENTITY_VERSION, "gguf": gguf_digest(spec.model), "conversion": VERSION})
    if folder_of(spec) is None:
        return digest_of({"version": IDENTITY_VERSION, "hub": spec.model, "commit": hub_commit(spec)})
    with reading(spec) as folder:
        paths = [folder / name for name in allowed_files.names_in(folder)] if folder else []
        deciding = [path for path in paths if path.suffix in SUBJECT_SUFFIXES or path.name in SUBJECT_FILES]
        return digest_of({"version": IDENTITY_VERSION, "files": {path.name: file_digest(path) for path in deciding if allowed_files.is_file(path)}})


def subject_name(spec: SubjectSpec, config: dict[str, Any]) -> str:
    """Return a short name from config, folder or Hub; `-random` marks a re-initialised model."""
    name = "".join(character for character in _trained_name(spec, config) if character.isprintable())[:LONGEST_NAME] or "unnamed"
    return f"{name}-random" if spec.weights == "random" else name


def _trained_name(spec: SubjectSpec, config: dict[str, Any]) -> str:
    parsed = typed(ConfigNames, config, "config.json", SubjectError, "Correct it, or save the model again.")
    given = Path(parsed.given or parsed.path or "").name
    if given:
        return given
    path = uploads.local(spec.model) if uploads.is_upload(spec.model) else Path(spec.model)
    if folder_of(spec) is None:
        return path.name
    return path.resolve().parent.name if path.resolve().name in PLAIN_FOLDERS else path.resolve().name


def _hub_file(spec: SubjectSpec, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    from interp.subject import hub
    from interp.subject.hub_errors import hub_errors

    hub.guard_hub()
    with hub_errors(f"{name} of {spec.model}", SubjectError, no_file="Use a model of transformers with a fast tokenizer."), hub.small_files():
        return Path(hf_hub_download(spec.model, name, revision=spec.revision))
