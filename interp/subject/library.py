"""The BOS that transformers gives to a subject's tokenizer. Loads torch: for gpu workers alone."""

import logging
from functools import lru_cache
from pathlib import Path

from interp.domain.errors import FileMissingError, SubjectError
from interp.domain.spec import SubjectSpec
from interp.observability.import_time import without_collecting
from interp.security import allowed_files
from interp.subject.location import check_folder, is_folder, read_subject_json
from interp.subject.tokenizer_file import panics_as_errors

LOG = logging.getLogger(__name__)

# Settings of tokenizer_config.json that the library opens as paths.
OPENED_FILES = frozenset({"tokenizer_file", "vocab_file", "merges_file", "spm_file", "source_spm", "target_spm", "target_vocab_file", "emoji_file"})

Stamps = tuple[tuple[str, int, int], ...]


def library_bos(spec: SubjectSpec) -> tuple[str | None] | None:
    """Return AutoTokenizer's BOS (None: it has none) in a tuple; None where AutoTokenizer cannot open the files."""
    check_folder(spec)
    return None if _names_files(spec) else _bos(spec.model, spec.revision, _stamps(spec))


@lru_cache(maxsize=64)
def _bos(model: str, revision: str | None, stamps: Stamps) -> tuple[str | None] | None:  # noqa: ARG001
    with without_collecting():
        from transformers import AutoTokenizer

    try:
        with without_collecting(), panics_as_errors():  # imports most of what transformers needs to run a model, too
            tokenizer = AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=False)
            bos = tokenizer.bos_token
    except Exception as cause:
        if not _is_about_the_files(cause):
            raise
        LOG.warning("AutoTokenizer cannot open %s: %s", model, cause)
        return None
    return (None if bos is None else str(bos),)


def _is_about_the_files(error: Exception) -> bool:
    """Return whether the library could not use the files; other errors (no memory, a defect) say nothing about the BOS.

    It raises OSError for files that are missing and configs that are no JSON, ValueError for what it cannot convert, ImportError where a converter is
    not installed, errors of its own look-ups for JSON of another form, and bare Exceptions in its parser in Rust.
    """
    return type(error) is Exception or isinstance(error, OSError | ValueError | ImportError | LookupError | TypeError | AttributeError)


def _stamps(spec: SubjectSpec) -> Stamps:
    """Return names, sizes and times of a folder's JSON files, so that a changed one is read again."""
    if not is_folder(spec):
        return ()
    folder = Path(spec.model)
    found = ((name, allowed_files.current().status(folder / name)) for name in allowed_files.names_in(folder) if name.endswith(".json"))
    return tuple((name, status.st_size, status.st_mtime_ns) for name, status in found)


def _names_files(spec: SubjectSpec) -> bool:
    """Return whether tokenizer_config.json names other files, which AutoTokenizer would open wherever they are.

    One that is no JSON object may name any.
    """
    try:
        settings = read_subject_json(spec, "tokenizer_config.json")
    except FileMissingError:
        return False
    except SubjectError:
        return True
    return any(name in OPENED_FILES and value is not None for name, value in settings.items())
