"""Embed labels for the search by meaning."""

from collections.abc import Iterator, Sequence

from interp.search import embedder
from interp.store.db.engine import Engine, snapshot, transaction
from interp.store.results import label_texts

PORTION = 256


def embed_texts(engine: Engine, texts: Sequence[str]) -> int:
    """Write vectors of those labels that have none; return how many.

    Nothing is done where no embedder is installed. Each portion is a transaction of its own: what is interrupted goes on.
    """
    if not texts or not embedder.is_installed():
        return 0
    name = embedder.identity().name
    with snapshot(engine) as session:
        missing = label_texts.without_vector(session, name, texts)
    for start in range(0, len(missing), PORTION):
        some = missing[start : start + PORTION]
        vectors = embedder.embed(some)
        with transaction(engine) as session:
            ids = label_texts.save(session, some)
            label_texts.save_vectors(session, name, {ids[text]: vector for text, vector in zip(some, vectors, strict=True)})
    return len(missing)


def embed_listed(engine: Engine) -> Iterator[tuple[int, int]]:
    """Write vectors of listed labels that have none, and yield (done, of all).

    Raises EmbedderMissingError.
    """
    name = embedder.identity().name
    with snapshot(engine) as session:
        total = label_texts.count_without_vector(session, name)
    done = last = 0
    while True:
        with snapshot(engine) as session:
            some = label_texts.listed_without_vector(session, name, last, PORTION)
        if not some:
            return
        texts = {label_id: text for label_id, text in some if text is not None}
        vectors = embedder.embed(list(texts.values()))
        with transaction(engine) as session:
            label_texts.save_vectors(session, name, dict(zip(texts, vectors, strict=True)))
        done, last = done + len(some), some[-1][0]
        yield done, max(total, done)
