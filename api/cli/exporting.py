"""Fetch an export that a server makes."""

import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.domain.cleaning import one_line
from interp.domain.errors import GlossatorError, InputError
from interp.files.atomic import disk_full, new_folder, sync, writing

if TYPE_CHECKING:
    from glossator import Client

Progress = Callable[[int, int | None], None]
POLL_SECONDS, SLOWEST_POLL_SECONDS = 0.2, 2.0
# What a server's archive may become on this disk.
MOST_FILES, MOST_BYTES = 5_000_000, 1 << 42


def fetch(client: "Client", request: dict[str, Any], output: Path, progress: Progress, is_folder: bool) -> dict[str, Any]:
    """Have the server make an export and write it to `output`; return its manifest.

    The download is kept beside it until it is whole, and the same command resumes it.
    """
    if is_folder and output.exists():
        raise InputError(f"{output} is there already.", cure="Name a folder that does not exist, or remove that one.")
    made = _followed(client, client.submit_export(request)["id"], progress)
    part = output.with_name(f".{output.name}.{made['sha256'][:16]}.part")
    output.parent.mkdir(parents=True, exist_ok=True)
    with disk_full(part):
        client.get_export_content(made["id"], part)
        sync(part)
    if is_folder:
        _unpack(part, output)
        part.unlink()
    else:
        part.replace(output)
        # Imported here: a client of a server needs no SQLAlchemy until then.
        from interp.exchange.export import write_manifest

        write_manifest(output, made["manifest"])
    client.delete_export(made["id"])
    found: dict[str, Any] = made["manifest"]
    return found


def _followed(client: "Client", export_id: str, progress: Progress) -> dict[str, Any]:
    """Return the export once it is complete; raises GlossatorError for one that failed."""
    pause = POLL_SECONDS
    while True:
        made: dict[str, Any] = client.get_export(export_id)
        progress(made["features_done"], made["features_total"])
        if made["status"] == "completed":
            return made
        if made["status"] == "failed":
            error = made["error"] or {}
            raise GlossatorError(
                one_line(str(error.get("detail") or "The export failed.")),
                why=one_line(str(error.get("why") or "")),
                cure=one_line(str(error.get("cure") or "")),
            )
        time.sleep(pause)
        pause = min(pause * 1.5, SLOWEST_POLL_SECONDS)


def _unpack(archive: Path, target: Path) -> None:
    """Unpack an archive atomically; raises InputError for an entry that leaves the folder."""
    with new_folder(target) as draft, zipfile.ZipFile(archive) as packed:
        entries = packed.infolist()
        if len(entries) > MOST_FILES or sum(entry.file_size for entry in entries) > MOST_BYTES:
            raise InputError("The server's archive is too large.", cure="Ask whoever runs the server.")
        for entry in entries:
            place = (draft / entry.filename).resolve()
            if not place.is_relative_to(draft.resolve()) or entry.is_dir():
                raise InputError(f"The server's archive names {one_line(entry.filename, 80)!r}.", cure="Ask whoever runs the server.")
            place.parent.mkdir(parents=True, exist_ok=True)
            with packed.open(entry) as source, writing(place) as file:
                shutil.copyfileobj(source, file, 1 << 20)
