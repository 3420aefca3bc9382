"""Read files as blocks of bytes, several as a tar made on the way."""

import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

BLOCK_BYTES = 1 << 20


def blocks_of(path: Path, progress: Callable[[int], object] = lambda _sent: None) -> Iterator[bytes]:
    """Yield a file's content; `progress` gets the bytes so far."""
    sent = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block
            sent += len(block)
            progress(sent)


def parts_of(blocks: Iterator[bytes], nbytes: int) -> Iterator[bytes]:
    """Yield the blocks as parts of so many bytes; the last one has the rest."""
    held, size = [], 0
    for block in blocks:
        held.append(block)
        size += len(block)
        while size >= nbytes:
            whole = b"".join(held)
            yield whole[:nbytes]
            held, size = [whole[nbytes:]], size - nbytes
    if size:
        yield b"".join(held)


def packed(folder: Path, names: Sequence[str], progress: Callable[[int], object] = lambda _sent: None) -> Iterator[bytes]:
    """Yield a tar of some files of a folder, by relative paths.

    It has no owners, times and rights. `progress` gets the bytes of content so far. Raises OSError, also for a file that changes while it is read.
    """
    sent = 0
    for name in names:
        path = folder / name
        entry = tarfile.TarInfo(name)
        entry.size = path.stat().st_size
        yield entry.tobuf(tarfile.PAX_FORMAT)
        size = 0
        for block in blocks_of(path):
            size += len(block)
            if size <= entry.size:
                yield block
                progress(sent + size)
        if size != entry.size:
            raise OSError(f"{path} changed while it was read")
        yield b"\0" * (-size % tarfile.BLOCKSIZE)
        sent += size
    yield b"\0" * (2 * tarfile.BLOCKSIZE)
