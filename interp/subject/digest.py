"""Digest a subject: its weights, config and tokenizer."""

from pathlib import Path

from interp.domain.digests import IDENTITY_VERSION, digest_of
from interp.domain.spec import SubjectSpec
from interp.security import allowed_files
from interp.security.allowed_files import file_digest
from interp.subject.location import hub_commit, is_folder

# The files of a subject's folder that decide what it computes.


# The files of a subject's folder that decide what it computes.
SUBJECT_SUFFIXES = frozenset({".safetensors", ".bin", ".model"})


SUBJECT_FILES = frozenset({"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"})


def subject_digest(spec: SubjectSpec) -> str:
    """The content of a folder's weights, config and tokenizer; for a Hub model its name and commit. dtype and device do not count."""
    if spec.weights == "random":
        trained = spec.model_copy(update={"weights": "trained"})
        return digest_of({"version": IDENTITY_VERSION, "random_weights_of": subject_digest(trained)})
    if not is_folder(spec):
        return digest_of({"version": IDENTITY_VERSION, "hub": spec.model, "commit": hub_commit(spec)})
    paths = [Path(spec.model) / name for name in allowed_files.names_in(spec.model)]
    deciding = [path for path in paths if path.suffix in SUBJECT_SUFFIXES or path.name in SUBJECT_FILES]
    return digest_of({"version": IDENTITY_VERSION, "files": {path.name: file_digest(path) for path in deciding if allowed_files.is_file(path)}})
