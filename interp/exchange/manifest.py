"""Build the manifest of an export: its source, versions, prompts and files."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from interp.domain.digests import digest_of
from interp.domain.record import FeatureRecord, RunSource
from interp.exchange.formats.base import FormatFacts, Portions
from interp.llm.templates import template

MANIFEST = "manifest.json"
PACKAGE = "interp.explain"
# Provenance may be imported: no name in it may lead elsewhere.
TITLE = re.compile(r"([a-z_]{1,40})@[0-9]{1,4}")
# Families of explanations, and unreadable features, that a manifest lists.
MOST_LISTED = 1000
# What tells how explanations of a family were made.
OF_PROMPTS = ("version", "template", "model", "seed", "settings")


@dataclass(slots=True)
class Counts:
    """What passed into an export, counted on its way."""

    features: int = 0
    explanations: int = 0
    scores: int = 0
    contexts: int = 0
    unreadable: list[int] = field(default_factory=list)
    prompts: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def counted(self, portions: Portions) -> Iterator[Sequence[FeatureRecord]]:
        """Yield the portions, and count what they hold."""
        for portion in portions:
            for record in portion:
                self._count(record)
            yield portion

    def _count(self, record: FeatureRecord) -> None:
        self.features += 1
        self.contexts += 0 if record.evidence is None else len(record.evidence.contexts)
        self.explanations += len(record.explanations)
        if record.unreadable is not None and len(self.unreadable) < MOST_LISTED:
            self.unreadable.append(record.index)
        for made in record.explanations:
            self.scores += len(made.scores)
            key = made.explainer, made.settings_digest
            if key not in self.prompts and len(self.prompts) < MOST_LISTED:
                self.prompts[key] = {name: made.provenance[name] for name in OF_PROMPTS if name in made.provenance}


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file of an export: its name, size and sha256."""

    name: str
    bytes: int
    sha256: str


def manifest(source: RunSource, facts: FormatFacts, asked: dict[str, Any], counts: Counts, files: Sequence[WrittenFile]) -> dict[str, Any]:
    """Return the manifest of an export as JSON content.

    It names no time, so that equal exports have equal manifests.
    """
    return {
        "glossator": version("glossator"),
        "format": facts.name,
        "lost": list(facts.lost),
        "dictionary": {
            "name": source.dictionary,
            "digest": source.dictionary_digest,
            "hook_point": source.hook_point,
            "architecture": source.architecture,
            "d_in": source.d_in,
            "n_features": source.n_features,
            "polarity": source.polarity,
        },
        "subject": {"name": source.subject, "digest": source.subject_digest, "vocabulary": source.vocabulary.digest},
        "run": {"name": source.run, "digest": source.run_digest, "tokens": source.tokens, "identity": dict(source.identity)},
        "corpus": digest_of(dict(source.corpus)),
        "asked": asked,
        "counts": {name: getattr(counts, name) for name in ("features", "explanations", "scores", "contexts")},
        "unreadable": counts.unreadable,
        "prompts": [{"explainer": name, "settings_digest": digest} | made for (name, digest), made in sorted(counts.prompts.items())],
        "templates": _templates(counts),
        "files": [{"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for file in files],
    }


def _templates(counts: Counts) -> dict[str, dict[str, str]]:
    """Return each prompt template that explanations name, where this version has it."""
    found: dict[str, dict[str, str]] = {}
    for title in sorted({str(made.get("template")) for made in counts.prompts.values()}):
        name = TITLE.fullmatch(title)
        try:
            known = template(PACKAGE, name[1]) if name else None
        except (OSError, ValueError):
            continue
        if known is not None and known.title == title:
            found[title] = dict(known.parts)
    return found
