"""Files of a subject, in a folder or in the Hugging Face Hub's cache."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import Field

from interp.domain.cleaning import one_line
from interp.domain.digests import IDENTITY_VERSION, digest_of
from interp.domain.errors import FileMissingError, InputError, SubjectError
from interp.domain.spec import SubjectSpec
from interp.security import allowed_files
from interp.security.allowed_files import Roots, file_digest
from interp.security.bounded_json import MODEL_CONFIG, MODEL_HEADER, TOKENIZER, JsonLimits, read_json
from interp.security.foreign_config import Foreign, typed

SHOWN = 300  # characters of a Hub's error
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


def is_folder(spec: SubjectSpec) -> bool:
    """Return whether the subject is a local folder; raises FileMissingError for a missing one."""
    if not looks_like_path(spec.model) and not allowed_files.current().permit_path(spec.model):
        return False
    kind = allowed_files.kind_of(spec.model)
    if kind == "folder":
        return True
    if kind == "file" and spec.model.endswith(".gguf"):
        raise _unconverted(spec.model)
    if looks_like_path(spec.model) or kind != "nothing":
        raise FileMissingError(
            f"{spec.model} is no folder.",
            why="A subject is a folder in Hugging Face form (config.json, weights, tokenizer), or a model name of the Hub.",
            cure="Check the path; a relative one counts from where the service was started.",
        )
    return False


def _unconverted(file: str) -> FileMissingError:
    return FileMissingError(
        f"{file} is a GGUF file.",
        why="A job reads config and tokenizer from files beside the weights.",
        cure=f"Convert it once, and name the folder: python -m interp.subject.gguf_file {file} FOLDER",
    )


def looks_like_path(model: str) -> bool:
    """Return whether the text can only be a path, not a Hub name (`organisation/name`)."""
    return model.startswith(("/", ".", "~")) or len(Path(model).parts) not in (1, 2)


def check_folder(spec: SubjectSpec) -> None:
    """Check that no file of a folder refers to another one; libraries open it afterwards.

    Raises PathRefusedError, NotRegularFileError, and SubjectError for shards in another folder or an adapter of another model.
    """
    if not is_folder(spec):
        # The libraries prefer a folder of the working directory to a name of the Hub.
        if os.path.lexists(spec.model):
            raise allowed_files.refused(spec.model)
        from interp.subject import hub

        hub.guard_hub()
        return
    folder = Path(spec.model)
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
    if is_folder(spec):
        path = Path(spec.model) / name
        if allowed_files.is_file(path):
            return path
        if ggufs := [file for file in allowed_files.names_in(spec.model) if file.endswith(".gguf")]:
            raise _unconverted(str(Path(spec.model) / ggufs[0]))
        raise FileMissingError(
            f"{path} does not exist.", why="The subject's folder is not complete.", cure="Save model and tokenizer with `save_pretrained`."
        )
    return _hub_file(spec, name)


def is_at_hand(spec: SubjectSpec) -> bool:
    """Return whether a subject's small files can be read without the network, if at all."""
    if looks_like_path(spec.model):
        return True
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if constants.HF_HUB_OFFLINE or is_folder(spec):
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
    with _reading(spec):
        return read_json(subject_file(spec, name), error, limits)


def read_subject_bytes(spec: SubjectSpec, name: str) -> bytes:
    """Read a file of the subject that was read as JSON before; raises FileMissingError."""
    with _reading(spec), allowed_files.open_file(subject_file(spec, name)) as handle:
        return handle.read(TOKENIZER.nbytes)


@contextmanager
def _reading(spec: SubjectSpec) -> Iterator[None]:
    """Restrict reading to the Hub's cache, for a subject of the Hub."""
    if is_folder(spec):
        yield
        return
    from huggingface_hub import constants

    # Links in the cache point to blobs in it.
    with allowed_files.within(Roots((os.path.realpath(constants.HF_HUB_CACHE),), allowed_files.SYSTEM)):
        yield


def subject_digest(spec: SubjectSpec) -> str:
    """Return a digest of weights, config and tokenizer, or of a Hub model's commit."""
    if spec.weights == "random":
        trained = spec.model_copy(update={"weights": "trained"})
        return digest_of({"version": IDENTITY_VERSION, "random_weights_of": subject_digest(trained)})
    if not is_folder(spec):
        return digest_of({"version": IDENTITY_VERSION, "hub": spec.model, "commit": hub_commit(spec)})
    paths = [Path(spec.model) / name for name in allowed_files.names_in(spec.model)]
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
    path = Path(spec.model)
    if is_folder(spec) and path.resolve().name in PLAIN_FOLDERS:
        return path.resolve().parent.name
    return path.resolve().name if is_folder(spec) else path.name


def _hub_file(spec: SubjectSpec, name: str) -> Path:
    import httpx2
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    from interp.subject import hub

    hub.guard_hub()
    try:
        with hub.small_files():
            return Path(hf_hub_download(spec.model, name, revision=spec.revision))
    except HFValidationError as cause:
        raise FileMissingError(f"{spec.model} is neither a folder nor a model name of the Hub.", why=str(cause), cure="Check the path.") from cause
    except LocalEntryNotFoundError as cause:
        raise FileMissingError(
            f"{name} of {spec.model} is not on this machine.",
            why="There is no such folder, and the Hub does not answer or is switched off.",
            cure=f"Give a folder, or fetch it where the Hub answers: `hf download {spec.model}`.",
        ) from cause
    except EntryNotFoundError as cause:
        raise FileMissingError(f"{spec.model} has no {name} on the Hub.", cure="Use a model of transformers with a fast tokenizer.") from cause
    except (HfHubHTTPError, httpx2.HTTPError) as cause:
        raise SubjectError(
            f"The Hub does not give {name} of {spec.model}.", why=one_line(str(cause), SHOWN), cure="Check name, revision and access token."
        ) from cause
