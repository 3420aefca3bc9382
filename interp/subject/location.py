"""Where a subject's files are: a folder, or the Hugging Face Hub by way of its cache."""

import os
from pathlib import Path
from typing import Any

from interp.errors import FileMissing, SubjectError
from interp.spec import SubjectSpec
from interp.subject.shape import read_json

# Folder names that say nothing about the model in them: then the folder above names it.
PLAIN_FOLDERS = frozenset({"subject", "model", "checkpoint", "final"})


def is_folder(spec: SubjectSpec) -> bool:
    """Whether the subject is a folder of this machine. Raises FileMissing when it can only be one, and is none."""
    path = Path(spec.model)
    if os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir, it takes names that no folder can have
        return True
    looks_like_path = path.is_absolute() or spec.model.startswith((".", "~")) or (len(path.parts) != 2 and len(path.parts) != 1)
    if looks_like_path or os.path.exists(path):  # noqa: PTH110
        raise FileMissing(
            f"{spec.model} is no folder.",
            why="A subject is a folder in Hugging Face form (config.json, weights, tokenizer), or a model name of the Hub.",
            cure="Check the path; a relative one counts from where the service was started.",
        )
    return False


def subject_file(spec: SubjectSpec, name: str) -> Path:
    """The path of one file of the subject; a Hub file is fetched to the cache when it is not there. Raises FileMissing."""
    if is_folder(spec):
        path = Path(spec.model) / name
        if path.is_file():
            return path
        raise FileMissing(
            f"{path} does not exist.", why="The subject's folder is not complete.", cure="Save model and tokenizer with `save_pretrained`."
        )
    return _hub_file(spec, name)


def hub_commit(spec: SubjectSpec) -> str:
    """The commit that a Hub name and revision stand for."""
    return subject_file(spec, "config.json").parent.name


def read_config(spec: SubjectSpec) -> dict[str, Any]:
    """The content of config.json."""
    return read_json(subject_file(spec, "config.json"))


def subject_name(spec: SubjectSpec, config: dict[str, Any]) -> str:
    """A short name: what the config calls the model, else the folder's or the Hub's name. `-random` tells a re-initialised one apart."""
    name = _trained_name(spec, config)
    return f"{name}-random" if spec.weights == "random" else name


def _trained_name(spec: SubjectSpec, config: dict[str, Any]) -> str:
    given = config.get("glossator_name") or config.get("_name_or_path")
    if given:
        return Path(str(given)).name
    path = Path(spec.model)
    if is_folder(spec) and path.resolve().name in PLAIN_FOLDERS:
        return path.resolve().parent.name
    return path.resolve().name if is_folder(spec) else path.name


def _hub_file(spec: SubjectSpec, name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(spec.model, name, revision=spec.revision))
    except HFValidationError as cause:
        raise FileMissing(f"{spec.model} is neither a folder nor a model name of the Hub.", why=str(cause), cure="Check the path.") from cause
    except LocalEntryNotFoundError as cause:
        raise FileMissing(
            f"{name} of {spec.model} is not on this machine.",
            why="There is no such folder, and the Hub does not answer or is switched off.",
            cure=f"Give a folder, or fetch it where the Hub answers: `hf download {spec.model}`.",
        ) from cause
    except EntryNotFoundError as cause:
        raise FileMissing(f"{spec.model} has no {name} on the Hub.", cure="Use a model of transformers with a fast tokenizer.") from cause
    except HfHubHTTPError as cause:
        raise SubjectError(
            f"The Hub does not give {name} of {spec.model}.", why=str(cause).splitlines()[0], cure="Check name, revision and access token."
        ) from cause
