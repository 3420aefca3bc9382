"""Make an export: read portions, write them in a format, and add the manifest."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from interp.domain.errors import InputError
from interp.domain.record import FeatureRecord, RunSource
from interp.exchange.formats.base import ExportFormat, FormatOptions, Piece
from interp.exchange.manifest import MANIFEST, Counts, manifest
from interp.exchange.read import portions
from interp.exchange.sinks import Archive, Folder, OneFile, PieceWriter, Sink
from interp.files.atomic import new_file, new_folder, sync, writing
from interp.store.db.engine import Engine
from interp.store.listings.records import RecordQuery

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What to export, and in which format.

    `asked` is the user's own request, for the manifest.
    """

    source: RunSource
    query: RecordQuery
    format: ExportFormat
    among: tuple[int, ...] | None = None
    options: FormatOptions = field(default_factory=FormatOptions)
    asked: dict[str, Any] = field(default_factory=dict)


def to_file(plan: ExportPlan, engine: Engine, target: Path, progress: Progress) -> dict[str, Any]:
    """Write an export of one file atomically, and its manifest beside it."""
    with new_file(target) as draft:
        with writing(draft) as file:
            made = _write(plan, engine, OneFile(file), progress)
        sync(draft)
        draft.replace(target)
    write_manifest(target, made)
    return made


def write_manifest(target: Path, made: dict[str, Any]) -> None:
    """Write the manifest beside an export of one file."""
    path = target.with_name(f"{target.name}.{MANIFEST}")
    with new_file(path) as draft:
        with writing(draft) as out:
            out.write(_json(made | {"files": [file | {"name": target.name} for file in made["files"]]}))
        draft.replace(path)


def to_folder(plan: ExportPlan, engine: Engine, target: Path, progress: Progress) -> dict[str, Any]:
    """Write an export of many files atomically; raises InputError for an existing folder."""
    if target.exists():
        raise InputError(f"{target} is there already.", cure="Name a folder that does not exist, or remove that one.")
    with new_folder(target) as draft, Folder(draft) as sink:
        return _write(plan, engine, sink, progress)


def to_stream(plan: ExportPlan, engine: Engine, file: IO[bytes], progress: Progress) -> dict[str, Any]:
    """Write an export to an open file, a folder as a ZIP archive."""
    opened: AbstractContextManager[Sink] = Archive(file) if plan.format.facts.is_folder else nullcontext(OneFile(file))
    with opened as sink:
        return _write(plan, engine, sink, progress)


def _write(plan: ExportPlan, engine: Engine, sink: Sink, progress: Progress) -> dict[str, Any]:
    counts, writer = Counts(), PieceWriter(sink)
    read = counts.counted(_told(portions(engine, plan.query, plan.among), progress))
    if not plan.format.facts.is_folder:
        # Also without a feature there is a file.
        writer.write(Piece(b""))
    for piece in plan.format.write(plan.source, read, plan.query.parts, plan.options):
        writer.write(piece)
    writer.finish()
    made = manifest(plan.source, plan.format.facts, plan.asked, counts, writer.files)
    if plan.format.facts.is_folder:
        writer.write(Piece(_json(made), MANIFEST))
        writer.finish()
    return made


def _told(read: Iterator[Sequence[FeatureRecord]], progress: Progress) -> Iterator[Sequence[FeatureRecord]]:
    """Yield portions, and tell how many features were done after each."""
    done = 0
    for portion in read:
        yield portion
        done += len(portion)
        progress(done)


def _json(made: dict[str, Any]) -> bytes:
    return (json.dumps(made, indent=2, ensure_ascii=False) + "\n").encode()
