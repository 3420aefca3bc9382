"""What decides a result, as digests: two jobs with the same evidence id may share evidence. Reads files, never a model."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from interp import files
from interp.dictionary.formats import header_of
from interp.spec import CorpusSpec, DictionarySpec, JobSpec, SubjectSpec
from interp.subject import hooks
from interp.subject.corpus import CorpusIndex, index
from interp.subject.location import hub_commit, is_folder, read_config
from interp.subject.shape import ModelShape
from interp.subject.tokenizer import bos_of
from interp.subject.tokenizer_file import TokenizerFile

VERSION = 2
# Of what collection makes of subject, dictionary and text. 2: firing levels, left context. 3: one near miss per document.
COLLECTION_VERSION = 3
# Of how a hook point's tensor is found in a model: since 2 by the identities of the residual stream.
HOOKS = 2
# The files of a subject's folder that decide what it computes.
SUBJECT_SUFFIXES = frozenset({".safetensors", ".bin", ".model"})
SUBJECT_FILES = frozenset({"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"})


def digest_of(content: Any) -> str:
    """sha256 of the canonical JSON of `content`: keys sorted, no spaces."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's content; kept in this process for as long as size and time of change stay."""
    status = files.current().status(path)
    return _file_digest(Path(files.current().resolve(path)), status.st_size, status.st_mtime_ns)


def subject_digest(spec: SubjectSpec) -> str:
    """The content of a folder's weights, config and tokenizer; for a Hub model its name and commit. dtype and device do not count."""
    if spec.weights == "random":
        trained = spec.model_copy(update={"weights": "trained"})
        return digest_of({"version": VERSION, "random_weights_of": subject_digest(trained)})
    if not is_folder(spec):
        return digest_of({"version": VERSION, "hub": spec.model, "commit": hub_commit(spec)})
    paths = [Path(spec.model) / name for name in files.names_in(spec.model)]
    deciding = [path for path in paths if path.suffix in SUBJECT_SUFFIXES or path.name in SUBJECT_FILES]
    return digest_of({"version": VERSION, "files": {path.name: file_digest(path) for path in deciding if files.is_file(path)}})


def dictionary_digest(spec: DictionarySpec) -> str:
    """The content of the weight files, and how they are read."""
    header = header_of(spec)
    digests = {path.name: file_digest(path) for path in header.files}
    facts = {"format": header.format, "hook_point": header.hook_point, "features": header.features, "width": header.width}
    return digest_of({"version": VERSION, "files": digests, **facts})


def corpus_digest(spec: CorpusSpec) -> str:
    """The distinct texts, whatever their files are called."""
    return index(spec).digest


def models_identity(spec: JobSpec) -> dict[str, Any]:
    """What of an evidence's identity is the models': subject and dictionary, at a hook point."""
    shape = ModelShape.from_config(read_config(spec.subject))
    return {
        "subject": {"digest": subject_digest(spec.subject), "dtype": spec.subject.dtype, "backend": spec.subject.backend, "hooks": HOOKS},
        "dictionary": dictionary_digest(spec.dictionary),
        "hook_point": hooks.parse(header_of(spec.dictionary).hook_point, shape).name,
    }


def models_key(identity: dict[str, Any]) -> str:
    """The name of what a worker must have open to collect evidence of this identity, or of these models' identity alone."""
    return digest_of({name: identity[name] for name in ("subject", "dictionary", "hook_point")})


def evidence_identity(spec: JobSpec, corpus: str | None, *, library: bool = False, tokenizer: TokenizerFile | None = None) -> dict[str, Any]:
    """All that makes the evidence that a job needs. `corpus` is the digest of its texts; None where nobody has read them yet.

    The BOS is the one that AutoTokenizer gives with `library`, else the one that the files tell without torch. Which features are asked for,
    explainers and scorers are no part of it, nor device, batch and shard size. `tokenizer` saves reading tokenizer.json again.
    """
    positions = header_of(spec.dictionary).positions
    return models_identity(spec) | {
        "version": VERSION,
        "collection_version": COLLECTION_VERSION,
        "bos": bos_of(spec.subject, library=library, file=tokenizer) if positions.prepend_bos else None,
        "positions": positions.identity(),
        "corpus": {"digest": corpus, "max_tokens": spec.corpus.max_tokens, "test_share": spec.corpus.test_share},
        "collection": spec.collection.identity(),
        "seed": spec.seed,
    }


def evidence_id(spec: JobSpec, corpus: CorpusIndex | None = None, *, library: bool = False) -> tuple[str, dict[str, Any]]:
    """The address of the evidence that a job needs, and all that made it. `corpus` saves reading the texts again."""
    identity = evidence_identity(spec, (corpus or index(spec.corpus)).digest, library=library)
    return digest_of(identity), identity


@lru_cache(maxsize=4096)
def _file_digest(path: Path, size: int, changed_ns: int) -> str:  # noqa: ARG001
    with files.open_file(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
