"""The BOS of transformers' tokenizer; it loads torch, so only gpu workers import it."""

import logging
from functools import lru_cache

from interp.domain.errors import FileMissingError, SubjectError
from interp.domain.spec import SubjectSpec
from interp.observability.import_time import without_collecting
from interp.security import allowed_files
from interp.subject.location import check_folder, read_subject_json, reading, source_of
from interp.subject.text.tokenizer_file import panics_as_errors

LOG = logging.getLogger(__name__)

# Settings of tokenizer_config.json that the library opens as paths.
OPENED_FILES = frozenset({"tokenizer_file", "vocab_file", "merges_file", "spm_file", "source_spm", "target_spm", "target_vocab_file", "emoji_file"})

Stamps = tuple[tuple[str, int, int], ...]


def library_bos(spec: SubjectSpec) -> tuple[str | None] | None:
    """Return AutoTokenizer's BOS (or None) in a tuple; None for files that it cannot open."""
    check_folder(spec)
    return None if _names_files(spec) else _bos(source_of(spec), spec.revision, _stamps(spec))


@lru_cache(maxsize=64)
def _bos(model: str, revision: str | None, stamps: Stamps) -> tuple[str | None] | None:  # noqa: ARG001
    with without_collecting():
        from transformers import AutoTokenizer

    try:
        with without_collecting(), panics_as_errors():  # imports most of transformers
            tokenizer = AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=False)
            bos = tokenizer.bos_token
    except Exception as cause:
        if not _is_about_the_files(cause):
            raise
        LOG.warning("AutoTokenizer cannot open %s: %s", model, cause)
        return None
    return (None if bos is None else str(bos),)


def _is_about_the_files(error: Exception) -> bool:
    """Return whether the error is about the files, and not a defect or missing memory.

    The library raises OSError for missing files and configs that are not JSON, ValueError for files that it cannot convert, ImportError without a
    converter, errors of its own look-ups for JSON of another form, and bare Exceptions in its parser in Rust.
    """
    return type(error) is Exception or isinstance(error, OSError | ValueError | ImportError | LookupError | TypeError | AttributeError)


def _stamps(spec: SubjectSpec) -> Stamps:
    """Return names, sizes and times of a folder's JSON files, to detect changes."""
    with reading(spec) as folder:
        names = [] if folder is None else [folder / name for name in allowed_files.names_in(folder) if name.endswith(".json")]
        found = ((path.name, allowed_files.current().status(path)) for path in names)
        return tuple((name, status.st_size, status.st_mtime_ns) for name, status in found)


def _names_files(spec: SubjectSpec) -> bool:
    """Return whether tokenizer_config.json names other files, or is not a JSON object."""
    try:
        settings = read_subject_json(spec, "tokenizer_config.json")
    except FileMissingError:
        return False
    except SubjectError:
        return True
    return any(name in OPENED_FILES and value is not None for name, value in settings.items())
