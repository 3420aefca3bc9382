"""Identities of evidence, from files: jobs with equal evidence ids may share evidence."""

from typing import Any

from interp.corpus.documents import CorpusIndex, index
from interp.dictionary.formats import dictionary_digest, header_of
from interp.domain.digests import IDENTITY_VERSION, digest_of
from interp.domain.spec import JobSpec
from interp.subject import hooks
from interp.subject.location import read_config, subject_digest
from interp.subject.served import backend_for
from interp.subject.shape import ModelShape
from interp.subject.text.chat_template import read_template
from interp.subject.text.tokenizer import bos_of
from interp.subject.text.tokenizer_file import TokenizerFile

# Version of collection. 2: firing levels, left context. 3: one near miss per document.
COLLECTION_VERSION = 3
# Version of the search for a hook point's tensor in a model. 2: by the identities of the residual stream.
HOOKS = 2


def models_identity(spec: JobSpec) -> dict[str, Any]:
    """Return the models' part of an evidence's identity: subject and dictionary, at a hook point."""
    config, dictionary = read_config(spec.subject), header_of(spec.dictionary)
    # Backends differ in the last bits: `auto` has the identity of the backend that it takes.
    backend = backend_for(spec.subject, config, dictionary.hook_point)
    subject = {"digest": subject_digest(spec.subject), "dtype": spec.subject.dtype, "backend": backend, "hooks": HOOKS}
    return {
        "subject": subject | ({"load_in": spec.subject.load_in} if spec.subject.load_in else {}),
        "dictionary": dictionary_digest(spec.dictionary),
        "hook_point": hooks.JOIN.join(point.name for point in hooks.parse_all(dictionary.hook_point, ModelShape.from_config(config))),
    }


def models_key(identity: dict[str, Any]) -> str:
    """Return the key of a worker's models, by the identity of evidence or of models."""
    return digest_of({name: identity[name] for name in ("subject", "dictionary", "hook_point")})


def evidence_identity(spec: JobSpec, corpus: str | None, *, library: bool = False, tokenizer: TokenizerFile | None = None) -> dict[str, Any]:
    """Return the identity of a job's evidence; `corpus` is its texts' digest, if known.

    The BOS is AutoTokenizer's with `library`, else that of the files. Features, explainers, scorers, device, batch size and shard size are not part
    of the identity. `tokenizer` saves reading tokenizer.json again.
    """
    positions = header_of(spec.dictionary).positions
    return models_identity(spec) | {
        "version": IDENTITY_VERSION,
        "collection_version": COLLECTION_VERSION,
        "bos": bos_of(spec.subject, library=library, file=tokenizer) if positions.prepend_bos else None,
        "positions": positions.identity(),
        "corpus": {"digest": corpus, "max_tokens": spec.corpus.max_tokens, "test_share": spec.corpus.test_share}
        | ({"chat": read_template(spec.subject)[0]} if spec.corpus.chat else {})
        | ({"shuffled": True} if spec.corpus.shuffled else {}),
        "collection": spec.collection.identity(),
        "seed": spec.seed,
    }


def evidence_id(spec: JobSpec, corpus: CorpusIndex | None = None, *, library: bool = False) -> tuple[str, dict[str, Any]]:
    """Return the digest and identity of a job's evidence; `corpus` saves reading the texts."""
    identity = evidence_identity(spec, (corpus or index(spec.corpus)).digest, library=library)
    return digest_of(identity), identity
