"""Jobs of the examples, run on an embedded service of this process."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from api.cli.commands.submit import read_spec
from api.cli.output import progress
from api.cli.output.console import err
from api.demo.embedded import embedded
from api.jobs.paths import paths_of
from glossator import Client
from interp.config.settings import take_settings

Found = TypeVar("Found")


def results_of(job: Path, folder: Path, read: Callable[[Client, str], Found], dictionary: str = "dictionary") -> Found:
    """Run a job of YAML on the files of a folder, and return what `read` takes of the client and the dictionary's name.

    The database is deleted afterwards. Raises JobDidNotCompleteError.
    """
    files = {"subject.model": "subject", "dictionary.source": dictionary, "corpus.path": "text.jsonl"}
    spec = read_spec(job, {name: str(folder.resolve() / file) for name, file in files.items()})
    with tempfile.TemporaryDirectory() as home, embedded(take_settings(home=Path(home), roots=paths_of(spec))) as client:
        submitted = client.submit_job(spec.model_dump(mode="json"))
        finished = progress.follow(client, submitted["id"], err)
        progress.raise_unless_completed(finished)
        return read(client, finished["dictionary"])
