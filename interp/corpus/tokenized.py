"""A corpus as token ids: one array on disk, with documents' offsets and splits."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from interp.corpus.documents import CorpusIndex, check_splits, index, split_of
from interp.domain.digests import digest_of
from interp.domain.errors import ArtifactMissingError, TokenizerMismatchError
from interp.domain.evidence import Split
from interp.domain.spec import CorpusSpec
from interp.files.artifact_store import CORPORA, Store
from interp.files.atomic import writing
from interp.subject.base import Subject

FORMAT = 1
DOCUMENTS_AT_ONCE = 256
Progress = Callable[[int], None]


class ChatEncoder(Protocol):
    """A chat template with its tokenizer: `interp.subject.text.chat.Chat`, which loads transformers."""

    @property
    def template(self) -> str: ...

    def encode(self, messages: Any, /) -> NDArray[np.uint32]:
        """Return the ids of messages."""
        ...


@dataclass(frozen=True)
class TokenizedCorpus:
    """Documents of content tokens, without BOS, in the order of document ids.

    tokens     uint32 `[N]`         all documents, one after the other; a read-only memory map
    offsets    int64  `[docs + 1]`  document d is tokens[offsets[d]:offsets[d + 1]], never empty
    documents  uint64 `[docs]`      ids, ascending
    splits     uint8  `[docs]`      `Split`
    path       the local folder that it is mapped from
    """

    digest: str
    path: Path
    tokens: NDArray[np.uint32]
    offsets: NDArray[np.int64]
    documents: NDArray[np.uint64]
    splits: NDArray[np.uint8]
    duplicates: int
    skipped: int

    def __len__(self) -> int:
        return len(self.documents)

    def shards(self, shard_tokens: int) -> list[tuple[int, int]]:
        """Return adjoining half-open ranges of documents, of at most `shard_tokens` tokens or one document."""
        cuts = [0]
        while cuts[-1] < len(self):
            limit = self.offsets[cuts[-1]] + shard_tokens
            last = int(np.searchsorted(self.offsets, limit, side="right")) - 1
            cuts.append(max(last, cuts[-1] + 1))
        return list(pairwise(cuts))

    def largest(self) -> dict[Split, tuple[int, float]]:
        """Return each split's largest document, and its share of the split's tokens."""
        lengths = np.diff(self.offsets)
        found = {}
        for split in Split:
            own = np.flatnonzero(self.splits == split)
            if len(own):
                place = own[lengths[own].argmax()]
                found[split] = int(self.documents[place]), float(lengths[place] / lengths[own].sum())
        return found

    def save(self, folder: Path) -> None:
        """Write the corpus into a folder; raises DiskFullError."""
        with writing(folder / "tokens.u32") as file:
            file.write(np.ascontiguousarray(self.tokens).data)
        with writing(folder / "documents.npz") as file:
            np.savez(file, offsets=self.offsets, documents=self.documents, splits=self.splits)
        facts = {"format": FORMAT, "digest": self.digest, "duplicates": self.duplicates, "skipped": self.skipped}
        with writing(folder / "corpus.json") as file:
            file.write(json.dumps(facts).encode())

    @classmethod
    def open(cls, folder: Path) -> "TokenizedCorpus":
        """Map what `save` wrote."""
        facts = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        with np.load(folder / "documents.npz") as columns:
            offsets, documents, splits = columns["offsets"], columns["documents"], columns["splits"]
        tokens = np.memmap(folder / "tokens.u32", dtype=np.uint32, mode="r")
        return cls(facts["digest"], folder, tokens, offsets, documents, splits, facts["duplicates"], facts["skipped"])


def open_corpus(store: Store, digest: str) -> TokenizedCorpus:
    """Open a tokenised corpus of the store from local disk; raises ArtifactMissingError and DiskFullError."""
    folder = store.folder(f"{CORPORA}/{digest}")
    if folder is None:
        raise ArtifactMissingError(
            f"The tokenised corpus {digest} is not in the artifact store {store.root}.",
            why="It was cleared away, or this worker's GLOSSATOR_ARTIFACTS_URL is not that of the worker that made it.",
            cure="Give all workers the same artifact store, and submit the job again.",
        )
    return TokenizedCorpus.open(folder)


def tokenize_corpus(
    spec: CorpusSpec, subject: Subject, store: Store, progress: Progress, found: CorpusIndex | None = None, chat: ChatEncoder | None = None
) -> TokenizedCorpus:
    """Tokenise a corpus into the store, unless the store has its digest.

    The last document is cut where `max_tokens` is reached. `progress` gets the number of finished tokens; `found` saves hashing the texts again;
    `chat` renders messages.
    Raises CorpusTooSmallError, CorpusChangedError, DiskFullError, the errors of `index`, and TokenizerMismatchError for an id beyond the
    subject's vocabulary.
    """
    found = found or index(spec)
    digest = tokens_digest(found, subject, chat)
    name = f"{CORPORA}/{digest}"
    if kept := store.folder(name):
        return TokenizedCorpus.open(kept)
    encoded = list(_encoded(found, subject, progress, chat))
    ids, rows = [document for document, _ in encoded], [row for _, row in encoded]
    found.check_unchanged()
    splits = [split_of(document, found.spec.test_share) for document in ids]
    check_splits(splits, found.spec)
    made = TokenizedCorpus(
        digest=digest,
        path=Path(),
        tokens=np.concatenate(rows),
        offsets=np.cumsum([0, *map(len, rows)], dtype=np.int64),
        documents=np.array(ids, dtype=np.uint64),
        splits=np.array(splits, dtype=np.uint8),
        duplicates=found.duplicates,
        skipped=found.skipped,
    )
    return TokenizedCorpus.open(store.put_folder(name, made.save))


def tokens_digest(found: CorpusIndex, subject: Subject, chat: ChatEncoder | None = None) -> str:
    """Return the digest of texts, settings, and the subject with its tokenizer."""
    settings: dict[str, Any] = {"max_tokens": found.spec.max_tokens, "test_share": found.spec.test_share}
    if chat is not None:
        settings["chat"] = chat.template
    if found.spec.shuffled:
        settings["shuffled"] = True
    return digest_of({"format": FORMAT, "texts": found.digest, "subject": subject.digest, **settings})


def _encoded(found: CorpusIndex, subject: Subject, progress: Progress, chat: ChatEncoder | None) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """Yield (document id, tokens) until the corpus or `max_tokens` ends."""
    left = found.spec.max_tokens or np.iinfo(np.int64).max
    limit, size = left, len(subject.vocabulary)
    texts = found.documents()
    while left > 0 and (group := list(islice(texts, DOCUMENTS_AT_ONCE))):
        texts_of_group = [item.text for item in group]
        rows = subject.encode_texts(texts_of_group) if chat is None else [chat.encode(json.loads(text)) for text in texts_of_group]
        for document, row in zip(group, rows, strict=True):
            if len(row) == 0 or left <= 0:
                continue
            if row.max() >= size:
                raise TokenizerMismatchError(
                    f"Token {row.max()} in {document.name} is beyond the subject's vocabulary of {size}.",
                    why="The tokenizer has tokens that the subject does not embed.",
                    cure="Put the tokenizer that the subject was trained with into its folder.",
                )
            # By the document alone, so that a corpus of more documents has the same order in each.
            yield document.id, (np.random.default_rng(document.id).permutation(row) if found.spec.shuffled else row)[:left]
            left -= len(row[:left])
        progress(int(limit - left))
