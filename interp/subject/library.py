"""What transformers itself says of a subject's tokenizer. Loads torch: for gpu workers alone."""

import logging
from functools import lru_cache
from pathlib import Path

from interp.spec import SubjectSpec
from interp.subject.location import is_folder

LOG = logging.getLogger(__name__)

Stamps = tuple[tuple[str, int, int], ...]


def library_bos(spec: SubjectSpec) -> tuple[str | None] | None:
    """The BOS text that AutoTokenizer gives (None: it has none), in a tuple; None where AutoTokenizer cannot open the files."""
    return _bos(spec.model, spec.revision, _stamps(spec))


@lru_cache(maxsize=64)
def _bos(model: str, revision: str | None, stamps: Stamps) -> tuple[str | None] | None:  # noqa: ARG001
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=False)
        bos = tokenizer.bos_token
    except Exception as cause:  # any of the library's errors: the files alone must do then
        LOG.warning("AutoTokenizer cannot open %s: %s", model, cause)
        return None
    return (None if bos is None else str(bos),)


def _stamps(spec: SubjectSpec) -> Stamps:
    """Names, sizes and times of a folder's JSON files, so that a changed one is read again."""
    if not is_folder(spec):
        return ()
    found = ((path.name, path.stat()) for path in sorted(Path(spec.model).glob("*.json")) if path.is_file())
    return tuple((name, status.st_size, status.st_mtime_ns) for name, status in found)
