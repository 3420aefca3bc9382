"""Read explanations and scores that Delphi left in its `results` folder.

explanations/{module}_latent{number}.txt    a JSON string
scores/{scorer}/{module}_latent{number}.txt questions and answers: see `delphi_scores`
run_config.json                             `explainer_model`, the author
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from interp.corpus.delphi_latents import EXPLANATION_FILE, EXPLANATIONS
from interp.domain.digests import digest_of
from interp.domain.errors import InputError
from interp.exchange.delphi_scores import figures_of
from interp.exchange.labels import MOST_ROWS, ImportedLabel, ImportedLabels, label_text, name_text
from interp.security.allowed_files import open_file
from interp.security.bounded_json import JsonLimits, parse_json

METHOD = "delphi"
SCORES, CONFIG = "scores", "run_config.json"
EXPLANATION_LIMITS = JsonLimits(nbytes=1 << 16, values=10, nul=False)
SCORE_LIMITS = JsonLimits(nbytes=16 << 20, values=2_000_000, constants=True)
CONFIG_LIMITS = JsonLimits(nbytes=1 << 16, values=2000, constants=True)
MOST_SCORERS = 20

Place = tuple[str, int]


def is_results(folder: Path) -> bool:
    return (folder / EXPLANATIONS).is_dir()


def has_module(folder: Path, module: str) -> bool:
    """Return whether results hold explanations of a module."""
    return any(place[0] == module for place, _ in _files(folder / EXPLANATIONS))


def read(folder: Path, hook_point: str) -> ImportedLabels:
    """Read the labels and scores of one module: `hook_point`, or the only one; raises InputError."""
    files = dict(_files(folder / EXPLANATIONS))
    module = _module(folder, sorted({module for module, _ in files}), hook_point)
    author = _author(folder / CONFIG)
    digests: dict[str, str] = {}
    labels, unread = [], 0
    for (_, number), file in sorted(item for item in files.items() if item[0][0] == module):
        content, digests[file.name] = _content(file, EXPLANATION_LIMITS)
        text = label_text(content) if isinstance(content, str) else ""
        unread += not text
        labels += [ImportedLabel(number, text, METHOD, author)] if text else []
    scorers = sorted(path for path in (folder / SCORES).glob("*") if path.is_dir())
    if len(scorers) > MOST_SCORERS:
        raise InputError(f"{folder / SCORES} holds more than {MOST_SCORERS} scorers.", cure="Take some out.")
    reported: dict[int, dict[str, Any]] = {}
    for scorer in scorers:
        for (_, number), file in sorted(item for item in _files(scorer) if item[0][0] == module):
            content, digests[f"{scorer.name}/{file.name}"] = _content(file, SCORE_LIMITS)
            figures = figures_of(content, file)
            if figures is not None:
                reported.setdefault(number, {})[name_text(scorer.name)] = figures
    return ImportedLabels(tuple(labels), digest_of({"delphi": digests}), unread, reported)


def _files(folder: Path) -> Iterator[tuple[Place, Path]]:
    for number, path in enumerate(folder.glob("*_latent*.txt")):
        if number >= MOST_ROWS:
            raise InputError(f"{folder} holds more than {MOST_ROWS:,} files.", cure="Import them in parts.")
        found = EXPLANATION_FILE.fullmatch(path.name)
        if found:
            yield (found[1], int(found[2])), path


def _module(folder: Path, modules: Sequence[str], hook_point: str) -> str:
    if hook_point in modules:
        return hook_point
    if len(modules) == 1:
        return modules[0]
    if not modules:
        raise InputError(f"{folder / EXPLANATIONS} holds no explanations.", cure="It needs MODULE_latentNUMBER.txt: see docs/exports.md.")
    why = f"They are of {modules[0][:80]} and {modules[1][:80]}, and the dictionary's is {hook_point[:80]}."
    raise InputError(f"{folder} holds explanations of several modules.", why=why, cure="Copy those of one module into a folder.")


def _author(file: Path) -> str | None:
    """Return the explainer's model of a run's settings, where they are there."""
    if not file.is_file():
        return None
    content, _ = _content(file, CONFIG_LIMITS)
    model = content.get("explainer_model") if isinstance(content, Mapping) else None
    return (name_text(model.rpartition("/")[2]) or None) if isinstance(model, str) else None


def _content(file: Path, limits: JsonLimits) -> tuple[Any, str]:
    """Return a file's JSON content and sha256; raises InputError."""
    try:
        with open_file(file) as handle:
            raw = handle.read(limits.nbytes + 1)
        return parse_json(raw, limits), hashlib.sha256(raw).hexdigest()
    except (ValueError, RecursionError, OSError) as error:
        raise InputError(f"{file} cannot be read as JSON.", why=str(error)[:300], cure="Correct it, or take it out of the folder.") from error
